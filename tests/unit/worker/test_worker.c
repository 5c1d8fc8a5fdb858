#include "lb4/worker/worker.h"

#include <signal.h>

#include "crew.h"

/* --- serving ---------------------------------------------------------------------------------- */

static void test_serves_every_listener(void **state)
{
    (void)state;
    crew_open(MAXCONN);
    for (size_t i = 0; i < 10; i++) {
        struct guest guest = guest_open(i % N_LISTENERS);

        check_echo(&guest);
        guest_close(&guest);
    }
    assert_int_equal(served(0) + served(1), 10);
    crew_close();
}

static void test_idle_group_exits(void **state)
{
    (void)state;
    crew_open(MAXCONN);
    assert_false(worker_group_is_drained(&crew.group));
    crew_close();
}

static bool is_even(uint64_t a, uint64_t b)
{
    uint64_t least = a < b ? a : b;

    return (a > b ? a : b) <= least + least / 4 + 1;
}

/* All clients come to the first worker: the second one gets its share all the same. */
static void test_uneven_load_is_handed_over(void **state)
{
    enum { N_GUESTS = 40 };
    struct guest guests[N_GUESTS];
    struct patience patience = patience_new();

    (void)state;
    crew_open_uneven(N_WORKERS);
    for (size_t i = 0; i < N_GUESTS; i++) {
        guests[i] = guest_open(i % N_LISTENERS);
        check_echo(&guests[i]);
    }
    assert_int_equal(served(0) + served(1), N_GUESTS);
    assert_true(is_even(served(0), served(1)));
    /* Counted behind the hand-over, so the other one may have served the client by then. */
    while (handed_over(0) != served(1) && patience_holds(&patience))
        continue;
    assert_int_equal(handed_over(1), 0);
    assert_int_equal(capacity_used(&crew.group.capacity), N_GUESTS);
    for (size_t i = 0; i < N_GUESTS; i++)
        guest_close(&guests[i]);
    crew_close();
}

/* The second worker is not running: its ring fills up, and the first one keeps the rest. */
static void test_full_ring_keeps_the_client(void **state)
{
    enum { N_GUESTS = 160 };
    int clients[N_GUESTS];
    struct patience patience = patience_new();

    (void)state;
    crew_open_uneven(1);
    for (size_t i = 0; i < N_GUESTS; i++)
        clients[i] = sockets_connect(&crew.fronts[0]);
    while (served(0) + handed_over(0) < N_GUESTS && patience_holds(&patience))
        ;
    assert_int_equal(handed_over(0), MAILBOX_RING);
    crew_start(N_WORKERS);
    while (served(1) < MAILBOX_RING && patience_holds(&patience))
        ;
    for (size_t i = 0; i < N_GUESTS; i++) {
        close(clients[i]);
        close(sockets_accept(crew.server_fd));
    }
    crew_close();
}

/* --- draining --------------------------------------------------------------------------------- */

static void check_refused(size_t listener)
{
    int fd = sockets_connect(&crew.fronts[listener]);

    sockets_wait(fd, POLLOUT);
    assert_int_equal(sock_take_error(fd), ECONNREFUSED);
    close(fd);
}

static void wait_done(enum mailbox_request request)
{
    struct patience patience = patience_new();

    for (size_t i = 0; i < N_WORKERS; i++) {
        while (!mailbox_is_done(&crew.group.workers[i].mailbox, request) &&
               patience_holds(&patience))
            ;
    }
}

static void test_drain_lets_live_ones_finish(void **state)
{
    struct guest guest;

    (void)state;
    crew_open(MAXCONN);
    guest = guest_open(0);
    worker_group_post(&crew.group, MAILBOX_DRAIN);
    wait_done(MAILBOX_DRAIN);
    assert_false(worker_group_is_drained(&crew.group));
    check_refused(0);
    check_refused(1);
    check_echo(&guest);
    guest_close(&guest);
    crew_wait_drained();
    assert_int_equal(closed_for(CLOSE_CLIENT_FIN) + closed_for(CLOSE_SERVER_FIN) +
                         closed_for(CLOSE_CLIENT_RST) + closed_for(CLOSE_SERVER_RST),
                     1);
    crew_close();
}

/* The kernel has told them that they are connected: they are served before the listener closes. */
static void test_drain_serves_who_waits(void **state)
{
    enum { N_GUESTS = 20 };
    struct guest guests[N_GUESTS];

    (void)state;
    crew_init(MAXCONN);
    for (size_t i = 0; i < N_GUESTS; i++) {
        guests[i].client_fd = sockets_connect(&crew.fronts[i % N_LISTENERS]);
        sockets_wait(guests[i].client_fd, POLLOUT);
    }
    worker_group_post(&crew.group, MAILBOX_DRAIN);
    crew_start(N_WORKERS);
    for (size_t i = 0; i < N_GUESTS; i++)
        guests[i].server_fd = sockets_accept(crew.server_fd);
    wait_done(MAILBOX_DRAIN);
    assert_int_equal(served(0) + served(1), N_GUESTS);
    for (size_t i = 0; i < N_GUESTS; i++)
        guest_close(&guests[i]);
    crew_wait_drained();
    crew_close();
}

static void test_reset(void **state)
{
    struct guest guest;

    (void)state;
    crew_open(MAXCONN);
    guest = guest_open(0);
    check_echo(&guest);
    worker_group_post(&crew.group, MAILBOX_DRAIN | MAILBOX_RESET);
    crew_wait_drained();
    sockets_wait(guest.client_fd, POLLIN);
    sockets_wait(guest.server_fd, POLLIN);
    assert_int_equal(sockets_read(guest.client_fd, 0, 1), -ECONNRESET);
    assert_int_equal(sockets_read(guest.server_fd, 0, 1), -ECONNRESET);
    assert_int_equal(closed_for(CLOSE_DRAIN), 1);
    guest_close(&guest);
    crew_close();
}

static void test_maxconn_waits_and_resumes(void **state)
{
    struct patience patience = patience_new();
    struct guest first;
    struct guest second;

    (void)state;
    crew_open(1);
    first = guest_open(0);
    second.client_fd = sockets_connect(&crew.fronts[0]);
    while (pauses() == 0 && patience_holds(&patience))
        ;
    assert_int_equal(served(0) + served(1), 1);
    check_echo(&first);
    guest_close(&first);
    second.server_fd = sockets_accept(crew.server_fd);
    check_echo(&second);
    assert_true(capacity_used(&crew.group.capacity) <= 1);
    guest_close(&second);
    crew_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_serves_every_listener),
        cmocka_unit_test(test_idle_group_exits),
        cmocka_unit_test(test_uneven_load_is_handed_over),
        cmocka_unit_test(test_full_ring_keeps_the_client),
        cmocka_unit_test(test_drain_lets_live_ones_finish),
        cmocka_unit_test(test_drain_serves_who_waits),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_maxconn_waits_and_resumes),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
