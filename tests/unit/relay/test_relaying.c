/* relay/relaying where small sends of a batch leave together: nothing else happens to a connection
 * before its posts have left, and what was not taken comes back. What a connection does otherwise:
 * test_tcp.c. */
#include "lb4/relay/relaying.h"

#include <signal.h>
#include <sys/ioctl.h>

#include "../base/uring_wrap.h"
#include "rig.h"

enum {
    PARTIES_MAX = 70, /* more than an outbox has room for */
    SMALL_BUFFER = 4096,
    MANY = OUTBOX_LEAST_EVENTS
};

/* A connection through lb4, with both of its far ends, over which a byte has gone both ways. */
struct party {
    struct conn *conn;
    int client_fd;
    int server_fd;
    uint64_t n_up; /* bytes of sockets_byte() that were said, and that came */
    uint64_t n_down;
    uint64_t n_up_read;
    uint64_t n_down_read;
};

static struct rig rig;
static int listener_fd;
static struct party parties[PARTIES_MAX];
static size_t n_parties;

/* --- send(2), with a word before it ------------------------------------------------------------
 */

static struct send_hook {
    int fd; /* of lb4 */
    void (*before)(struct party *party);
    unsigned n_sends; /* all that lb4 made */
} hook;

ssize_t __real_send(int fd, const void *bytes, size_t n, int flags);
ssize_t __wrap_send(int fd, const void *bytes, size_t n, int flags);

ssize_t __wrap_send(int fd, const void *bytes, size_t n, int flags)
{
    if (flags & MSG_DONTWAIT) /* the test's own */
        return __real_send(fd, bytes, n, flags);
    hook.n_sends++;
    if (hook.before && fd == hook.fd)
        hook.before(&parties[0]);
    return __real_send(fd, bytes, n, flags);
}

/* --- parties ---------------------------------------------------------------------------------- */

/* Until all that was said to lb4 is there for it to read. */
static void wait_for_input(const struct flow_side *side, uint64_t n)
{
    struct patience patience = patience_new();
    int n_there = 0;

    while ((uint64_t)n_there < n && patience_holds(&patience))
        assert_int_equal(ioctl(side->source.fd, FIONREAD, &n_there), 0);
}

static void client_says(struct party *party, size_t n)
{
    assert_int_equal(sockets_send(party->client_fd, party->n_up, n), n);
    party->n_up += n;
    wait_for_input(&party->conn->client, party->n_up - party->conn->up.n_received);
}

static void server_says(struct party *party, size_t n)
{
    assert_int_equal(sockets_send(party->server_fd, party->n_down, n), n);
    party->n_down += n;
    wait_for_input(&party->conn->server, party->n_down - party->conn->down.n_received);
}

/* What has come by now, in order, to the server and to the client. */
static void read_all(struct party *party)
{
    ssize_t n;

    while (party->server_fd >= 0 &&
           (n = sockets_read(party->server_fd, party->n_up_read, 65536)) > 0)
        party->n_up_read += (uint64_t)n;
    while (party->client_fd >= 0 &&
           (n = sockets_read(party->client_fd, party->n_down_read, 65536)) > 0)
        party->n_down_read += (uint64_t)n;
}

/* lb4 has no more turns. */
static void expect_all_came(struct party *party)
{
    struct patience patience = patience_new();

    while ((party->n_up_read < party->n_up || party->n_down_read < party->n_down) &&
           patience_holds(&patience))
        read_all(party);
}

static void expect_nothing_came(struct party *party)
{
    assert_int_equal(sockets_read(party->server_fd, party->n_up_read, 1), -EAGAIN);
    assert_int_equal(sockets_read(party->client_fd, party->n_down_read, 1), -EAGAIN);
}

static void until_all_came(struct party *party)
{
    struct patience patience = patience_new();

    while ((party->n_up_read < party->n_up || party->n_down_read < party->n_down) &&
           patience_holds(&patience)) {
        rig_turn(&rig, 1);
        read_all(party);
    }
}

static void party_open(struct party *party)
{
    *party = (struct party){.client_fd = rig_client(&rig)};
    party->server_fd = rig_server(&rig, listener_fd);
    rig_until_relaying(&rig);
    party->conn = rig_conn(&rig);
    client_says(party, 1);
    until_all_came(party);
    server_says(party, 1);
    until_all_came(party);
}

/* Where io_uring is forbidden there is nothing to test. */
static void open_parties(size_t n)
{
    struct addr at;

    listener_fd = sockets_listen(&at);
    rig_io_uring = true;
    uring_wrap = (struct uring_wrap){0};
    rig_open(&rig, &at, 1, 0);
    if (uring_wrap_is_forbidden(rig.relay.ring_error))
        skip();
    assert_int_equal(rig.relay.ring_error, 0);
    for (n_parties = 0; n_parties < n; n_parties++)
        party_open(&parties[n_parties]);
    hook = (struct send_hook){0};
    uring_wrap = (struct uring_wrap){0};
}

static void close_parties(void)
{
    uring_wrap = (struct uring_wrap){0};
    hook = (struct send_hook){0};
    for (size_t i = 0; i < n_parties; i++) {
        if (parties[i].client_fd >= 0)
            close(parties[i].client_fd);
        if (parties[i].server_fd >= 0)
            close(parties[i].server_fd);
    }
    rig_until_ended(&rig);
    tcp_reap(&rig.relay);
    rig_close(&rig);
    close(listener_fd);
}

static uint64_t bytes_in(void)
{
    return stats_read(&rig.stats.services[0].bytes_in);
}

static uint64_t bytes_out(void)
{
    return stats_read(&rig.stats.services[0].bytes_out);
}

static uint64_t n_dropped(void)
{
    return stats_read(&rig.stats.worker.dropped_bytes);
}

/* --- batches ---------------------------------------------------------------------------------- */

static void begin_batch(size_t n_events)
{
    tcp_begin_batch(&rig.relay, n_events);
}

static void on_client(struct party *party, uint32_t bits)
{
    tcp_on_client(&rig.relay, &party->conn->client.source, bits);
}

static void on_server(struct party *party, uint32_t bits)
{
    tcp_on_server(&rig.relay, &party->conn->server.source, bits);
}

static void end_batch(void)
{
    tcp_end_batch(&rig.relay);
    assert_false(outbox_has_room(&rig.relay.flow.outbox));
    assert_int_equal(rig.relay.flow.outbox.n, 0);
    assert_int_equal(rig.relay.flow.outbox.n_bytes, 0);
}

/* --- what leaves when ------------------------------------------------------------------------- */

static void test_small_sends_leave_together(void **state)
{
    (void)state;
    open_parties(5);
    begin_batch(MANY);
    for (size_t i = 0; i < n_parties; i++) {
        if (i % 2 == 0) {
            client_says(&parties[i], 10 + i);
            on_client(&parties[i], EPOLLIN);
        } else {
            server_says(&parties[i], 20 + i);
            on_server(&parties[i], EPOLLIN);
        }
        expect_nothing_came(&parties[i]);
        assert_true(relaying_has_posts(parties[i].conn));
    }
    assert_int_equal(uring_wrap.n_enters, 0);
    end_batch();
    assert_int_equal(uring_wrap.n_enters, 1);
    assert_int_equal(hook.n_sends, 0);
    for (size_t i = 0; i < n_parties; i++) {
        assert_false(relaying_has_posts(parties[i].conn));
        expect_all_came(&parties[i]);
    }
    assert_int_equal(bytes_in(), 5 + 10 + 12 + 14);
    assert_int_equal(bytes_out(), 5 + 21 + 23);
    close_parties();
}

/* Nothing is put off to a batch that will not come. */
static void test_few_events_send_at_once(void **state)
{
    (void)state;
    open_parties(1);
    begin_batch(MANY - 1);
    client_says(&parties[0], 10);
    on_client(&parties[0], EPOLLIN);
    expect_all_came(&parties[0]);
    end_batch();
    client_says(&parties[0], 10);
    on_client(&parties[0], EPOLLIN);
    expect_all_came(&parties[0]);
    assert_int_equal(uring_wrap.n_enters, 0);
    close_parties();
}

static void test_without_a_ring(void **state)
{
    struct addr at;

    (void)state;
    listener_fd = sockets_listen(&at);
    for (int i = 0; i < 2; i++) {
        rig_io_uring = i == 1;
        uring_wrap = (struct uring_wrap){.setup_error = EPERM};
        rig_open(&rig, &at, 1, 0);
        assert_int_equal(rig.relay.ring_error, rig_io_uring ? -EPERM : 0);
        n_parties = 1;
        party_open(&parties[0]);
        begin_batch(MANY);
        client_says(&parties[0], 10);
        on_client(&parties[0], EPOLLIN);
        expect_all_came(&parties[0]);
        end_batch();
        close(parties[0].client_fd);
        close(parties[0].server_fd);
        rig_until_ended(&rig);
        rig_close(&rig);
    }
    close(listener_fd);
}

/* Both ways of one connection, in one look at it. */
static void test_both_flows_of_a_connection(void **state)
{
    struct party *party = &parties[0];

    (void)state;
    open_parties(1);
    begin_batch(MANY);
    client_says(party, 30);
    server_says(party, 40);
    flow_side_note(&party->conn->server, EPOLLIN);
    on_client(party, EPOLLIN);
    assert_true(party->conn->up.is_posted && party->conn->down.is_posted);
    expect_nothing_came(party);
    end_batch();
    expect_all_came(party);
    assert_int_equal(uring_wrap.n_enters, 1);
    close_parties();
}

static void test_more_than_there_is_room_for(void **state)
{
    (void)state;
    open_parties(PARTIES_MAX);
    for (size_t n = 1; n < 2000; n += 1000) {
        begin_batch(PARTIES_MAX);
        for (size_t i = 0; i < n_parties; i++) {
            client_says(&parties[i], n + i);
            on_client(&parties[i], EPOLLIN);
        }
        end_batch();
        for (size_t i = 0; i < n_parties; i++)
            expect_all_came(&parties[i]);
    }
    assert_int_equal(uring_wrap.n_enters, 4);
    assert_int_equal(hook.n_sends, 0);
    close_parties();
}

/* --- posts leave before anything else happens ---------------------------------------------------
 */

/* The second read is too large to be posted, and must not overtake the first. */
static void test_bytes_stay_in_order(void **state)
{
    struct party *party = &parties[0];

    (void)state;
    open_parties(2);
    begin_batch(MANY);
    client_says(party, 100);
    on_client(party, EPOLLIN);
    client_says(party, OUTBOX_POST_BYTES + 1);
    on_client(party, EPOLLIN);
    expect_all_came(party);
    client_says(party, 100);
    on_client(party, EPOLLIN);
    client_says(party, 100);
    on_server(party, EPOLLOUT);
    on_client(party, EPOLLIN);
    end_batch();
    expect_all_came(party);
    close_parties();
}

/* An event of another connection does not make them leave. */
static void test_others_do_not_make_them_leave(void **state)
{
    (void)state;
    open_parties(2);
    begin_batch(MANY);
    client_says(&parties[0], 100);
    on_client(&parties[0], EPOLLIN);
    on_client(&parties[1], EPOLLIN);
    on_server(&parties[1], EPOLLOUT);
    assert_int_equal(uring_wrap.n_enters, 0);
    on_server(&parties[0], EPOLLOUT);
    assert_int_equal(uring_wrap.n_enters, 1);
    end_batch();
    expect_all_came(&parties[0]);
    close_parties();
}

static void test_they_do_not_wait_for_bulk(void **state)
{
    (void)state;
    open_parties(3);
    for (int turn = 0; turn < 2; turn++) {
        struct conn *bulky = parties[1 + turn].conn;

        begin_batch(MANY);
        client_says(&parties[0], 100);
        on_client(&parties[0], EPOLLIN);
        (turn == 0 ? &bulky->up : &bulky->down)->is_bulk = true;
        on_client(&parties[1 + turn], EPOLLIN);
        expect_all_came(&parties[0]);
        assert_int_equal(uring_wrap.n_enters, 1 + turn);
        end_batch();
    }
    close_parties();
}

static void test_end_comes_behind_them(void **state)
{
    struct party *party = &parties[0];

    (void)state;
    open_parties(1);
    begin_batch(MANY);
    client_says(party, 100);
    on_client(party, EPOLLIN);
    shutdown(party->client_fd, SHUT_WR);
    on_client(party, EPOLLIN | EPOLLRDHUP);
    end_batch();
    expect_all_came(party);
    rig_expect(&rig, party->server_fd, 0);
    assert_true(party->conn->is_half_closed);
    begin_batch(MANY);
    server_says(party, 100);
    on_server(party, EPOLLIN);
    shutdown(party->server_fd, SHUT_WR);
    on_server(party, EPOLLIN | EPOLLRDHUP);
    end_batch();
    expect_all_came(party);
    rig_expect(&rig, party->client_fd, 0);
    rig_check_ended(&rig, CLOSE_CLIENT_FIN, 1);
    assert_int_equal(n_dropped(), 0);
    close_parties();
}

/* The client's last words are on their way when it resets. */
static void test_reset_comes_behind_them(void **state)
{
    struct party *party = &parties[0];

    (void)state;
    open_parties(1);
    begin_batch(MANY);
    client_says(party, 100);
    on_client(party, EPOLLIN);
    scene_reset(&party->client_fd);
    sockets_wait(party->conn->client.source.fd, POLLERR);
    on_client(party, EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP);
    end_batch();
    rig_until_ended(&rig);
    read_all(party);
    assert_int_equal(party->n_up_read, party->n_up);
    rig_check_ended(&rig, CLOSE_CLIENT_RST, 1);
    assert_int_equal(n_dropped(), 0);
    close_parties();
}

/* --- what was not taken ------------------------------------------------------------------------
 */

static void reset_server(struct party *party)
{
    scene_reset(&party->server_fd);
    sockets_wait(party->conn->server.source.fd, POLLERR);
}

/* All say 50 bytes, but the servers of some have reset meanwhile. */
static void test_reset_of_some(void **state)
{
    enum { N = 7 };

    (void)state;
    open_parties(N);
    begin_batch(N);
    for (size_t i = 0; i < N; i++) {
        client_says(&parties[i], 50);
        on_client(&parties[i], EPOLLIN);
    }
    reset_server(&parties[2]);
    reset_server(&parties[5]);
    end_batch();
    for (size_t i = 0; i < N; i++) {
        bool is_reset = i == 2 || i == 5;

        assert_int_equal(parties[i].conn->state, is_reset ? CONN_CLOSED : CONN_RELAYING);
        if (is_reset)
            rig_expect(&rig, parties[i].client_fd, -ECONNRESET);
        else
            expect_all_came(&parties[i]);
    }
    tcp_reap(&rig.relay);
    assert_int_equal(stats_read(&rig.stats.services[0].closed[CLOSE_SERVER_RST]), 2);
    assert_int_equal(rig.relay.n_live, N - 2);
    assert_int_equal(n_dropped(), 2 * 50);
    assert_int_equal(bytes_in(), N + N * 50);
    assert_int_equal(stats_read(&rig.stats.worker.relayed_copy), 2 * N + N * 50);
    close_parties();
}

/* What it said before its reset still comes to the client. */
static void test_last_words_of_who_resets(void **state)
{
    struct party *party = &parties[0];

    (void)state;
    open_parties(1);
    begin_batch(MANY);
    client_says(party, 50);
    on_client(party, EPOLLIN);
    server_says(party, 60);
    reset_server(party);
    on_server(party, EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP);
    end_batch();
    rig_until_ended(&rig);
    read_all(party);
    assert_int_equal(party->n_down_read, party->n_down);
    rig_check_ended(&rig, CLOSE_SERVER_RST, 1);
    assert_int_equal(n_dropped(), 50);
    assert_int_equal(bytes_in(), 51);
    assert_int_equal(bytes_out(), 61);
    close_parties();
}

/* Fill a server's socket until a post to it is not taken, then let it read. */
static void test_full_server(void **state)
{
    struct party *party = &parties[0];
    struct patience patience = patience_new();
    int small = SMALL_BUFFER;

    (void)state;
    open_parties(2);
    setsockopt(party->conn->server.source.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    setsockopt(party->server_fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    while (party->conn->up.n_held == 0 && patience_holds(&patience)) {
        begin_batch(MANY);
        client_says(party, 1500);
        on_client(party, EPOLLIN);
        client_says(&parties[1], 10);
        on_client(&parties[1], EPOLLIN);
        assert_true(party->conn->up.is_posted);
        end_batch();
        expect_all_came(&parties[1]);
    }
    assert_false(party->conn->server.is_writable);
    assert_int_equal(party->conn->up.n_sent + party->conn->up.n_held, party->n_up);
    assert_int_equal(party->conn->up.n_received, party->n_up);
    client_says(party, 5000);
    until_all_came(party);
    assert_int_equal(party->conn->up.n_sent, party->n_up);
    assert_int_equal(bytes_in(), parties[1].n_up + party->n_up);
    assert_int_equal(n_dropped(), 0);
    close_parties();
}

static void test_kernel_takes_none(void **state)
{
    (void)state;
    open_parties(5);
    for (uint32_t most = 0; most < 5; most++) {
        uring_wrap =
            (struct uring_wrap){.enter_error = ENOMEM, .enter_after = most > 0, .enter_most = most};
        begin_batch(MANY);
        for (size_t i = 0; i < n_parties; i++) {
            client_says(&parties[i], 100 + i);
            on_client(&parties[i], EPOLLIN);
        }
        hook.n_sends = 0;
        end_batch();
        assert_int_equal(hook.n_sends, 5 - most);
        for (size_t i = 0; i < n_parties; i++) {
            expect_all_came(&parties[i]);
            assert_int_equal(parties[i].conn->up.n_sent, parties[i].n_up);
        }
    }
    close_parties();
}

/* --- what follows from a failure ----------------------------------------------------------------
 */

enum { AHEAD = 100000 };

static uint64_t n_left_to_say;

/* A server that is ahead of what lb4 reads up to its end, and a client that reads as fast. */
static void say_more(struct party *party)
{
    do
        read_all(party);
    while (sock_unacked(party->conn->client.source.fd) > 0);
    while (n_left_to_say && party->n_down - party->conn->down.n_received < AHEAD) {
        size_t n = n_left_to_say < AHEAD ? n_left_to_say : AHEAD;

        assert_int_equal(sockets_send(party->server_fd, party->n_down, n), n);
        party->n_down += n;
        n_left_to_say -= n;
        if (!n_left_to_say)
            shutdown(party->server_fd, SHUT_WR);
    }
}

/* A flow into a small send buffer reads by 32 KiB. */
static void begin_long_answer(struct party *party, uint64_t n)
{
    int small = 16384;
    int large = 400000;

    setsockopt(party->conn->client.source.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    setsockopt(party->conn->server.source.fd, SOL_SOCKET, SO_RCVBUF, &large, sizeof(large));
    n_left_to_say = n;
    say_more(party);
    hook.fd = party->conn->client.source.fd;
    hook.before = say_more;
    flow_side_note(&party->conn->server, EPOLLIN);
}

/* The one flow's post comes back while the other one has used up its budget: what that one reads
 * then must leave before the end that is behind it. */
static void test_end_behind_what_a_failure_posts(void **state)
{
    struct party *party = &parties[0];
    uint64_t before;

    (void)state;
    open_parties(1);
    begin_batch(MANY);
    begin_long_answer(party, FLOW_BUDGET_BYTES + 100);
    client_says(party, 50);
    before = party->conn->down.n_received;
    on_client(party, EPOLLIN);
    assert_true(party->conn->up.is_posted);
    assert_int_equal(party->conn->down.n_received - before, FLOW_BUDGET_BYTES);
    uring_wrap = (struct uring_wrap){.enter_error = ENOMEM, .enter_times = 1};
    on_server(party, EPOLLIN | EPOLLRDHUP);
    end_batch();
    until_all_came(party);
    assert_int_equal(n_left_to_say, 0);
    assert_int_equal(n_dropped(), 0);
    rig_expect(&rig, party->client_fd, 0);
    assert_int_equal(rig.relay.n_live, 1);
    close_parties();
}

static void say_and_reset(struct party *party)
{
    client_says(party, 30);
    scene_reset(&party->client_fd);
}

/* A failure that is dealt with while its connection is looked at: each byte counts once. */
static void test_bytes_count_once(void **state)
{
    struct party *party = &parties[0];

    (void)state;
    open_parties(1);
    begin_batch(MANY);
    uring_wrap.enter_error = ENOMEM;
    hook.fd = party->conn->client.source.fd;
    hook.before = say_and_reset;
    client_says(party, 50);
    server_says(party, OUTBOX_POST_BYTES + 1);
    flow_side_note(&party->conn->server, EPOLLIN);
    on_client(party, EPOLLIN);
    end_batch();
    rig_until_ended(&rig);
    read_all(party);
    assert_int_equal(party->n_up_read, 1 + 50 + 30);
    assert_int_equal(bytes_in(), 1 + 50 + 30);
    assert_int_equal(bytes_out(), 1 + OUTBOX_POST_BYTES + 1);
    assert_int_equal(n_dropped(), OUTBOX_POST_BYTES + 1);
    rig_check_ended(&rig, CLOSE_CLIENT_RST, 1);
    close_parties();
}

static void reset_both(struct party *party)
{
    reset_server(party);
    scene_reset(&party->client_fd);
}

/* A failure that is dealt with while its connection is looked at may be the end of it: once. */
static void test_ends_once(void **state)
{
    struct party *party = &parties[0];

    (void)state;
    open_parties(1);
    begin_batch(MANY);
    hook.fd = party->conn->client.source.fd;
    hook.before = reset_both;
    client_says(party, 50);
    server_says(party, OUTBOX_POST_BYTES + 1);
    flow_side_note(&party->conn->server, EPOLLIN);
    on_client(party, EPOLLIN);
    end_batch();
    rig_until_ended(&rig);
    rig_check_ended(&rig, CLOSE_CLIENT_RST, 1);
    assert_int_equal(n_dropped(), 50 + OUTBOX_POST_BYTES + 1);
    assert_int_equal(bytes_in(), 51);
    close_parties();
}

/* The batch goes on with a connection that ended when its posts left. */
static void test_event_of_one_that_has_ended(void **state)
{
    struct party *party = &parties[0];

    (void)state;
    open_parties(2);
    begin_batch(MANY);
    client_says(party, 50);
    on_client(party, EPOLLIN);
    client_says(&parties[1], 50);
    on_client(&parties[1], EPOLLIN);
    reset_server(party);
    on_server(party, EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP);
    assert_int_equal(party->conn->state, CONN_CLOSED);
    on_client(&parties[1], EPOLLIN);
    end_batch();
    tcp_reap(&rig.relay);
    expect_all_came(&parties[1]);
    assert_int_equal(n_dropped(), 50);
    assert_int_equal(rig.relay.n_live, 1);
    close_parties();
}

/* Both of its servers' and clients' sides are gone, and both flows have posts. */
static void test_both_sides_reset(void **state)
{
    struct party *party = &parties[0];

    (void)state;
    open_parties(1);
    begin_batch(MANY);
    client_says(party, 50);
    server_says(party, 60);
    flow_side_note(&party->conn->server, EPOLLIN);
    on_client(party, EPOLLIN);
    assert_true(party->conn->up.is_posted && party->conn->down.is_posted);
    reset_server(party);
    scene_reset(&party->client_fd);
    sockets_wait(party->conn->client.source.fd, POLLERR);
    end_batch();
    rig_until_ended(&rig);
    rig_check_ended(&rig, CLOSE_CLIENT_RST, 1);
    assert_int_equal(n_dropped(), 50 + 60);
    assert_int_equal(bytes_in(), 51);
    assert_int_equal(bytes_out(), 61);
    close_parties();
}

/* A killed connection's posts leave first where a worker is asked to end some. */
static void test_deliver_leaves_nothing_posted(void **state)
{
    (void)state;
    open_parties(3);
    begin_batch(MANY);
    for (size_t i = 0; i < n_parties; i++) {
        client_says(&parties[i], 50);
        on_client(&parties[i], EPOLLIN);
    }
    uring_wrap.enter_error = ENOMEM;
    relaying_deliver(&rig.relay);
    relaying_deliver(&rig.relay);
    for (size_t i = 0; i < n_parties; i++) {
        assert_false(relaying_has_posts(parties[i].conn));
        expect_all_came(&parties[i]);
    }
    uring_wrap.enter_error = 0;
    client_says(&parties[0], 50); /* it is open as before */
    on_client(&parties[0], EPOLLIN);
    assert_true(relaying_has_posts(parties[0].conn));
    end_batch();
    expect_all_came(&parties[0]);
    close_parties();
}

/* In the middle of a turn: those that it took, those that it did not, and those that come later. */
static void test_ring_is_lost(void **state)
{
    struct outbox *outbox = &rig.relay.flow.outbox;

    (void)state;
    open_parties(4);
    begin_batch(MANY);
    for (size_t i = 0; i < n_parties; i++) {
        client_says(&parties[i], 50);
        on_client(&parties[i], EPOLLIN);
    }
    uring_wrap = (struct uring_wrap){.enter_error = EPERM, .enter_after = 1, .enter_most = 2};
    relaying_deliver(&rig.relay);
    assert_int_equal(outbox->loss, -EPERM);
    assert_false(uring_is_open(&outbox->uring));
    for (size_t i = 0; i < n_parties; i++)
        expect_all_came(&parties[i]);
    for (int turn = 0; turn < 3; turn++) {
        for (size_t i = 0; i < n_parties; i++) {
            client_says(&parties[i], 50);
            on_client(&parties[i], EPOLLIN);
            expect_all_came(&parties[i]);
        }
        end_batch();
        begin_batch(MANY);
    }
    assert_int_equal(uring_wrap.n_enters, 2);
    assert_int_equal(n_dropped(), 0);
    end_batch();
    close_parties();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_sends_leave_together),
        cmocka_unit_test(test_few_events_send_at_once),
        cmocka_unit_test(test_without_a_ring),
        cmocka_unit_test(test_both_flows_of_a_connection),
        cmocka_unit_test(test_more_than_there_is_room_for),
        cmocka_unit_test(test_bytes_stay_in_order),
        cmocka_unit_test(test_others_do_not_make_them_leave),
        cmocka_unit_test(test_they_do_not_wait_for_bulk),
        cmocka_unit_test(test_end_comes_behind_them),
        cmocka_unit_test(test_reset_comes_behind_them),
        cmocka_unit_test(test_reset_of_some),
        cmocka_unit_test(test_last_words_of_who_resets),
        cmocka_unit_test(test_full_server),
        cmocka_unit_test(test_kernel_takes_none),
        cmocka_unit_test(test_end_behind_what_a_failure_posts),
        cmocka_unit_test(test_bytes_count_once),
        cmocka_unit_test(test_ends_once),
        cmocka_unit_test(test_event_of_one_that_has_ended),
        cmocka_unit_test(test_both_sides_reset),
        cmocka_unit_test(test_deliver_leaves_nothing_posted),
        cmocka_unit_test(test_ring_is_lost),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
