#include "lb4/relay/resume.h"
#include "lb4/shared/service_table.h"

#include "waiting_rig.h"

static void test_served_when_the_server_is_back(void **state)
{
    int servers[3];

    (void)state;
    waiting_open(0);
    waiting_set_down(true);
    waiting_add(0, 3);
    assert_false(waiting_turn());
    assert_int_equal(waiting_count_state(CONN_WAITING), 3);
    waiting_set_down(false);
    assert_true(waiting_turn());
    assert_int_equal(waiting_count_state(CONN_WAITING), 0);
    for (int i = 0; i < 3; i++)
        servers[i] = rig_server(&rig, listener_fd);
    rig_pass(&rig, clients[0], servers[0], 100);
    assert_int_equal(waiting_ended(WAITING_SERVED), 3);
    assert_int_equal(backend_active(waiting_server()), 3);
    for (int i = 0; i < 3; i++)
        close(servers[i]);
    waiting_close(3);
}

static void test_in_bites(void **state)
{
    size_t n_left;

    (void)state;
    waiting_open(0);
    waiting_set_down(true);
    waiting_add(0, 80);
    waiting_set_down(false);
    waiting_turn();
    n_left = waiting_count_state(CONN_WAITING);
    assert_in_range(n_left, 1, 79);
    assert_true(tcp_next_due_ns(&rig.relay) <= rig.loop.now_ns + 5 * CLOCK_NS_PER_MS);
    rig_advance(&rig, 5);
    assert_int_equal(waiting_count_state(CONN_WAITING), 0);
    waiting_close(80);
}

/* One that comes while others wait does not pass them, even if a server could be had. */
static void test_a_new_client_comes_behind(void **state)
{
    (void)state;
    waiting_open(0);
    waiting_set_down(true);
    waiting_add(0, 1);
    waiting_set_down(false);
    clients[1] = rig_client(&rig);
    assert_int_equal(waiting_conn(1)->state, CONN_WAITING);
    waiting_turn();
    assert_int_equal(waiting_count_state(CONN_WAITING), 0);
    waiting_close(2);
}

static void test_time_is_over(void **state)
{
    (void)state;
    waiting_open(0);
    waiting_set_down(true);
    waiting_add(0, 1);
    rig_advance(&rig, HOLD_MS / 2);
    assert_int_equal(waiting_count_state(CONN_WAITING), 1);
    rig_advance(&rig, HOLD_MS / 2 + 1);
    rig_expect(&rig, clients[0], -ECONNRESET);
    rig_check_ended(&rig, CLOSE_NO_SERVER, 1);
    assert_int_equal(waiting_ended(WAITING_TIMED_OUT), 1);
    waiting_close(1);
}

static void test_time_in_a_queue_is_over(void **state)
{
    (void)state;
    waiting_open(1);
    waiting_add(0, 2);
    rig_advance(&rig, QUEUE_MS + 1);
    rig_expect(&rig, clients[1], -ECONNRESET);
    assert_int_equal(waiting_closed(CLOSE_LIMIT), 1);
    waiting_close(2);
}

/* With a byte before its end a client waits for the answer. */
static void test_who_leaves(void **state)
{
    (void)state;
    waiting_open(0);
    waiting_set_down(true);
    waiting_add(0, 4);
    sock_reset(clients[0]);
    clients[0] = -1;
    shutdown(clients[1], SHUT_WR);
    assert_int_equal(send(clients[2], "x", 1, 0), 1);
    shutdown(clients[2], SHUT_WR);
    assert_int_equal(send(clients[3], "x", 1, 0), 1);
    rig_turn(&rig, 20);
    rig_turn(&rig, 0);
    assert_int_equal(waiting_count_state(CONN_WAITING), 2);
    assert_int_equal(waiting_closed(CLOSE_CLIENT_RST), 1);
    assert_int_equal(waiting_closed(CLOSE_CLIENT_FIN), 1);
    assert_int_equal(waiting_ended(WAITING_GAVE_UP), 2);
    waiting_close(4);
}

static void test_a_place_is_free(void **state)
{
    (void)state;
    waiting_open(1);
    waiting_add(0, 3);
    assert_int_equal(waiting_count_state(CONN_WAITING), 2);
    assert_int_equal(backend_active(waiting_server()), 1);
    conn_close(&rig.relay, waiting_conn(0), CLOSE_ADMIN, CONN_END_RESET);
    tcp_reap(&rig.relay);
    assert_true(waiting_turn());
    assert_int_equal(waiting_count_state(CONN_WAITING), 1);
    assert_int_equal(waiting_conn(1)->state, CONN_WAITING); /* the older one was served */
    assert_int_equal(backend_active(waiting_server()), 1);
    waiting_close(3);
}

/* In a queue when the last server goes: they are held. */
static void test_from_a_queue_to_a_hold(void **state)
{
    (void)state;
    waiting_open(1);
    waiting_add(0, 3);
    waiting_set_down(true);
    waiting_turn();
    assert_int_equal(waiting_count(waiting_now(), WAITING_SERVER), 2);
    assert_int_equal(waiting_count(waiting_now(), WAITING_PLACE), 0);
    assert_int_equal(waiting_count_state(CONN_WAITING), 2);
    waiting_close(3);
}

static void test_drain(void **state)
{
    (void)state;
    waiting_open(0);
    waiting_set_down(true);
    waiting_add(0, 2);
    resume_start_draining(&rig.relay);
    rig_turn(&rig, 0);
    rig_check_ended(&rig, CLOSE_DRAIN, 2);
    assert_int_equal(waiting_ended(WAITING_TURNED_AWAY), 2);
    waiting_add(0, 0);
    waiting_close(2);
}

static void test_the_service_is_gone(void **state)
{
    (void)state;
    waiting_open(0);
    waiting_set_down(true);
    waiting_add(0, 2);
    service_retire(rig.services.services);
    waiting_turn();
    rig_check_ended(&rig, CLOSE_NO_SERVER, 2);
    waiting_close(2);
}

/* The server refuses, no probe has told yet: the client is held, and tries it again only when
 * something has changed. */
static void test_refused_by_all(void **state)
{
    (void)state;
    waiting_open(0);
    close(listener_fd);
    clients[0] = rig_client(&rig);
    for (int i = 0; i < 100 && waiting_conn(0)->state != CONN_WAITING; i++)
        rig_turn(&rig, 1);
    assert_int_equal(waiting_conn(0)->state, CONN_WAITING);
    for (int i = 0; i < 5; i++)
        rig_turn(&rig, 1);
    assert_int_equal(rig_connect_failures(&rig, 0), 1);
    waiting_wake_all(rig.services.services);
    assert_true(waiting_turn());
    for (int i = 0; i < 100 && rig_connect_failures(&rig, 0) < 2; i++)
        rig_turn(&rig, 1);
    for (int i = 0; i < 5; i++)
        rig_turn(&rig, 1);
    assert_int_equal(rig_connect_failures(&rig, 0), 2);
    assert_int_equal(waiting_conn(0)->state, CONN_WAITING);
    listener_fd = dup(clients[0]);
    waiting_close(1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_served_when_the_server_is_back),
        cmocka_unit_test(test_in_bites),
        cmocka_unit_test(test_a_new_client_comes_behind),
        cmocka_unit_test(test_time_is_over),
        cmocka_unit_test(test_time_in_a_queue_is_over),
        cmocka_unit_test(test_who_leaves),
        cmocka_unit_test(test_a_place_is_free),
        cmocka_unit_test(test_from_a_queue_to_a_hold),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_the_service_is_gone),
        cmocka_unit_test(test_refused_by_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
