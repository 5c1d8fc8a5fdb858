#include "lb4/base/sock_options.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t length = sizeof(value);

    assert_int_equal(getsockopt(fd, level, name, &value, &length), 0);
    return value;
}

static void test_attach(void **state)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char name[16] = "";
    socklen_t length = sizeof(name);

    (void)state;
    assert_int_equal(sock_attach(fd, NULL, 0), 0);
    assert_int_equal(sock_attach(fd, "", 0), 0);
    assert_int_equal(sock_attach(fd, "no-such-link", 0), -ENODEV);
    assert_int_equal(sock_attach(fd, "lo", 0), 0);
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &length), 0);
    assert_string_equal(name, "lo");
    /* With the capability it is set, without it is told. */
    if (sock_attach(fd, NULL, 7) == 0)
        assert_int_equal(option(fd, SOL_SOCKET, SO_MARK), 7);
    else
        assert_int_equal(sock_attach(fd, NULL, 7), -EPERM);
    close(fd);
}

static void test_tune(void **state)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    (void)state;
    assert_int_equal(listen(fd, 1), 0);
    sock_tune_listener(fd, 16, 5);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_FASTOPEN), 16);
    assert_true(option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT) >= 5);
    sock_tune_listener(fd, 0, 0);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_FASTOPEN), 0);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT), 0);
    close(fd);
}

static void test_delay_ack(void **state)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    (void)state;
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_QUICKACK), 1);
    sock_delay_ack(fd);
    assert_int_equal(option(fd, IPPROTO_TCP, TCP_QUICKACK), 0);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attach),
        cmocka_unit_test(test_tune),
        cmocka_unit_test(test_delay_ack),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
