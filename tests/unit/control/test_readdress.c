/* Other addresses of names, put in force under running threads. */
#include "lb4/control/readdress.h"

#include "named_rig.h"

static char text[CHANGE_ERROR_MAX];

static int readdress_now(void)
{
    return readdress(&named.reload, clock_now_ns(), text);
}

static void check_addr(const char *server, const char *host)
{
    const struct backend *backend = rig_server("a", server);
    char expected[ADDR_TEXT_MAX];
    char found[ADDR_TEXT_MAX];

    assert_non_null(backend);
    snprintf(expected, sizeof(expected), "%s:%u", host, named.port);
    assert_string_equal(addr_format(&backend->addr, found), expected);
}

static void test_nothing_other(void **state)
{
    (void)state;
    named_open("check none");
    assert_true(readdress_may(&named.reload));
    assert_int_equal(readdress_now(), 0);
    assert_true(readdress_may(&named.reload));
    named_close();
}

/* The new one is probed, then it serves, and the old one goes. */
static void test_another_address(void **state)
{
    struct patience patience = patience_new();
    const struct backend *old;

    (void)state;
    named_open("check tcp interval 100ms");
    old = rig_server("a", "db");
    named_put("127.0.0.3", NULL);
    assert_int_equal(readdress_now(), 1);
    assert_false(readdress_may(&named.reload));
    named_finish_change();
    check_addr("db", "127.0.0.3");
    assert_string_equal(readdress_written(&named.reload.conf->services[0], "db")->host,
                        "db.example");
    assert_null(readdress_written(&named.reload.conf->services[0], "x"));
    while (readdress_release(&named.reload) && patience_holds(&patience))
        named_turn();
    rig_until_standing(old, PICK_GONE, true);
    assert_int_equal(backend_standing(rig_server("a", "db")) & PICK_UNUSABLE, 0);
    named_close();
}

/* While nobody answers there, the old one serves on. */
static void test_a_dead_address(void **state)
{
    struct addr dead = sockets_closed_port();
    const struct backend *old;

    (void)state;
    named_open("check tcp interval 50ms");
    old = rig_server("a", "db");
    addr_set_port(&named.reload.conf->services[0].written[0].addr, addr_port(&dead));
    named_put("127.0.0.3", NULL);
    assert_int_equal(readdress_now(), 1);
    named_finish_change();
    rig_until_standing(rig_server("a", "db"), PICK_DOWN, true);
    assert_true(readdress_release(&named.reload));
    assert_int_equal(backend_standing(old) & PICK_GONE, 0);

    /* The retirement of others leaves it alone, and one more address as well. */
    for (int i = 0; i < 20; i++)
        named_turn();
    assert_int_equal(old->state, BACKEND_GONE);
    named_put("127.0.0.3", "127.0.0.4");
    assert_int_equal(readdress_now(), 1);
    named_finish_change();
    assert_int_equal(backend_standing(old) & PICK_GONE, 0);
    named_close();
}

/* A server that stays is the very same. */
static void test_one_more(void **state)
{
    const struct backend *old;

    (void)state;
    named_open("check none");
    old = rig_server("a", "db");
    named_put("127.0.0.1", "127.0.0.2");
    assert_int_equal(readdress_now(), 1);
    named_finish_change();
    assert_ptr_equal(rig_server("a", "db"), old);
    check_addr("db-2", "127.0.0.1");
    assert_int_equal(named.reload.conf->services[0].n_servers, 2);
    assert_int_equal(named.reload.n_good, 0); /* it was no run */
    named_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_other),
        cmocka_unit_test(test_another_address),
        cmocka_unit_test(test_a_dead_address),
        cmocka_unit_test(test_one_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
