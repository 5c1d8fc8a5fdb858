#include "lb4/loop/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lb4/base/clock.h"

enum { WAIT_MS = 5000 };

static struct loop loop;

static int setup(void **state)
{
    (void)state;
    return loop_init(&loop);
}

static int teardown(void **state)
{
    (void)state;
    loop_fini(&loop);
    loop_fini(&loop);
    return 0;
}

/* A source that is readable from the start. */
static void open_readable(struct source *source)
{
    int fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);

    assert_true(fd >= 0);
    source_init(source, SOURCE_MAILBOX, fd);
}

static void add_readable(struct source *source, enum loop_trigger trigger)
{
    open_readable(source);
    assert_int_equal(loop_add(&loop, source, trigger), 0);
}

static void make_pair(int pair[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
}

/* The one event of the next batch. */
static uint32_t wait_one(const struct source *source)
{
    assert_int_equal(loop_wait(&loop, WAIT_MS), 1);
    assert_ptr_equal(loop.batch[0].source, source);
    return loop.batch[0].bits;
}

static void test_init(void **state)
{
    (void)state;
    assert_true(fcntl(loop.epoll_fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(loop_wait(&loop, 0), 0);
}

/* One that was never opened may be closed. */
static void test_clear(void **state)
{
    struct loop unopened = {.epoll_fd = 0};

    (void)state;
    loop_clear(&unopened);
    assert_int_equal(unopened.epoll_fd, -1);
    loop_fini(&unopened);
}

static void test_level_repeats(void **state)
{
    struct source source;
    uint64_t count;

    (void)state;
    add_readable(&source, LOOP_LEVEL);
    assert_true(source.is_armed);
    assert_int_equal(wait_one(&source), EPOLLIN);
    assert_int_equal(wait_one(&source), EPOLLIN);
    assert_int_equal(read(source.fd, &count, sizeof(count)), sizeof(count));
    assert_int_equal(loop_wait(&loop, 0), 0);
    loop_close(&source);
}

static void test_edge_tells_once(void **state)
{
    struct source source;
    int pair[2];

    (void)state;
    make_pair(pair);
    source_init(&source, SOURCE_CLIENT, pair[0]);
    assert_int_equal(loop_add(&loop, &source, LOOP_EDGE), 0);
    assert_int_equal(wait_one(&source), EPOLLOUT);
    assert_int_equal(loop_wait(&loop, 0), 0);
    assert_int_equal(write(pair[1], "x", 1), 1);
    assert_true(wait_one(&source) & EPOLLIN);
    assert_int_equal(loop_wait(&loop, 0), 0);
    shutdown(pair[1], SHUT_WR);
    assert_true(wait_one(&source) & EPOLLRDHUP);
    close(pair[1]);
    assert_true(wait_one(&source) & EPOLLHUP);
    loop_close(&source);
}

static void test_add_refused(void **state)
{
    struct source nothing;
    struct source twice;

    (void)state;
    source_init(&nothing, SOURCE_CLIENT, -1);
    assert_int_equal(loop_add(&loop, &nothing, LOOP_EDGE), -EBADF);
    assert_false(nothing.is_armed);
    loop_close(&nothing);
    assert_true(nothing.is_closed);
    add_readable(&twice, LOOP_LEVEL);
    assert_int_equal(loop_add(&loop, &twice, LOOP_LEVEL), 0); /* watched already */
    loop_close(&twice);
}

static void test_remove_keeps_descriptor(void **state)
{
    struct source source;

    (void)state;
    add_readable(&source, LOOP_LEVEL);
    loop_again(&loop, &source);
    loop_remove(&loop, &source);
    loop_remove(&loop, &source);
    assert_false(source.is_armed);
    assert_false(source.is_closed);
    assert_int_equal(loop_wait(&loop, 0), 0);
    assert_int_equal(loop_add(&loop, &source, LOOP_LEVEL), 0);
    assert_int_equal(wait_one(&source), EPOLLIN);
    loop_close(&source);
}

static void test_take_fd(void **state)
{
    struct source source;
    int fd;

    (void)state;
    add_readable(&source, LOOP_LEVEL);
    loop_again(&loop, &source);
    fd = source_take_fd(&source);
    assert_true(fcntl(fd, F_GETFD) >= 0);
    assert_true(source.is_closed);
    assert_int_equal(source.fd, -1);
    assert_true(list_is_empty(&loop.again));
    assert_int_equal(source_take_fd(&source), -1);
    close(fd);
    assert_int_equal(loop_wait(&loop, 0), 0);
}

static void test_again_comes_after_the_kernel(void **state)
{
    struct source ready;
    struct source hungry;

    (void)state;
    add_readable(&ready, LOOP_LEVEL);
    open_readable(&hungry);
    loop_again(&loop, &hungry);
    loop_again(&loop, &hungry);
    assert_int_equal(loop_wait(&loop, -1), 2);
    assert_ptr_equal(loop.batch[0].source, &ready);
    assert_ptr_equal(loop.batch[1].source, &hungry);
    assert_int_equal(loop.batch[1].bits, 0);
    assert_int_equal(loop_wait(&loop, -1), 1);
    loop_close(&ready);
    loop_close(&hungry);
}

static void test_again_does_not_wait(void **state)
{
    struct source hungry;

    (void)state;
    open_readable(&hungry);
    loop_again(&loop, &hungry);
    assert_int_equal(wait_one(&hungry), 0);
    assert_true(list_is_empty(&loop.again));
    loop_again(&loop, &hungry);
    assert_int_equal(wait_one(&hungry), 0);
    loop_close(&hungry);
}

/* As a worker walks: the first of two ready sources closes both; the second entry is skipped, and
 * a new file under the same number gets no foreign event. */
static void test_closed_in_the_same_batch(void **state)
{
    struct source sources[2];
    struct source heir;
    size_t n_handled = 0;

    (void)state;
    add_readable(&sources[0], LOOP_LEVEL);
    add_readable(&sources[1], LOOP_LEVEL);
    assert_int_equal(loop_wait(&loop, WAIT_MS), 2);
    for (size_t i = 0; i < 2; i++) {
        if (loop.batch[i].source->is_closed)
            continue;
        n_handled++;
        loop_close(&sources[0]);
        loop_close(&sources[1]);
    }
    assert_int_equal(n_handled, 1);
    assert_int_equal(sources[0].fd, -1);
    add_readable(&heir, LOOP_LEVEL);
    assert_int_equal(wait_one(&heir), EPOLLIN);
    loop_close(&heir);
    assert_int_equal(loop_wait(&loop, 0), 0);
}

enum { N_CROWD = 300 };

struct crowd {
    struct source ready[N_CROWD];
    struct source hungry[N_CROWD];
    bool has_served[2 * N_CROWD];
};

static void serve_batch(struct crowd *crowd, size_t n)
{
    size_t n_events = 0;

    for (size_t i = 0; i < n; i++) {
        struct source *source = loop.batch[i].source;
        bool is_ready = loop.batch[i].bits != 0;

        if (is_ready)
            crowd->has_served[source - crowd->ready] = true;
        else
            crowd->has_served[N_CROWD + (source - crowd->hungry)] = true;
        if (!is_ready)
            loop_again(&loop, source);
        n_events += is_ready;
    }
    assert_int_equal(n_events, LOOP_BATCH_MAX / 2);
}

/* 300 sources that are always ready and 300 that always ask again: three turns serve everyone. */
static void test_nobody_starves(void **state)
{
    struct crowd *crowd = calloc(1, sizeof(*crowd));

    (void)state;
    assert_non_null(crowd);
    for (size_t i = 0; i < N_CROWD; i++) {
        add_readable(&crowd->ready[i], LOOP_LEVEL);
        open_readable(&crowd->hungry[i]);
        loop_again(&loop, &crowd->hungry[i]);
    }
    for (int turn = 0; turn < 3; turn++) {
        assert_int_equal(loop_wait(&loop, WAIT_MS), LOOP_BATCH_MAX);
        serve_batch(crowd, LOOP_BATCH_MAX);
    }
    for (size_t i = 0; i < (size_t)2 * N_CROWD; i++)
        assert_true(crowd->has_served[i]);
    for (size_t i = 0; i < N_CROWD; i++) {
        loop_close(&crowd->ready[i]);
        loop_close(&crowd->hungry[i]);
    }
    assert_true(list_is_empty(&loop.again));
    free(crowd);
}

static void test_reads_the_clock(void **state)
{
    uint64_t before_ns = clock_now_ns();

    (void)state;
    assert_int_equal(loop_wait(&loop, 3), 0);
    assert_true(loop.now_ns >= before_ns + 3 * CLOCK_NS_PER_MS - CLOCK_NS_PER_MS / 10);
    assert_true(loop.now_ns <= clock_now_ns());
}

static void on_alarm(int signal)
{
    (void)signal;
}

static void test_signal_is_no_event(void **state)
{
    struct sigaction action = {.sa_handler = on_alarm};
    /* Repeated, should the first one come before the wait. */
    struct itimerval timer = {.it_value.tv_usec = 5000, .it_interval.tv_usec = 5000};

    (void)state;
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &timer, NULL), 0);
    assert_int_equal(loop_wait(&loop, -1), 0);
    timer = (struct itimerval){0};
    setitimer(ITIMER_REAL, &timer, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_init, setup, teardown),
        cmocka_unit_test(test_clear),
        cmocka_unit_test_setup_teardown(test_level_repeats, setup, teardown),
        cmocka_unit_test_setup_teardown(test_edge_tells_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_add_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_remove_keeps_descriptor, setup, teardown),
        cmocka_unit_test_setup_teardown(test_take_fd, setup, teardown),
        cmocka_unit_test_setup_teardown(test_again_comes_after_the_kernel, setup, teardown),
        cmocka_unit_test_setup_teardown(test_again_does_not_wait, setup, teardown),
        cmocka_unit_test_setup_teardown(test_closed_in_the_same_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nobody_starves, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reads_the_clock, setup, teardown),
        cmocka_unit_test_setup_teardown(test_signal_is_no_event, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
