#include "lb4/control/door.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "lb4/base/clock.h"
#include "lb4/base/sock.h"

static struct loop loop;
static struct door door;
static struct addr at;
static int accept_error;
static int n_accepts;

int __real_accept4(int fd, struct sockaddr *addr, socklen_t *n, int flags);
int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *n, int flags);
int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *n, int flags)
{
    n_accepts++;
    if (!accept_error)
        return __real_accept4(fd, addr, n, flags);
    errno = accept_error;
    return -1;
}

static int prepare(void **state)
{
    const struct sock_listen_options options = {0};
    socklen_t n = sizeof(at);
    int fd;

    (void)state;
    accept_error = 0;
    n_accepts = 0;
    addr_parse("127.0.0.1", &at);
    fd = sock_listen(&at, &options);
    assert_true(fd >= 0);
    assert_int_equal(getsockname(fd, &at.sa, &n), 0);
    assert_int_equal(loop_init(&loop), 0);
    door_init(&door, SOURCE_ADMIN_LISTENER, fd);
    return door_open(&door, &loop);
}

static int finish(void **state)
{
    (void)state;
    close(door_take_fd(&door));
    assert_int_equal(door_take_fd(&door), -1);
    loop_fini(&loop);
    return 0;
}

static void knock(int n)
{
    while (n-- > 0) {
        int fd;

        assert_int_equal(sock_connect(&at, &fd), 0);
        close(fd);
    }
}

/* One turn; how many came in. */
static int turn(bool has_room)
{
    int n = 0;
    int fd;

    if (loop_wait(&loop, 0) > 0)
        door_on_event(&door);
    for (; (fd = door_accept(&door, has_room)) >= 0; n++)
        close(fd);
    door_end_turn(&door);
    return n;
}

static void test_lets_in(void **state)
{
    (void)state;
    assert_int_equal(turn(true), 0);
    assert_int_equal(n_accepts, 0);
    knock(3);
    assert_int_equal(turn(true), 3);
    assert_int_equal(turn(true), 0);
    assert_true(door_due_ns(&door) == UINT64_MAX);
}

/* A queue that never ends does not keep the others waiting. */
static void test_is_bounded(void **state)
{
    int n;

    (void)state;
    knock(100);
    n = turn(true);
    assert_in_range(n, 1, 99);
    assert_int_equal(turn(true), 100 - n);
}

/* Who finds no room is turned away only if nobody was let in before. */
static void test_full(void **state)
{
    int fd;

    (void)state;
    knock(3);
    assert_int_equal(loop_wait(&loop, 0), 1);
    door_on_event(&door);
    fd = door_accept(&door, true);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(door_accept(&door, false), -1);
    door_end_turn(&door);
    assert_int_equal(turn(false), 2);
}

static void test_pauses(void **state)
{
    uint64_t due_ns;

    (void)state;
    knock(1);
    accept_error = EMFILE;
    assert_int_equal(turn(true), 0);
    due_ns = door_due_ns(&door);
    assert_in_range(due_ns - loop.now_ns, 1, CLOCK_NS_PER_S);
    accept_error = 0;
    assert_int_equal(turn(true), 0);
    assert_int_equal(n_accepts, 1);
    loop.now_ns = due_ns;
    door_end_turn(&door);
    assert_true(door_due_ns(&door) == UINT64_MAX);
    assert_int_equal(turn(true), 1);
}

/* A caller that has left again is nobody's trouble. */
static void test_goes_on(void **state)
{
    (void)state;
    knock(1);
    accept_error = ECONNABORTED;
    assert_int_equal(turn(true), 0);
    accept_error = 0;
    assert_int_equal(turn(true), 1);
}

#define PREPARED(test) cmocka_unit_test_setup_teardown(test, prepare, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PREPARED(test_lets_in), PREPARED(test_is_bounded), PREPARED(test_full),
        PREPARED(test_pauses),  PREPARED(test_goes_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
