/* What a peer that is not on this host sees: tests/integration/test_refusing.py. */
#include "lb4/base/sock_vanish.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../relay/sockets.h"

static void test_the_socket_is_gone_at_once(void **state)
{
    struct pair pair = sockets_pair(0);
    size_t n = sockets_count_fds();
    struct pollfd end = {pair.far, POLLIN, 0};

    (void)state;
    sock_vanish(pair.near);
    assert_int_equal(sockets_count_fds(), n - 1);
    assert_int_equal(poll(&end, 1, 5000), 1); /* on this very host, the reset arrives */
    assert_int_equal(sockets_read(pair.far, 0, 1), -ECONNRESET);
    close(pair.far);
}

static void test_any_descriptor_will_do(void **state)
{
    int pipe_fds[2];
    size_t n = sockets_count_fds();

    (void)state;
    assert_int_equal(pipe(pipe_fds), 0);
    sock_vanish(pipe_fds[0]);
    sock_vanish(pipe_fds[1]);
    assert_int_equal(sockets_count_fds(), n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_socket_is_gone_at_once),
        cmocka_unit_test(test_any_descriptor_will_do),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
