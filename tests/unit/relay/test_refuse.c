/* Each way of turning a client away, on a relay whose service lets nobody in. */
#include "lb4/relay/refuse.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "rig.h"

static enum conf_refuse way;

static void let_nobody_in(struct conf_service *service)
{
    service->rules.map = prefix_map_new(NULL, 0, false);
    service->rules.refuse = way;
}

/* The rig's plan is the map's user, as well as the service of the configuration. */
static void open_rig(struct rig *rig, enum conf_refuse how)
{
    struct addr nowhere = sockets_loopback(1);

    way = how;
    rig_adjust = let_nobody_in;
    rig_open(rig, &nowhere, 1, 0);
    prefix_map_release(service_plan(rig->services.services)->access);
}

static uint64_t refused(const struct rig *rig)
{
    return stats_read(&rig->stats.services[0].refused.clients[REFUSAL_DENIED]);
}

static void close_rig(struct rig *rig, uint64_t n)
{
    assert_int_equal(refused(rig), n);
    rig_check_ended(rig, CLOSE_DENIED, n);
    rig_advance(rig, 11000); /* the summed line of the log */
    rig_advance(rig, 11000);
    rig_close(rig);
}

static void test_reset(void **state)
{
    static struct rig rig;
    int client;

    (void)state;
    open_rig(&rig, CONF_REFUSE_RESET);
    client = rig_client(&rig);
    rig_expect(&rig, client, -ECONNRESET);
    close(client);
    close_rig(&rig, 1);
}

/* It has been said something that nobody reads: yet what it sees is an end, and no reset. */
static void test_close_is_no_reset(void **state)
{
    struct pair pair = sockets_pair(0);
    static struct rig rig;

    (void)state;
    assert_int_equal(send(pair.far, "hello", 5, 0), 5);
    open_rig(&rig, CONF_REFUSE_CLOSE);
    rig.n_fds -= 2; /* the pair's */
    rig_accept_fd(&rig, pair.near, 1);
    assert_int_equal(rig_conn(&rig)->state, CONN_LEAVING);
    rig_expect(&rig, pair.far, 0);
    assert_int_equal(send(pair.far, "more", 4, MSG_NOSIGNAL), 4);
    rig_turn(&rig, 10);
    assert_int_equal(sockets_read(pair.far, 0, 1), 0);
    assert_int_equal(rig.relay.n_live, 1);
    close(pair.far);
    rig_until_ended(&rig);
    assert_int_equal(rig.relay.refuse.n_leaving, 0);
    close_rig(&rig, 1);
}

static void test_close_ends_within_a_second(void **state)
{
    static struct rig rig;
    int client;

    (void)state;
    open_rig(&rig, CONF_REFUSE_CLOSE);
    client = rig_client(&rig);
    rig_advance(&rig, 900);
    assert_int_equal(rig.relay.n_live, 1);
    rig_advance(&rig, 200);
    assert_int_equal(rig.relay.n_live, 0);
    close(client);
    close_rig(&rig, 1);
}

static void test_close_reads_only_so_much(void **state)
{
    static const char zeros[65536];
    struct patience patience = patience_new();
    static struct rig rig;
    int client;

    (void)state;
    open_rig(&rig, CONF_REFUSE_CLOSE);
    client = rig_client(&rig);
    while (rig.relay.n_live > 0 && patience_holds(&patience)) {
        send(client, zeros, sizeof(zeros), MSG_NOSIGNAL | MSG_DONTWAIT);
        rig_turn(&rig, 1);
    }
    assert_int_equal(rig.relay.n_live, 0);
    close(client);
    close_rig(&rig, 1);
}

static void test_a_crowd_that_leaves_is_bounded(void **state)
{
    enum { N = 40 };
    int clients[N];
    static struct rig rig;

    (void)state;
    open_rig(&rig, CONF_REFUSE_CLOSE);
    rig.relay.refuse.n_leaving = 256; /* others, of which nobody goes */
    for (int i = 0; i < N; i++) {
        clients[i] = rig_client(&rig);
        assert_int_equal(rig.relay.n_live, 0);
        rig_expect(&rig, clients[i], 0);
        close(clients[i]);
        rig_turn(&rig, 0);
    }
    rig.relay.refuse.n_leaving = 0;
    close_rig(&rig, N);
}

static void test_silent(void **state)
{
    static struct rig rig;
    int client;

    (void)state;
    open_rig(&rig, CONF_REFUSE_SILENT);
    client = rig_client(&rig);
    assert_int_equal(rig.relay.n_live, 0);
    close(client);
    rig_turn(&rig, 0);
    close_rig(&rig, 1);
}

/* Another cause that may come first does not hide this one, and lines are due for both. */
static void test_what_is_left_to_say_is_said(void **state)
{
    static struct rig rig;
    struct service *service;
    const struct addr peer = sockets_loopback(1);

    (void)state;
    open_rig(&rig, CONF_REFUSE_RESET);
    service = rig.services.services;
    assert_int_equal(tcp_next_due_ns(&rig.relay), UINT64_MAX);
    for (int i = 0; i < 3; i++)
        refuse_tell(&rig.relay.refuse, service, &peer, REFUSAL_BANNED, rig.loop.now_ns);
    refuse_tell(&rig.relay.refuse, service, &peer, REFUSAL_RATE, rig.loop.now_ns);
    assert_int_equal(tcp_next_due_ns(&rig.relay), rig.loop.now_ns + REFUSAL_NOTE_NS);
    assert_int_equal(refusal_note_due_ns(&service->refused[REFUSAL_RATE]), UINT64_MAX);
    rig_advance(&rig, 10001);
    assert_int_equal(refusal_note_due_ns(&service->refused[REFUSAL_BANNED]), UINT64_MAX);
    assert_int_equal(stats_read(&rig.stats.services[0].refused.clients[REFUSAL_BANNED]), 3);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_close_is_no_reset),
        cmocka_unit_test(test_close_ends_within_a_second),
        cmocka_unit_test(test_close_reads_only_so_much),
        cmocka_unit_test(test_a_crowd_that_leaves_is_bounded),
        cmocka_unit_test(test_silent),
        cmocka_unit_test(test_what_is_left_to_say_is_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
