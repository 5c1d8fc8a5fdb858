#include "lb4/control/rows.h"

#include "command_rig.h"

static struct rows rows;

static void take(void)
{
    assert_int_equal(rows_take(&rig.from, &rows), 0);
}

static void test_a_row_each(void **state)
{
    (void)state;
    stats_add(&rig.stats.services[0].connections, 5);
    stats_add(&rig.stats.services[0].closed[CLOSE_IDLE], 3);
    stats_add(&rig.stats.servers[1].connections, 4);
    backend_acquire(rig_server(0, 1));
    take();
    assert_int_equal(rows.n_services, 2);
    assert_int_equal(rows.n_servers, 3);
    assert_string_equal(rows.services[0].labels, "service=\"db\"");
    assert_int_equal(rows.services[0].stats.active, 2);
    assert_int_equal(rows.services[0].stats.closed[CLOSE_IDLE], 3);
    assert_true(rows.services[0].has_udp);
    assert_false(rows.services[1].has_udp);
    assert_int_equal(rows.services[0].n_servers, 2);
    assert_string_equal(rows.servers[1].labels, "service=\"db\",server=\"b\"");
    assert_int_equal(rows.servers[1].stats.connections, 4);
    assert_int_equal(rows.servers[1].active, 1);
    rows_fini(&rows);
    backend_release(rig_server(0, 1));
}

static void test_health(void **state)
{
    (void)state;
    backend_set(rig_server(0, 0), PICK_DOWN);
    backend_set(rig_server(0, 1), PICK_DRAIN);
    take();
    assert_int_equal(rows.servers[0].is_up, 0);
    assert_int_equal(rows.servers[0].is_usable, 0);
    assert_int_equal(rows.servers[1].is_up, 1);
    assert_int_equal(rows.servers[1].is_usable, 0);
    assert_int_equal(rows.servers[2].is_usable, 1);
    assert_int_equal(rows.services[0].n_usable, 0);
    rows_fini(&rows);
}

/* A server that has left counts for the one of its name, or has a row of its own. */
static void test_those_that_have_left(void **state)
{
    struct backend *gone = rig_server(0, 0);

    (void)state;
    stats_add(&rig.stats.servers[0].connections, 7);
    stats_add(&rig.stats.servers[1].connections, 1);
    gone->state = BACKEND_GONE;
    take();
    assert_int_equal(rows.n_servers, 3);
    assert_string_equal(rows.servers[2].name, "a");
    assert_string_equal(rows.servers[2].service, "db");
    assert_false(rows.servers[2].is_serving);
    rows_fini(&rows);
    strcpy(gone->name, "b");
    backend_acquire(gone);
    backend_acquire(rig_server(0, 1));
    take();
    backend_release(gone);
    backend_release(rig_server(0, 1));
    assert_int_equal(rows.servers[0].active, 2);
    assert_int_equal(rows.n_servers, 2);
    assert_string_equal(rows.servers[0].name, "b");
    assert_int_equal(rows.servers[0].stats.connections, 8);
    assert_true(rows.servers[0].is_serving);
    rows_fini(&rows);
}

/* By service and name: "a" of one service is not "a" of the other. */
static void test_same_names(void **state)
{
    (void)state;
    stats_add(&rig.stats.servers[0].connections, 7);
    stats_add(&rig.stats.servers[2].connections, 1);
    rig_server(0, 0)->state = BACKEND_GONE;
    take();
    assert_int_equal(rows.n_servers, 3);
    assert_string_equal(rows.servers[1].service, "one");
    assert_int_equal(rows.servers[1].stats.connections, 1);
    rows_fini(&rows);
}

static void test_services_that_have_left(void **state)
{
    (void)state;
    stats_add(&rig.stats.services[0].connections, 2);
    stats_add(&rig.stats.services[1].connections, 5);
    for (uint64_t i = 0; i < 2; i++) {
        stats_add(&rig.stats.services[i].redispatches, 2 + i);
        stats_add(&rig.stats.services[i].udp.rebinds, 3 + i);
        histogram_add(&rig.stats.services[i].session_bytes, &histogram_bytes, 4 + i);
    }
    rig.services.services[0].is_gone = true;
    take();
    assert_int_equal(rows.n_services, 2);
    assert_string_equal(rows.services[1].name, "db");
    assert_int_equal(rows.services[1].n_servers, 0);
    rows_fini(&rows);
    strcpy(rig.services.services[0].name, "one");
    take();
    assert_int_equal(rows.n_services, 1);
    assert_int_equal(rows.services[0].stats.connections, 7);
    assert_int_equal(rows.services[0].stats.active, 7);
    assert_int_equal(rows.services[0].stats.redispatches, 5);
    assert_int_equal(rows.services[0].stats.udp.rebinds, 7);
    assert_int_equal(rows.services[0].stats.session_bytes.sum, 9);
    assert_int_equal(rows.services[0].n_servers, 1);
    rows_fini(&rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIGGED(test_a_row_each),
        RIGGED(test_health),
        RIGGED(test_those_that_have_left),
        RIGGED(test_same_names),
        RIGGED(test_services_that_have_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
