#include "lb4/base/origin.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lb4/base/unix_path.h"

#include "lb4/base/sock.h"
#include "lb4/base/sock_udp.h"

static struct addr host(const char *text, uint16_t port)
{
    struct addr addr;

    assert_int_equal(addr_parse(text, &addr), 0);
    addr_set_port(&addr, port);
    return addr;
}

static struct origin sources(const char *a, const char *b)
{
    struct origin origin = {.n_sources = b ? 2 : 1, .sources = {host(a, 0)}};

    if (b)
        origin.sources[1] = host(b, 0);
    return origin;
}

static int listener(struct addr *ret)
{
    struct addr at = host("127.0.0.1", 0);
    int fd = sock_listen(&at, &(struct sock_listen_options){0});

    assert_true(fd >= 0);
    assert_int_equal(sock_local(fd, ret), 0);
    return fd;
}

static void expect_from(int fd, const char *text)
{
    struct addr own;
    struct addr expected = host(text, 0);

    assert_int_equal(sock_local(fd, &own), 0);
    assert_true(addr_equal_host(&own, &expected));
    assert_int_not_equal(addr_port(&own), 0);
    close(fd);
}

static void test_in_turn(void **state)
{
    struct origin origin = sources("127.0.0.8", "127.0.0.9");
    enum origin_step step;
    struct addr to;
    int server = listener(&to);
    int fd;

    (void)state;
    for (uint32_t turn = 0; turn < 4; turn++) {
        assert_int_equal(origin_connect(&origin, turn, &to, &fd, &step), 0);
        expect_from(fd, turn % 2 ? "127.0.0.9" : "127.0.0.8");
        assert_int_equal(origin_connect_udp(&origin, turn, &to, &fd, &step), 0);
        expect_from(fd, turn % 2 ? "127.0.0.9" : "127.0.0.8");
    }
    assert_int_equal(origin_connect(NULL, 0, &to, &fd, &step), 0);
    expect_from(fd, "127.0.0.1");
    assert_int_equal(origin_connect_udp(NULL, 0, &to, &fd, &step), 0);
    expect_from(fd, "127.0.0.1");
    close(server);
}

/* One that is not here, or of another family, is passed over; without another it is told. */
static void test_no_source(void **state)
{
    struct origin origin = sources("203.0.113.9", "127.0.0.9");
    enum origin_step step;
    struct addr to;
    int server = listener(&to);
    int fd = -1;

    (void)state;
    assert_int_equal(origin_connect(&origin, 0, &to, &fd, &step), 0);
    expect_from(fd, "127.0.0.9");
    origin.sources[1] = host("::1", 0);
    assert_int_equal(origin_connect(&origin, 0, &to, &fd, &step), -EADDRNOTAVAIL);
    assert_int_equal(step, ORIGIN_SOURCE);
    origin = sources("::1", NULL);
    assert_int_equal(origin_connect(&origin, 0, &to, &fd, &step), -EADDRNOTAVAIL);
    assert_int_equal(step, ORIGIN_SOURCE);
    close(server);
}

static void test_no_interface(void **state)
{
    struct origin origin = {0};
    enum origin_step step = ORIGIN_SOCKET;
    struct addr to = host("127.0.0.1", 9);
    int fd;

    (void)state;
    snprintf(origin.interface, sizeof(origin.interface), "no-such-link");
    assert_int_equal(origin_connect(&origin, 0, &to, &fd, &step), -ENODEV);
    assert_int_equal(step, ORIGIN_INTERFACE);
    assert_true(sock_connect_error_is_local(ENODEV));
}

static void test_interface(void **state)
{
    struct origin origin = {.interface = "lo"};
    enum origin_step step;
    struct addr to;
    int server = listener(&to);
    int fd;

    (void)state;
    assert_int_equal(origin_connect(&origin, 0, &to, &fd, &step), 0);
    expect_from(fd, "127.0.0.1");
    close(server);
}

static void test_equal(void **state)
{
    struct origin a = sources("127.0.0.8", "127.0.0.9");
    struct origin b = a;
    struct origin zero = {0};

    (void)state;
    assert_true(origin_equal(&a, &b));
    assert_true(origin_equal(NULL, &zero));
    assert_false(origin_equal(&a, NULL));
    b.mark = 1;
    assert_false(origin_equal(&a, &b));
    b = a;
    b.sources[1] = host("127.0.0.7", 0);
    assert_false(origin_equal(&a, &b));
    assert_int_equal(origin_count(&a, AF_INET), 2);
    assert_int_equal(origin_count(&a, AF_INET6), 0);
    assert_int_equal(origin_count(NULL, AF_INET6), 1);
}

static void test_whose_trouble_a_connect_is(void **state)
{
    static const int of_server[] = {EAGAIN, EACCES, EPERM, ENOENT, ECONNREFUSED, EADDRINUSE};
    struct addr path;
    struct addr ip;

    (void)state;
    addr_any(AF_INET, 1, &ip);
    addr_unix((uint32_t)unix_path_number("/x"), &path);
    for (size_t i = 0; i < sizeof(of_server) / sizeof(of_server[0]); i++) {
        assert_false(origin_error_is_ours(&path, of_server[i]));
        assert_int_equal(origin_error_is_ours(&ip, of_server[i]),
                         sock_connect_error_is_local(of_server[i]));
    }
    assert_true(origin_error_is_ours(&path, EMFILE));
    assert_true(origin_error_is_ours(&ip, EAGAIN));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_turn),      cmocka_unit_test(test_no_source),
        cmocka_unit_test(test_no_interface), cmocka_unit_test(test_interface),
        cmocka_unit_test(test_equal),        cmocka_unit_test(test_whose_trouble_a_connect_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
