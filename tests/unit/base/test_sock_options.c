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

/* Fill the send buffer of one that nobody reads from. */
static size_t fill(int fd)
{
    static const char bytes[4096];
    size_t n_sent = 0;
    ssize_t n;

    while ((n = send(fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL)) > 0)
        n_sent += (size_t)n;
    assert_int_equal(errno, EAGAIN);
    return n_sent;
}

static void connect_ends(int ends[static 2])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(at);
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &length), 0);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(ends[0], (struct sockaddr *)&at, length), 0);
    ends[1] = accept(listener, NULL, NULL);
    assert_true(ends[1] >= 0);
    close(listener);
}

/* It stops within one segment (64 KiB) of the limit; without one, buffers of megabytes fill. */
static void test_limit_unsent(void **state)
{
    enum { LIMIT = 128 * 1024, SEGMENT = 64 * 1024 };
    int ends[2];

    (void)state;
    connect_ends(ends);
    assert_int_equal(sock_unsent(ends[0]), 0);
    sock_limit_unsent(ends[0], LIMIT);
    assert_int_equal(option(ends[0], IPPROTO_TCP, TCP_NOTSENT_LOWAT), LIMIT);
    assert_true(fill(ends[0]) > 0);
    assert_in_range(sock_unsent(ends[0]), LIMIT, LIMIT + SEGMENT);
    close(ends[0]);
    close(ends[1]);
}

static void test_limit_unsent_elsewhere(void **state)
{
    int ends[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    sock_limit_unsent(ends[0], 4096);
    assert_true(fill(ends[0]) > 4096);
    assert_int_equal(sock_unsent(ends[0]), 0);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attach),
        cmocka_unit_test(test_tune),
        cmocka_unit_test(test_delay_ack),
        cmocka_unit_test(test_limit_unsent),
        cmocka_unit_test(test_limit_unsent_elsewhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
