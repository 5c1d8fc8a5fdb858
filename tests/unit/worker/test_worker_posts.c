/* worker/worker where small sends of a batch leave together: they have left before a request is
 * followed. The workers run in the test's own thread, a turn at a time. */
#include "lb4/worker/worker.h"

#include <signal.h>

#include "crew.h"

enum { N_GUESTS = 16, N_BYTES = 100 };

static struct guest guests[N_GUESTS];

static void turn(struct worker *worker, uint32_t requests)
{
    mailbox_post(&worker->mailbox, requests | MAILBOX_EXIT);
    worker_run(worker);
    worker->is_exiting = false;
}

static void turn_all(uint32_t requests)
{
    for (size_t i = 0; i < N_WORKERS; i++)
        turn(&crew.group.workers[i], requests);
}

/* Turns until the socket has something to read. */
static void turn_until(int fd)
{
    struct patience patience = patience_new();
    struct pollfd ready = {fd, POLLIN, 0};

    while (poll(&ready, 1, 0) == 0 && patience_holds(&patience))
        turn_all(0);
}

static void guest_arrives(struct guest *guest)
{
    guest->client_fd = sockets_connect(&crew.fronts[0]);
    turn_until(crew.server_fd);
    guest->server_fd = sockets_accept(crew.server_fd);
    assert_int_equal(sockets_send(guest->client_fd, 0, 1), 1);
    turn_until(guest->server_fd);
    assert_int_equal(sockets_read(guest->server_fd, 0, 1), 1);
}

/* epoll keeps a mailbox that was ready ahead of what becomes ready later, until it has looked. */
static void forget_mailboxes(void)
{
    for (size_t i = 0; i < N_WORKERS; i++)
        assert_int_equal(loop_wait(&crew.group.workers[i].loop, 0), 0);
}

static bool has_rings(void)
{
    return crew.group.workers[0].relay.ring_error == 0;
}

static void test_killed_after_their_posts(void **state)
{
    const struct sweep_victims victims = {.backend = crew.services.services->backends,
                                          .reason = CLOSE_ADMIN};
    struct sweep_kill kills[N_WORKERS] = {{.victims = &victims}, {.victims = &victims}};
    size_t n_ended[N_WORKERS];
    const struct worker_sweep sweep = {.kills = kills, .n_ended = n_ended};

    (void)state;
    for (size_t i = 0; i < N_GUESTS; i++)
        guest_arrives(&guests[i]);
    turn_all(0);
    forget_mailboxes();
    for (size_t i = 0; i < N_GUESTS; i++)
        assert_int_equal(sockets_send(guests[i].client_fd, 1, N_BYTES), N_BYTES);
    crew.group.sweep = &sweep;
    turn_all(MAILBOX_SWEEP);
    assert_int_equal(kills[0].n_ended + kills[1].n_ended, N_GUESTS);
    for (size_t i = 0; i < N_GUESTS; i++) {
        sockets_wait(guests[i].server_fd, POLLHUP);
        assert_int_equal(sockets_read(guests[i].server_fd, 1, 2 * N_BYTES), N_BYTES);
        assert_int_equal(sockets_read(guests[i].server_fd, 0, 1), -ECONNRESET);
        guest_close(&guests[i]);
    }
    assert_int_equal(closed_for(CLOSE_ADMIN), N_GUESTS);
}

static int open_crew(void **state)
{
    (void)state;
    crew_io_uring = true;
    crew_init(MAXCONN);
    return 0;
}

static int close_crew(void **state)
{
    (void)state;
    crew_close();
    return 0;
}

/* Without rings nothing is put off, and the same holds. */
static void test_killed_without_rings(void **state)
{
    test_killed_after_their_posts(state);
}

static int open_crew_without_rings(void **state)
{
    (void)state;
    crew_io_uring = false;
    crew_init(MAXCONN);
    return 0;
}

static void test_rings_were_made(void **state)
{
    (void)state;
    if (!has_rings())
        skip();
    for (size_t i = 0; i < N_WORKERS; i++)
        assert_true(uring_is_open(&crew.group.workers[i].relay.flow.outbox.uring));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_rings_were_made, open_crew, close_crew),
        cmocka_unit_test_setup_teardown(test_killed_after_their_posts, open_crew, close_crew),
        cmocka_unit_test_setup_teardown(test_killed_without_rings, open_crew_without_rings,
                                        close_crew),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
