/* What lb4 relies on when it moves bytes with splice(2). Each fact was first seen on a real kernel;
 * a kernel that answers differently breaks the relay in ways that are hard to find, so it shall
 * break here. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>

#include "pair.h"

enum { PIPE_BYTES = 65536, SEGMENT_BYTES = 100, N_SEGMENTS = 300, SPLICE_MAX = 1 << 20 };

static void open_pipe(int ends[2])
{
    assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
}

static void close_pipe(const int ends[2])
{
    close(ends[0]);
    close(ends[1]);
}

static ssize_t splice_in(int fd, const int ends[2])
{
    return splice(fd, NULL, ends[1], NULL, SPLICE_MAX, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
}

static ssize_t splice_out(const int ends[2], int fd)
{
    return splice(ends[0], NULL, fd, NULL, SPLICE_MAX, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
}

static int bytes_in(int fd)
{
    int n = -1;

    assert_int_equal(ioctl(fd, FIONREAD, &n), 0);
    return n;
}

/* Not by the acknowledgement, which may be delayed by 40 ms. */
static void wait_bytes_in(int fd, int n)
{
    uint64_t until = clock_now_ns() + PAIR_DEADLINE_MS * CLOCK_NS_PER_MS;

    while (bytes_in(fd) < n)
        assert_true(clock_now_ns() < until);
}

/* EAGAIN with bytes in the pipe says nothing about the socket: slots ran out, not bytes. */
static void test_full_by_slots(void **state)
{
    struct pair pair = pair_open(state);
    char segment[SEGMENT_BYTES];
    int ends[2];
    ssize_t n;

    memset(segment, 's', sizeof(segment));
    open_pipe(ends);
    for (int i = 1; i <= N_SEGMENTS; i++) {
        assert_int_equal(send(pair.client, segment, sizeof(segment), MSG_NOSIGNAL),
                         sizeof(segment));
        wait_bytes_in(pair.server, i * SEGMENT_BYTES);
    }
    do
        n = splice_in(pair.server, ends);
    while (n > 0);
    assert_int_equal(n, -1);
    assert_int_equal(errno, EAGAIN);
    assert_true(bytes_in(ends[0]) > 0);
    assert_true(bytes_in(ends[0]) < PIPE_BYTES);
    assert_true(bytes_in(pair.server) > 0);
    assert_true(pair_wait(pair.server, POLLIN) & POLLIN);
    close_pipe(ends);
    pair_close(&pair);
}

/* An empty socket gives the very same EAGAIN, and data with FIN gives the data and then 0. */
static void test_empty_and_fin(void **state)
{
    struct pair pair = pair_open(state);
    int ends[2];

    open_pipe(ends);
    assert_int_equal(splice_in(pair.server, ends), -1);
    assert_int_equal(errno, EAGAIN);
    pair_send(pair.client, "abc", 0);
    shutdown(pair.client, SHUT_WR);
    pair_wait(pair.server, POLLRDHUP);
    assert_int_equal(splice_in(pair.server, ends), 3);
    assert_int_equal(splice_in(pair.server, ends), 0);
    assert_int_equal(splice_in(pair.server, ends), 0);
    close_pipe(ends);
    pair_close(&pair);
}

/* Data received before a reset is still given; the error is told once and looks like EOF then. */
static void test_reset_is_told_once(void **state)
{
    struct pair pair = pair_open(state);
    int ends[2];

    open_pipe(ends);
    pair_send_and_reset(&pair, "abc");
    assert_int_equal(splice_in(pair.server, ends), 3);
    assert_int_equal(splice_in(pair.server, ends), -1);
    assert_int_equal(errno, ECONNRESET);
    assert_int_equal(splice_in(pair.server, ends), 0);
    close_pipe(ends);
    pair_close(&pair);
}

/* SO_ERROR takes the error away: what follows the data then looks like a clean EOF. */
static void test_so_error_swallows(void **state)
{
    struct pair pair = pair_open(state);
    int ends[2];

    open_pipe(ends);
    pair_send_and_reset(&pair, "abc");
    assert_int_equal(sock_take_error(pair.server), ECONNRESET);
    assert_int_equal(splice_in(pair.server, ends), 3);
    assert_int_equal(splice_in(pair.server, ends), 0);
    close_pipe(ends);
    pair_close(&pair);
}

static volatile sig_atomic_t n_sigpipe;

static void count_sigpipe(int signal_number)
{
    (void)signal_number;
    n_sigpipe++;
}

/* splice(2) to a reset socket: EPIPE, and SIGPIPE, which no flag holds back; the bytes stay in the
 * pipe, which is dirty from now on. Ignoring the signal is enough. */
static void test_splice_to_reset_socket(void **state)
{
    struct pair pair = pair_open(state);
    int ends[2];

    n_sigpipe = 0;
    open_pipe(ends);
    assert_int_equal(write(ends[1], "forty-five bytes that nobody will ever read..", 45), 45);
    pair_send_and_reset(&pair, "");
    assert_int_equal(sock_take_error(pair.server), ECONNRESET);
    signal(SIGPIPE, count_sigpipe);
    assert_int_equal(splice_out(ends, pair.server), -1);
    assert_int_equal(errno, EPIPE);
    assert_int_equal(n_sigpipe, 1);
    assert_int_equal(bytes_in(ends[0]), 45);
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(splice_out(ends, pair.server), -1);
    assert_int_equal(errno, EPIPE);
    signal(SIGPIPE, SIG_DFL);
    close_pipe(ends);
    pair_close(&pair);
}

/* "abc", an urgent byte and "defg" are waiting at the server's side, and "abc" was spliced. */
static struct pair open_at_urgent_mark(void **state, const int ends[2])
{
    struct pair pair = pair_open(state);

    pair_send(pair.client, "abc", 0);
    pair_send(pair.client, "!", MSG_OOB);
    pair_send(pair.client, "defg", 0);
    assert_int_equal(splice_in(pair.server, ends), 3);
    return pair;
}

/* recv(2) steps over the mark, and splicing goes on. */
static void check_recv_passes_mark(const struct pair *pair, const int ends[2])
{
    char bytes[2];

    assert_int_equal(pair_wait(pair->server, POLLIN | POLLPRI) & (POLLIN | POLLPRI | POLLRDHUP),
                     POLLIN | POLLPRI);
    assert_int_equal(recv(pair->server, bytes, sizeof(bytes), 0), 2);
    assert_memory_equal(bytes, "de", 2);
    assert_int_equal(splice_in(pair->server, ends), 2);
}

/* At an urgent mark splice(2) from a non-blocking socket says EAGAIN again and again, with data
 * behind it: EAGAIN means empty only without PRI. */
static void test_eagain_at_urgent_mark(void **state)
{
    struct pair pair;
    int ends[2];

    open_pipe(ends);
    pair = open_at_urgent_mark(state, ends);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(splice_in(pair.server, ends), -1);
        assert_int_equal(errno, EAGAIN);
    }
    check_recv_passes_mark(&pair, ends);
    close_pipe(ends);
    pair_close(&pair);
}

/* The same from a blocking socket is 0, as at the end: 0 is EOF only if recv(2) agrees. */
static void test_zero_at_urgent_mark(void **state)
{
    struct pair pair;
    int ends[2];

    open_pipe(ends);
    pair = open_at_urgent_mark(state, ends);
    assert_int_equal(fcntl(pair.server, F_SETFL, 0), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(splice_in(pair.server, ends), 0);
    check_recv_passes_mark(&pair, ends);
    close_pipe(ends);
    pair_close(&pair);
}

/* With FIN behind the mark a non-blocking socket gives 0 too, with data in front of the FIN. */
static void test_fin_behind_urgent_mark(void **state)
{
    struct pair pair;
    int ends[2];

    open_pipe(ends);
    pair = open_at_urgent_mark(state, ends);
    shutdown(pair.client, SHUT_WR);
    pair_wait(pair.server, POLLRDHUP);
    for (int i = 0; i < 3; i++)
        assert_int_equal(splice_in(pair.server, ends), 0);
    close_pipe(ends);
    pair_close(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_full_by_slots),          PAIR_TEST(test_empty_and_fin),
        PAIR_TEST(test_reset_is_told_once),     PAIR_TEST(test_so_error_swallows),
        PAIR_TEST(test_splice_to_reset_socket), PAIR_TEST(test_eagain_at_urgent_mark),
        PAIR_TEST(test_zero_at_urgent_mark),    PAIR_TEST(test_fin_behind_urgent_mark),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
