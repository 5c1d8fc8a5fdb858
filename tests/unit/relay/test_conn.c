#include "lb4/relay/conn.h"
#include "lb4/shared/choose.h"

#include <fcntl.h>
#include <signal.h>

#include "../seed.h"
#include "rig.h"

static struct rig rig;

/* The next calloc() finds no memory. */
static bool is_out_of_memory;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_calloc(size_t n, size_t size)
{
    if (is_out_of_memory) {
        is_out_of_memory = false;
        return NULL;
    }
    return __real_calloc(n, size);
}

static int setup(void **state)
{
    const struct addr at = sockets_loopback(1);

    (void)state;
    rig_open(&rig, &at, 1, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    conn_reap(&rig.relay);
    rig_close(&rig);
    return 0;
}

static struct conn *open_conn(int fd)
{
    const struct addr peer = sockets_loopback(1234);

    assert_true(capacity_acquire(&rig.capacity));
    return conn_new(&rig.relay, rig.services.services, fd, &peer);
}

/* Held by the test, as if connected. */
static void give_server(struct conn *conn, int fd)
{
    const struct pick_set none = {0};
    const struct service_client client = {.addr = &conn->peer, .tried = &none};

    conn->backend = service_choose(conn->service, &client);
    assert_non_null(conn->backend);
    source_init(&conn->server.source, SOURCE_SERVER, fd);
}

static void test_new(void **state)
{
    struct pair pair = sockets_pair(0);
    struct conn *conn = open_conn(pair.near);

    (void)state;
    assert_non_null(conn);
    assert_int_equal(conn->state, CONN_CONNECTING);
    assert_int_equal(conn->reason, CLOSE_NONE);
    assert_int_equal(conn->client.source.fd, pair.near);
    assert_int_equal(conn->client.source.kind, SOURCE_CLIENT);
    assert_int_equal(conn->server.source.fd, -1);
    assert_int_equal(conn->server.source.kind, SOURCE_SERVER);
    assert_int_equal(addr_port(&conn->peer), 1234);
    assert_int_equal(conn->accepted_ns, rig.loop.now_ns);
    assert_int_equal(rig.relay.n_live, 1);
    assert_int_equal(stats_read(&rig.stats.services[0].connections), 1);
    conn_close(&rig.relay, conn, CLOSE_IDLE, CONN_END_RESET);
    rig_check_ended(&rig, CLOSE_IDLE, 1);
    close(pair.far);
}

static void test_new_without_memory(void **state)
{
    struct pair pair = sockets_pair(0);

    (void)state;
    is_out_of_memory = true;
    assert_null(open_conn(pair.near));
    assert_int_equal(capacity_used(&rig.capacity), 0);
    sockets_wait(pair.far, POLLIN);
    assert_int_equal(sockets_read(pair.far, 0, 1), -ECONNRESET);
    assert_int_equal(fcntl(pair.near, F_GETFD), -1);
    assert_int_equal(rig.relay.n_live, 0);
    close(pair.far);
}

static void close_both(enum conn_ending ending, ssize_t seen)
{
    struct pair client = sockets_pair(0);
    struct pair server = sockets_pair(0);
    struct conn *conn = open_conn(client.near);

    give_server(conn, server.near);
    assert_int_equal(pick_set_add(&conn->tried, 0, 1), 0);
    conn_close(&rig.relay, conn, CLOSE_ADMIN, ending);
    /* The memory is still there: the batch may name it. */
    assert_int_equal(conn->state, CONN_CLOSED);
    assert_true(conn->client.source.is_closed);
    assert_true(conn->server.source.is_closed);
    assert_int_equal(conn->client.source.fd, -1);
    assert_null(conn->backend);
    assert_true(list_is_empty(&conn->deadline.link));
    assert_int_equal(capacity_used(&rig.capacity), 0);
    assert_int_equal(backend_active(&rig.services.services->backends[0]), 0);
    sockets_wait(client.far, POLLIN);
    sockets_wait(server.far, POLLIN);
    assert_int_equal(sockets_read(client.far, 0, 1), seen);
    assert_int_equal(sockets_read(server.far, 0, 1), seen);
    close(client.far);
    close(server.far);
}

static void test_endings(void **state)
{
    (void)state;
    close_both(CONN_END_CLOSE, 0);
    close_both(CONN_END_RESET, -ECONNRESET);
    assert_false(list_is_empty(&rig.relay.dead));
    conn_reap(&rig.relay);
    assert_true(list_is_empty(&rig.relay.dead));
}

static void test_first_cause_wins(void **state)
{
    struct conn *conn = open_conn(-1);

    (void)state;
    conn->reason = CLOSE_SERVER_RST;
    conn_close(&rig.relay, conn, CLOSE_DRAIN, CONN_END_RESET);
    rig_check_ended(&rig, CLOSE_SERVER_RST, 1);
}

static void test_drop_server_gives_one_place_back(void **state)
{
    struct pair pair = sockets_pair(0);
    struct conn *conn = open_conn(-1);
    struct backend *backend = &rig.services.services->backends[0];

    (void)state;
    conn_drop_server(conn);
    give_server(conn, pair.near);
    backend_acquire(backend);
    conn_drop_server(conn);
    conn_drop_server(conn);
    assert_int_equal(backend_active(backend), 1);
    assert_int_equal(fcntl(pair.near, F_GETFD), -1);
    conn_close(&rig.relay, conn, CLOSE_ADMIN, CONN_END_CLOSE);
    assert_int_equal(backend_active(backend), 1);
    backend_release(backend);
    close(pair.far);
}

/* Bytes that a flow still holds are dropped, counted, and the pipe does not come back. */
static void test_held_bytes_are_dropped(void **state)
{
    struct conn *conn = open_conn(-1);

    (void)state;
    conn->up.pipe = pipe_borrow(&rig.relay.flow.pipes);
    assert_non_null(conn->up.pipe);
    assert_int_equal(write(conn->up.pipe->write_fd, "abc", 3), 3);
    conn->up.n_held = 3;
    conn->down.rest = malloc(10);
    conn->down.n_held = 10;
    conn_close(&rig.relay, conn, CLOSE_ADMIN, CONN_END_RESET);
    assert_int_equal(stats_read(&rig.stats.worker.dropped_bytes), 13);
    assert_int_equal(rig.relay.flow.pipes.n_lent, 0);
    assert_int_equal(rig.relay.flow.pipes.n_idle, 0);
}

/* relay->young is always the oldest one that has not been seen, or the head when all were seen. */
static const struct list *find_young(bool *is_seen)
{
    for (struct list *link = rig.relay.live.next; link != &rig.relay.live; link = link->next) {
        if (!is_seen[container_of(link, struct conn, link)->arrival])
            return link;
    }
    return &rig.relay.live;
}

static void test_young_survives_closes(void **state)
{
    enum { N_STEPS = 3000 };
    static bool is_seen[N_STEPS];
    struct seed seed = seed_new();

    (void)state;
    for (uint32_t step = 0; step < N_STEPS; step++) {
        uint64_t what = seed_next(&seed, 3);

        if (what == 0 && rig.relay.n_live < RIG_MAXCONN) {
            open_conn(-1)->arrival = step; /* unused here: its number */
        } else if (what == 1 && rig.relay.young != &rig.relay.live) {
            is_seen[container_of(rig.relay.young, struct conn, link)->arrival] = true;
            rig.relay.young = rig.relay.young->next;
        } else if (what == 2 && rig.relay.n_live > 0) {
            struct list *link = rig.relay.live.next;

            for (uint64_t i = seed_next(&seed, rig.relay.n_live); i > 0; i--)
                link = link->next;
            conn_close(&rig.relay, container_of(link, struct conn, link), CLOSE_ADMIN,
                       CONN_END_CLOSE);
            conn_reap(&rig.relay);
        }
        assert_ptr_equal(rig.relay.young, find_young(is_seen));
    }
    while (!list_is_empty(&rig.relay.live))
        conn_close(&rig.relay, rig_conn(&rig), CLOSE_ADMIN, CONN_END_CLOSE);
    assert_ptr_equal(rig.relay.young, &rig.relay.live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_new, setup, teardown),
        cmocka_unit_test_setup_teardown(test_new_without_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_endings, setup, teardown),
        cmocka_unit_test_setup_teardown(test_first_cause_wins, setup, teardown),
        cmocka_unit_test_setup_teardown(test_drop_server_gives_one_place_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_held_bytes_are_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_young_survives_closes, setup, teardown),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
