#include "lb4/relay/pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

/* What F_GETPIPE_SZ says; 0 = the truth. */
static int pretended_bytes;

int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);

static int granted_bytes; /* the largest F_SETPIPE_SZ that is not EPERM; 0 = as the kernel says */

int __wrap_fcntl(int fd, int command, ...)
{
    va_list args;
    int argument;

    va_start(args, command);
    argument = va_arg(args, int);
    va_end(args);
    if (command == F_GETPIPE_SZ && pretended_bytes)
        return pretended_bytes;
    if (command == F_SETPIPE_SZ && granted_bytes && argument > granted_bytes) {
        errno = EPERM;
        return -1;
    }
    return __real_fcntl(fd, command, argument);
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD, 0) >= 0;
}

static void test_pipe_is_born_right(void **state)
{
    struct pipe_pool pool;
    struct pipe *pipe;

    (void)state;
    pipe_pool_init(&pool, 1, 0);
    assert_int_equal(pool.n_idle, 0);
    pipe = pipe_borrow(&pool);
    assert_non_null(pipe);
    assert_true(pipe->cap_bytes >= PIPE_USEFUL_BYTES);
    assert_true(fcntl(pipe->read_fd, F_GETFD, 0) & FD_CLOEXEC);
    assert_true(fcntl(pipe->write_fd, F_GETFL, 0) & O_NONBLOCK);
    assert_true(fcntl(pipe->read_fd, F_GETFL, 0) & O_NONBLOCK);
    assert_int_equal(write(pipe->write_fd, "x", 1), 1);
    pipe_discard(&pool, pipe);
    pipe_pool_fini(&pool);
}

static void test_returned_pipe_is_lent_again(void **state)
{
    struct pipe_pool pool;
    struct pipe *pipe;

    (void)state;
    pipe_pool_init(&pool, 1, 1);
    pipe = pipe_borrow(&pool);
    assert_non_null(pipe);
    assert_int_equal(pool.n_lent, 1);
    assert_null(pipe_borrow(&pool));
    assert_int_equal(pool.max_pipes, 1);
    pipe_return(&pool, pipe);
    assert_int_equal(pool.n_lent, 0);
    assert_int_equal(pool.n_idle, 1);
    assert_ptr_equal(pipe_borrow(&pool), pipe);
    assert_int_equal(pool.n_idle, 0);
    pipe_return(&pool, pipe);
    pipe_pool_fini(&pool);
    assert_int_equal(pool.n_idle, 0);
}

static void test_discarded_pipe_is_closed(void **state)
{
    struct pipe_pool pool;
    struct pipe *pipe;
    int read_fd;
    int write_fd;

    (void)state;
    pipe_pool_init(&pool, 1, 1);
    pipe = pipe_borrow(&pool);
    assert_non_null(pipe);
    read_fd = pipe->read_fd;
    write_fd = pipe->write_fd;
    pipe_discard(&pool, pipe);
    assert_false(is_open(read_fd));
    assert_false(is_open(write_fd));
    assert_int_equal(pool.n_lent, 0);
    assert_int_equal(pool.n_idle, 0);
    /* Its place is free again. */
    pipe = pipe_borrow(&pool);
    assert_non_null(pipe);
    pipe_return(&pool, pipe);
    pipe_pool_fini(&pool);
    assert_false(is_open(read_fd));
}

static void test_none_wanted(void **state)
{
    struct pipe_pool pool;

    (void)state;
    pipe_pool_init(&pool, 0, 5);
    assert_int_equal(pool.n_idle, 0);
    assert_null(pipe_borrow(&pool));
    pipe_pool_fini(&pool);
}

static void test_prepared(void **state)
{
    struct pipe_pool pool;
    struct pipe *pipe;

    (void)state;
    pipe_pool_init(&pool, 3, 2);
    assert_int_equal(pool.n_idle, 2);
    pipe = pipe_borrow(&pool);
    assert_non_null(pipe);
    assert_int_equal(pool.n_idle, 1);
    pipe_return(&pool, pipe);
    pipe_pool_fini(&pool);
    pipe_pool_init(&pool, 2, 9);
    assert_int_equal(pool.n_idle, 2);
    pipe_pool_fini(&pool);
}

/* More than the prepared ones come and go. */
static void test_extra_pipes_are_closed(void **state)
{
    struct pipe_pool pool;
    struct pipe *pipes[3];
    int fds[3];

    (void)state;
    pipe_pool_init(&pool, 3, 1);
    for (size_t i = 0; i < 3; i++) {
        pipes[i] = pipe_borrow(&pool);
        assert_non_null(pipes[i]);
        fds[i] = pipes[i]->read_fd;
    }
    assert_null(pipe_borrow(&pool));
    for (size_t i = 0; i < 3; i++)
        pipe_return(&pool, pipes[i]);
    assert_int_equal(pool.n_idle, 1);
    assert_int_equal(pool.n_lent, 0);
    assert_true(is_open(fds[0]));
    assert_false(is_open(fds[1]));
    assert_false(is_open(fds[2]));
    pipe_pool_fini(&pool);
    assert_false(is_open(fds[0]));
}

static void test_scarce(void **state)
{
    struct pipe_pool pool;
    struct pipe *pipes[3];

    (void)state;
    pipe_pool_init(&pool, 4, 0);
    assert_false(pipe_pool_is_scarce(&pool));
    for (size_t i = 0; i < 3; i++) {
        pipes[i] = pipe_borrow(&pool);
        assert_non_null(pipes[i]);
        assert_int_equal(pipe_pool_is_scarce(&pool), i == 2);
    }
    for (size_t i = 0; i < 3; i++)
        pipe_return(&pool, pipes[i]);
    assert_false(pipe_pool_is_scarce(&pool));
    pipe_pool_fini(&pool);
}

/* Out of descriptors: the kernel is asked again, but not for every read. */
static void test_no_descriptors(void **state)
{
    struct rlimit before;
    struct rlimit low;
    struct pipe_pool pool;
    struct pipe *pipe;

    (void)state;
    pipe_pool_init(&pool, 4, 1);
    pipe = pipe_borrow(&pool);
    assert_non_null(pipe);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    assert_null(pipe_borrow(&pool));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(pool.n_lent, 1);
    assert_true(pipe_pool_is_scarce(&pool));
    for (int i = 1; i < PIPE_RETRY; i++)
        assert_null(pipe_borrow(&pool));
    pipe_discard(&pool, pipe);
    pipe = pipe_borrow(&pool);
    assert_non_null(pipe);
    assert_false(pipe_pool_is_scarce(&pool));
    pipe_return(&pool, pipe);
    pipe_pool_fini(&pool);
}

/* Over the user's quota a pipe has two slots (K10): copying is cheaper. */
static void test_small_pipe_is_no_use(void **state)
{
    struct pipe_pool pool;

    (void)state;
    pretended_bytes = 8192;
    pipe_pool_init(&pool, 4, 2);
    assert_int_equal(pool.n_idle, 0);
    assert_null(pipe_borrow(&pool));
    assert_int_equal(pool.n_lent, 0);
    pretended_bytes = PIPE_USEFUL_BYTES - 1;
    pool.n_skipped = 0;
    assert_null(pipe_borrow(&pool));
    pretended_bytes = 0;
    pipe_pool_fini(&pool);
}

/* pipe-max-size may be lower than what we ask for: then it is half of it, or a quarter. */
static void test_smaller_pipe_is_taken(void **state)
{
    struct pipe_pool pool;

    (void)state;
    granted_bytes = PIPE_WANTED_BYTES / 2;
    pipe_pool_init(&pool, 1, 1);
    granted_bytes = 0;
    assert_int_equal(pool.n_idle, 1);
    assert_int_equal(pool.idle->cap_bytes, PIPE_WANTED_BYTES / 2);
    pipe_pool_fini(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pipe_is_born_right),
        cmocka_unit_test(test_returned_pipe_is_lent_again),
        cmocka_unit_test(test_discarded_pipe_is_closed),
        cmocka_unit_test(test_none_wanted),
        cmocka_unit_test(test_prepared),
        cmocka_unit_test(test_extra_pipes_are_closed),
        cmocka_unit_test(test_scarce),
        cmocka_unit_test(test_no_descriptors),
        cmocka_unit_test(test_small_pipe_is_no_use),
        cmocka_unit_test(test_smaller_pipe_is_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
