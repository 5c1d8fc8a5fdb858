#include "lb4/base/uring.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "../relay/sockets.h"
#include "uring_wrap.h"

enum {
    N_ENTRIES = 8,
    N_ROUNDS = 5000, /* the indices of 8 entries wrap, and those of 16 answers */
    SMALL_BUFFER = 1 /* the kernel makes it its least */
};

static struct uring uring;
static size_t n_fds;

/* Many places forbid it: those who run there see a test skipped, not passed. */
static void open_ring(uint32_t n)
{
    int error;

    uring_wrap = (struct uring_wrap){0};
    n_fds = sockets_count_fds();
    error = uring_init(&uring, n);
    if (uring_wrap_is_forbidden(error))
        skip();
    assert_int_equal(error, 0);
    assert_true(uring_is_open(&uring));
}

static void close_ring(void)
{
    uring_fini(&uring);
    assert_false(uring_is_open(&uring));
    assert_int_equal(sockets_count_fds(), n_fds);
}

static void submit_all(uint32_t n)
{
    uint32_t n_taken = 12345;

    assert_int_equal(uring_submit(&uring, &n_taken), 0);
    assert_int_equal(n_taken, n);
}

static void expect_no_failure(void)
{
    struct uring_failure failure;

    assert_false(uring_next_failure(&uring, &failure));
}

static struct uring_failure expect_failure(uint32_t index)
{
    struct uring_failure failure;

    assert_true(uring_next_failure(&uring, &failure));
    assert_int_equal(failure.index, index);
    return failure;
}

static size_t n_queued(int fd)
{
    int n = 0;

    assert_int_equal(ioctl(fd, FIONREAD, &n), 0);
    return (size_t)n;
}

static void wait_queued(int fd, size_t n)
{
    struct patience patience = patience_new();

    while (n_queued(fd) < n && patience_holds(&patience))
        ;
    assert_int_equal(n_queued(fd), n);
}

static void expect_bytes(int fd, const char *text)
{
    char bytes[256];

    wait_queued(fd, strlen(text));
    assert_int_equal(recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT), strlen(text));
    assert_memory_equal(bytes, text, strlen(text));
}

static void expect_nothing(int fd)
{
    assert_int_equal(sockets_read(fd, 0, 1), -EAGAIN);
}

static void send_text(int fd, const char *text)
{
    uring_send(&uring, fd, text, strlen(text));
}

static void close_pair(struct pair pair)
{
    close(pair.near);
    close(pair.far);
}

/* Two ends of which the one takes little. */
static struct pair small_pair(void)
{
    int small = SMALL_BUFFER;
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    assert_int_equal(setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    return (struct pair){ends[0], ends[1]};
}

/* --- no ring --------------------------------------------------------------------------------- */

static void test_no_ring(void **state)
{
    struct uring zeros = {0};
    struct uring cleared;

    (void)state;
    n_fds = sockets_count_fds();
    memset(&cleared, 0xa5, sizeof(cleared));
    uring_clear(&cleared);
    assert_false(uring_is_open(&zeros));
    assert_false(uring_is_open(&cleared));
    uring_fini(&zeros);
    uring_fini(&zeros);
    uring_fini(&cleared);
    assert_int_equal(sockets_count_fds(), n_fds); /* 0 is no descriptor of its own */
}

static void init_fails_with(int error)
{
    n_fds = sockets_count_fds();
    memset(&uring, 0xa5, sizeof(uring));
    assert_int_equal(uring_init(&uring, N_ENTRIES), error);
    assert_false(uring_is_open(&uring));
    uring_fini(&uring);
    assert_int_equal(sockets_count_fds(), n_fds);
}

static void test_setup_is_refused(void **state)
{
    static const int errors[] = {EPERM, ENOSYS, ENOMEM, EMFILE};

    (void)state;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        uring_wrap = (struct uring_wrap){.setup_error = errors[i]};
        init_fails_with(-errors[i]);
    }
}

static void test_kernel_without_a_feature(void **state)
{
    static const uint32_t features[] = {IORING_FEAT_SINGLE_MMAP, IORING_FEAT_CQE_SKIP};

    (void)state;
    open_ring(N_ENTRIES);
    close_ring();
    for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
        uring_wrap = (struct uring_wrap){.setup_features_off = features[i]};
        init_fails_with(-EOPNOTSUPP);
    }
}

static void test_trial_fails(void **state)
{
    (void)state;
    open_ring(N_ENTRIES);
    close_ring();
    uring_wrap = (struct uring_wrap){.enter_error = EPERM};
    init_fails_with(-EOPNOTSUPP);
    uring_wrap = (struct uring_wrap){.enter_takes_none = true};
    init_fails_with(-EOPNOTSUPP);
    uring_wrap = (struct uring_wrap){.enter_error = ENOMEM, .enter_after = 1, .enter_most = 1};
    init_fails_with(-EOPNOTSUPP);
}

static void test_is_closed_at_exec(void **state)
{
    (void)state;
    open_ring(N_ENTRIES);
    assert_true(fcntl(uring.fd, F_GETFD) & FD_CLOEXEC);
    close_ring();
}

static void test_makes_and_leaves_none_behind(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        open_ring(64);
        close_ring();
    }
    uring_fini(&uring);
    assert_int_equal(sockets_count_fds(), n_fds);
}

/* --- sends ----------------------------------------------------------------------------------- */

static void test_nothing_to_send(void **state)
{
    (void)state;
    open_ring(N_ENTRIES);
    uring_wrap.n_enters = 0;
    submit_all(0);
    assert_int_equal(uring_wrap.n_enters, 0);
    expect_no_failure();
    close_ring();
}

static void test_arrive_in_order_in_one_call(void **state)
{
    struct pair a, b;

    (void)state;
    open_ring(N_ENTRIES);
    a = sockets_pair(0);
    b = sockets_pair(0);
    uring_wrap.n_enters = 0;
    send_text(a.near, "one ");
    send_text(b.near, "uno ");
    send_text(a.near, "two ");
    send_text(a.near, "three ");
    send_text(b.near, "due ");
    send_text(a.near, "four");
    send_text(b.near, "tre");
    send_text(a.near, "!");
    expect_nothing(a.far);
    submit_all(N_ENTRIES); /* as many as fit */
    assert_int_equal(uring_wrap.n_enters, 1);
    expect_no_failure();
    expect_bytes(a.far, "one two three four!");
    expect_bytes(b.far, "uno due tre");
    close_pair(a);
    close_pair(b);
    close_ring();
}

/* What was submitted may be overwritten at once. */
static void test_bytes_are_the_callers_again(void **state)
{
    char text[] = "first";
    struct pair pair;

    (void)state;
    open_ring(N_ENTRIES);
    pair = sockets_pair(0);
    send_text(pair.near, text);
    submit_all(1);
    memset(text, 'x', sizeof(text));
    expect_bytes(pair.far, "first");
    close_pair(pair);
    close_ring();
}

static void *submit_from_thread(void *fd)
{
    for (int i = 0; i < 100; i++) {
        send_text(*(int *)fd, "x");
        send_text(-1, "x");
        submit_all(2);
        assert_int_equal(expect_failure(1).error, EBADF);
    }
    return NULL;
}

/* As control makes it for a worker. */
static void test_is_used_by_another_thread(void **state)
{
    struct pair pair;
    pthread_t thread;

    (void)state;
    open_ring(N_ENTRIES);
    pair = sockets_pair(0);
    assert_int_equal(pthread_create(&thread, NULL, submit_from_thread, &pair.near), 0);
    pthread_join(thread, NULL);
    wait_queued(pair.far, 100);
    close_pair(pair);
    close_ring();
}

/* Round the rings many times, with failures that come at other places each time. */
static void test_is_used_again(void **state)
{
    struct pair pair;
    uint8_t bytes[N_ENTRIES];
    uint64_t at = 0;

    (void)state;
    open_ring(N_ENTRIES);
    pair = sockets_pair(0);
    for (uint32_t round = 0; round < N_ROUNDS; round++) {
        uint32_t n = 1 + round % N_ENTRIES;
        uint32_t bad = round % 3 == 0 ? round / 3 % n : n;
        size_t n_good = n - (bad < n);

        for (uint32_t i = 0, k = 0; i < n; i++) {
            bytes[i] = i == bad ? 0 : sockets_byte(at + k++);
            uring_send(&uring, i == bad ? -1 : pair.near, &bytes[i], 1);
        }
        submit_all(n);
        if (bad < n)
            assert_int_equal(expect_failure(bad).error, EBADF);
        expect_no_failure();
        wait_queued(pair.far, n_good);
        if (n_good)
            assert_int_equal(sockets_read(pair.far, at, n_good), n_good);
        at += n_good;
    }
    expect_nothing(pair.far);
    close_pair(pair);
    close_ring();
}

static void test_indices_wrap_around(void **state)
{
    struct pair pair;
    uint32_t first;

    (void)state;
    open_ring(N_ENTRIES);
    pair = sockets_pair(0);
    first = *uring.sq_tail;
    for (uint32_t i = 0; *uring.sq_tail - first < 3 * N_ENTRIES + 1; i++) {
        send_text(pair.near, "abc");
        send_text(-1, "x");
        send_text(pair.near, "def");
        submit_all(3);
        assert_int_equal(expect_failure(1).error, EBADF);
        expect_no_failure();
        expect_bytes(pair.far, "abcdef");
    }
    close_pair(pair);
    close_ring();
}

/* --- failures -------------------------------------------------------------------------------- */

/* What the failures tell is what has arrived, to the byte; once nothing is taken, it is EAGAIN. */
static void test_full_socket(void **state)
{
    static uint8_t bytes[8192];
    bool is_full = false;
    struct pair pair;
    size_t n_told = 0;

    (void)state;
    open_ring(N_ENTRIES);
    pair = small_pair();
    for (uint32_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = sockets_byte(i);
    for (int round = 0; round < 100 && !is_full; round++) {
        struct uring_failure failure = {.n_sent = sizeof(bytes)};

        uring_send(&uring, pair.near, bytes, sizeof(bytes));
        submit_all(1);
        if (uring_next_failure(&uring, &failure)) {
            assert_true(failure.n_sent < sizeof(bytes));
            assert_int_equal(failure.error, failure.n_sent ? 0 : EAGAIN);
            is_full = failure.error == EAGAIN;
        }
        n_told += failure.n_sent;
        assert_int_equal(n_queued(pair.far), n_told);
        expect_no_failure();
    }
    assert_true(is_full);
    close_pair(pair);
    close_ring();
}

/* Nothing is left under way: room that comes later is not filled by what failed before. */
static void test_failed_is_not_sent_later(void **state)
{
    static const uint8_t bytes[65536];
    static uint8_t sink[65536];
    struct pair pair;
    size_t n_taken = 0;

    (void)state;
    open_ring(N_ENTRIES);
    pair = small_pair();
    uring_send(&uring, pair.near, bytes, sizeof(bytes));
    send_text(pair.near, "late");
    submit_all(2);
    for (struct uring_failure failure; uring_next_failure(&uring, &failure);)
        n_taken += failure.index == 0 ? failure.n_sent : 0;
    assert_true(n_taken > 0);
    while (n_taken) {
        ssize_t n = recv(pair.far, sink, sizeof(sink), MSG_DONTWAIT);

        assert_true(n > 0 && (size_t)n <= n_taken);
        n_taken -= (size_t)n;
    }
    submit_all(0);
    sockets_wait(pair.near, POLLOUT);
    expect_nothing(pair.far);
    expect_no_failure();
    close_pair(pair);
    close_ring();
}

static void test_reset_peer(void **state)
{
    struct pair pair;

    (void)state;
    open_ring(N_ENTRIES);
    pair = sockets_pair(0);
    sock_reset(pair.far);
    sockets_wait(pair.near, POLLHUP);
    send_text(pair.near, "a");
    send_text(pair.near, "b");
    submit_all(2);
    assert_int_equal(expect_failure(0).error, ECONNRESET);
    assert_int_equal(expect_failure(1).error, EPIPE); /* and no SIGPIPE */
    expect_no_failure();
    close(pair.near);
    close_ring();
}

static void test_shut_socket(void **state)
{
    struct pair pair;

    (void)state;
    open_ring(N_ENTRIES);
    pair = sockets_pair(0);
    send_text(pair.near, "last");
    submit_all(1);
    shutdown(pair.near, SHUT_WR);
    send_text(pair.near, "later");
    submit_all(1);
    assert_int_equal(expect_failure(0).error, EPIPE);
    expect_bytes(pair.far, "last");
    close_pair(pair);
    close_ring();
}

static void test_closed_descriptor(void **state)
{
    struct pair pair;
    struct uring_failure failure;

    (void)state;
    open_ring(N_ENTRIES);
    pair = sockets_pair(0);
    close(pair.near);
    send_text(pair.near, "x");
    submit_all(1);
    failure = expect_failure(0);
    assert_int_equal(failure.error, EBADF);
    assert_int_equal(failure.n_sent, 0);
    expect_no_failure();
    close(pair.far);
    close_ring();
}

/* Sends go on behind one that failed, also to the same socket. */
static void test_failures_between_successes(void **state)
{
    static const uint32_t bad[] = {1, 2, 5};
    struct pair pair;
    bool is_told[N_ENTRIES] = {false};

    (void)state;
    open_ring(N_ENTRIES);
    pair = sockets_pair(0);
    for (uint32_t i = 0; i < N_ENTRIES; i++) {
        bool is_bad = i == bad[0] || i == bad[1] || i == bad[2];

        send_text(is_bad ? -1 : pair.near, "x");
    }
    submit_all(N_ENTRIES);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct uring_failure failure;

        assert_true(uring_next_failure(&uring, &failure));
        assert_int_equal(failure.error, EBADF);
        is_told[failure.index] = true;
    }
    expect_no_failure();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_true(is_told[bad[i]]);
    expect_bytes(pair.far, "xxxxx");
    close_pair(pair);
    close_ring();
}

static void test_every_send_fails(void **state)
{
    (void)state;
    open_ring(N_ENTRIES);
    for (int round = 0; round < 10; round++) {
        for (uint32_t i = 0; i < N_ENTRIES; i++)
            send_text(-1, "x");
        submit_all(N_ENTRIES);
        for (uint32_t i = 0; i < N_ENTRIES; i++)
            assert_int_equal(expect_failure(i).error, EBADF);
        expect_no_failure();
    }
    close_ring();
}

/* --- io_uring_enter(2) ------------------------------------------------------------------------ */

static void queue_digits(int fd, uint32_t n)
{
    static const char digits[] = "01234567";

    for (uint32_t i = 0; i < n; i++)
        uring_send(&uring, fd, &digits[i], 1);
}

static void test_none_is_taken(void **state)
{
    struct pair pair;
    uint32_t n_taken = 12345;

    (void)state;
    open_ring(N_ENTRIES);
    pair = sockets_pair(0);
    for (uint32_t n = 1; n <= N_ENTRIES; n++) {
        uring_wrap = (struct uring_wrap){.enter_error = ENOMEM};
        queue_digits(pair.near, n);
        assert_int_equal(uring_submit(&uring, &n_taken), -ENOMEM);
        assert_int_equal(n_taken, 0);
        expect_no_failure();
        uring_wrap = (struct uring_wrap){0};
        submit_all(0);
        expect_nothing(pair.far);
        send_text(pair.near, "fine");
        submit_all(1);
        expect_no_failure();
        expect_bytes(pair.far, "fine");
    }
    close_pair(pair);
    close_ring();
}

static void test_errors_that_pass(void **state)
{
    static const int pass[] = {EAGAIN, EBUSY, ENOMEM, ENOBUFS};
    static const int stay[] = {EPERM, EACCES, ENOSYS, EOPNOTSUPP, EINVAL,
                               EBADF, EBADFD, ENXIO,  EIO};

    (void)state;
    for (size_t i = 0; i < sizeof(pass) / sizeof(pass[0]); i++)
        assert_true(uring_error_passes(-pass[i]));
    for (size_t i = 0; i < sizeof(stay) / sizeof(stay[0]); i++)
        assert_false(uring_error_passes(-stay[i]));
}

/* The rest is not sent with the next ones. */
static void test_some_are_taken(void **state)
{
    struct pair pair;

    (void)state;
    open_ring(N_ENTRIES);
    pair = sockets_pair(0);
    for (uint32_t n = 1; n < N_ENTRIES; n++) {
        uint32_t n_taken = 12345;

        uring_wrap = (struct uring_wrap){.enter_error = EPERM, .enter_after = 1, .enter_most = n};
        queue_digits(pair.near, N_ENTRIES);
        assert_int_equal(uring_submit(&uring, &n_taken), -EPERM);
        assert_int_equal(n_taken, n);
        expect_no_failure();
        uring_wrap = (struct uring_wrap){0};
        send_text(pair.near, "!");
        send_text(-1, "?");
        submit_all(2);
        assert_int_equal(expect_failure(1).error, EBADF);
        expect_no_failure();
        wait_queued(pair.far, n + 1);
        for (uint32_t i = 0; i <= n; i++) {
            char byte;

            assert_int_equal(recv(pair.far, &byte, 1, 0), 1);
            assert_int_equal(byte, i == n ? '!' : (char)('0' + i));
        }
    }
    close_pair(pair);
    close_ring();
}

static void test_taken_bit_by_bit(void **state)
{
    struct pair pair;

    (void)state;
    open_ring(N_ENTRIES);
    pair = sockets_pair(0);
    uring_wrap = (struct uring_wrap){.enter_most = 3};
    queue_digits(pair.near, N_ENTRIES);
    submit_all(N_ENTRIES);
    assert_int_equal(uring_wrap.n_enters, 3);
    expect_no_failure();
    expect_bytes(pair.far, "01234567");
    close_pair(pair);
    close_ring();
}

static void test_interrupted(void **state)
{
    struct pair pair;

    (void)state;
    open_ring(N_ENTRIES);
    pair = sockets_pair(0);
    uring_wrap = (struct uring_wrap){
        .enter_error = EINTR, .enter_after = 1, .enter_times = 2, .enter_most = 5};
    queue_digits(pair.near, N_ENTRIES);
    submit_all(N_ENTRIES);
    expect_no_failure();
    expect_bytes(pair.far, "01234567");
    close_pair(pair);
    close_ring();
}

/* A kernel that takes nothing and says nothing must not be asked for ever. */
static void test_takes_nothing_and_says_nothing(void **state)
{
    struct pair pair;
    uint32_t n_taken = 12345;

    (void)state;
    open_ring(N_ENTRIES);
    pair = sockets_pair(0);
    uring_wrap = (struct uring_wrap){.enter_takes_none = true};
    queue_digits(pair.near, 3);
    assert_int_equal(uring_submit(&uring, &n_taken), -EIO);
    assert_int_equal(n_taken, 0);
    uring_wrap = (struct uring_wrap){0};
    submit_all(0);
    expect_nothing(pair.far);
    close_pair(pair);
    close_ring();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_ring),
        cmocka_unit_test(test_setup_is_refused),
        cmocka_unit_test(test_kernel_without_a_feature),
        cmocka_unit_test(test_trial_fails),
        cmocka_unit_test(test_is_closed_at_exec),
        cmocka_unit_test(test_makes_and_leaves_none_behind),
        cmocka_unit_test(test_nothing_to_send),
        cmocka_unit_test(test_arrive_in_order_in_one_call),
        cmocka_unit_test(test_bytes_are_the_callers_again),
        cmocka_unit_test(test_is_used_by_another_thread),
        cmocka_unit_test(test_is_used_again),
        cmocka_unit_test(test_indices_wrap_around),
        cmocka_unit_test(test_full_socket),
        cmocka_unit_test(test_failed_is_not_sent_later),
        cmocka_unit_test(test_reset_peer),
        cmocka_unit_test(test_shut_socket),
        cmocka_unit_test(test_closed_descriptor),
        cmocka_unit_test(test_failures_between_successes),
        cmocka_unit_test(test_every_send_fails),
        cmocka_unit_test(test_none_is_taken),
        cmocka_unit_test(test_errors_that_pass),
        cmocka_unit_test(test_some_are_taken),
        cmocka_unit_test(test_taken_bit_by_bit),
        cmocka_unit_test(test_interrupted),
        cmocka_unit_test(test_takes_nothing_and_says_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
