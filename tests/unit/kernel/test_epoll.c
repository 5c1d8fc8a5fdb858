/* What lb4 relies on when it waits: edge triggering of relay sockets, and why listeners are
 * level-triggered. */
#include <errno.h>
#include <sys/epoll.h>

#include "pair.h"

enum { EDGE_ALL = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET };

static int watch(int fd, uint32_t events)
{
    struct epoll_event event = {.events = events};
    int set = epoll_create1(EPOLL_CLOEXEC);

    assert_true(set >= 0);
    assert_int_equal(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event), 0);
    return set;
}

/* The events that come within `timeout_ms`, 0 = none. */
static uint32_t next_events(int set, int timeout_ms)
{
    struct epoll_event event = {0};
    int n = epoll_wait(set, &event, 1, timeout_ms);

    assert_true(n >= 0);
    return n > 0 ? event.events : 0;
}

static void check_recv(int fd, const char *wanted)
{
    char bytes[100];

    assert_int_equal(recv(fd, bytes, sizeof(bytes), 0), strlen(wanted));
    assert_memory_equal(bytes, wanted, strlen(wanted));
}

/* A short read has emptied the socket: no second recv(2) is needed to arm the edge again. */
static void test_short_recv_then_new_data(void **state)
{
    struct pair pair = pair_open(state);
    int set = watch(pair.server, EDGE_ALL);

    assert_int_equal(next_events(set, 0), EPOLLOUT);
    for (int i = 0; i < 10; i++) {
        pair_send(pair.client, "abc", 0);
        assert_true(next_events(set, PAIR_DEADLINE_MS) & EPOLLIN);
        assert_int_equal(next_events(set, 0), 0);
        check_recv(pair.server, "abc");
        assert_int_equal(next_events(set, 0), 0);
    }
    close(set);
    pair_close(&pair);
}

/* Bytes that were left unread raise no event by themselves, but the next ones do. */
static void test_unread_bytes_are_silent(void **state)
{
    struct pair pair = pair_open(state);
    int set = watch(pair.server, EDGE_ALL);
    char byte;

    pair_send(pair.client, "abc", 0);
    assert_true(next_events(set, PAIR_DEADLINE_MS) & EPOLLIN);
    assert_int_equal(recv(pair.server, &byte, 1, 0), 1);
    assert_int_equal(next_events(set, 0), 0);
    pair_send(pair.client, "d", 0);
    assert_true(next_events(set, PAIR_DEADLINE_MS) & EPOLLIN);
    check_recv(pair.server, "bcd");
    close(set);
    pair_close(&pair);
}

/* FIN together with data: the short read does not tell of it, RDHUP in the same event does. */
static void test_data_with_fin(void **state)
{
    struct pair pair = pair_open(state);
    int set = watch(pair.server, EDGE_ALL);
    char byte;

    pair_send(pair.client, "abc", 0);
    shutdown(pair.client, SHUT_WR);
    pair_wait(pair.server, POLLRDHUP);
    assert_true(next_events(set, PAIR_DEADLINE_MS) & EPOLLRDHUP);
    check_recv(pair.server, "abc");
    assert_int_equal(next_events(set, 0), 0);
    assert_int_equal(recv(pair.server, &byte, 1, 0), 0);
    close(set);
    pair_close(&pair);
}

/* FIN after the short read: an event of its own. */
static void test_fin_after_short_recv(void **state)
{
    struct pair pair = pair_open(state);
    int set = watch(pair.server, EDGE_ALL);

    pair_send(pair.client, "abc", 0);
    assert_int_equal(next_events(set, PAIR_DEADLINE_MS) & (EPOLLIN | EPOLLRDHUP), EPOLLIN);
    check_recv(pair.server, "abc");
    assert_int_equal(next_events(set, 0), 0);
    shutdown(pair.client, SHUT_WR);
    assert_true(next_events(set, PAIR_DEADLINE_MS) & EPOLLRDHUP);
    close(set);
    pair_close(&pair);
}

/* At an urgent mark recv(2) is short with data behind it, and no further event comes. EPOLLPRI in
 * the event is what shows it. */
static void test_short_recv_at_urgent_mark(void **state)
{
    struct pair pair = pair_open(state);
    int set;

    pair_send(pair.client, "abc", 0);
    pair_send(pair.client, "!", MSG_OOB);
    pair_send(pair.client, "defg", 0);
    set = watch(pair.server, EDGE_ALL);
    assert_int_equal(next_events(set, 0), EPOLLIN | EPOLLPRI | EPOLLOUT);
    check_recv(pair.server, "abc");
    assert_int_equal(next_events(set, 0), 0);
    check_recv(pair.server, "defg");
    close(set);
    pair_close(&pair);
}

/* All that a reset shows, in one event, with the data still there. */
static void test_reset_after_data(void **state)
{
    struct pair pair = pair_open(state);
    int set = watch(pair.server, EDGE_ALL);

    pair_send_and_reset(&pair, "abc");
    assert_int_equal(next_events(set, PAIR_DEADLINE_MS) & ~(uint32_t)EPOLLOUT,
                     EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP);
    check_recv(pair.server, "abc");
    close(set);
    pair_close(&pair);
}

/* A full send buffer that drains raises OUT once more; nothing has to be armed for it. */
static void test_out_after_full_buffer(void **state)
{
    static char bytes[65536];
    struct pair pair = pair_open(state);
    int set = watch(pair.server, EDGE_ALL);
    uint64_t until = clock_now_ns() + PAIR_DEADLINE_MS * CLOCK_NS_PER_MS;

    assert_int_equal(next_events(set, 0), EPOLLOUT);
    while (send(pair.server, bytes, sizeof(bytes), MSG_NOSIGNAL) > 0)
        continue;
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(next_events(set, 0), 0);
    do {
        assert_true(clock_now_ns() < until);
        while (recv(pair.client, bytes, sizeof(bytes), 0) > 0)
            continue;
    } while (next_events(set, 10) != EPOLLOUT);
    close(set);
    pair_close(&pair);
}

/* A paused listener that is edge-triggered gets no second event for what is queued. */
static void test_paused_listener(void **state)
{
    enum { N_CLIENTS = 3 };
    struct addr at;
    struct addr peer;
    int listener = pair_listen(*state, &at);
    int edge = watch(listener, EPOLLIN | EPOLLET);
    int level = watch(listener, EPOLLIN);
    int clients[N_CLIENTS];

    for (int i = 0; i < N_CLIENTS; i++) {
        assert_int_equal(sock_connect(&at, &clients[i]), 0);
        pair_wait(clients[i], POLLOUT);
    }
    assert_int_equal(next_events(edge, PAIR_DEADLINE_MS), EPOLLIN);
    close(sock_accept(listener, &peer));
    assert_int_equal(next_events(edge, 50), 0);
    assert_int_equal(next_events(level, 0), EPOLLIN);
    assert_int_equal(next_events(level, 0), EPOLLIN);
    for (int i = 0; i < N_CLIENTS; i++)
        close(clients[i]);
    close(edge);
    close(level);
    close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_short_recv_then_new_data),
        PAIR_TEST(test_unread_bytes_are_silent),
        PAIR_TEST(test_data_with_fin),
        PAIR_TEST(test_fin_after_short_recv),
        PAIR_TEST(test_short_recv_at_urgent_mark),
        PAIR_TEST(test_reset_after_data),
        PAIR_TEST(test_out_after_full_buffer),
        PAIR_TEST(test_paused_listener),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
