#include "lb4/probe/announce.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../relay/sockets.h"

static void test_local(void **state)
{
    static const char LOCAL[] = "\r\n\r\n\0\r\nQUIT\n\x20\0\0";
    struct pair pair = sockets_pair(0);
    char bytes[64];

    (void)state;
    assert_int_equal(announce(pair.near, 2), 0);
    sockets_wait(pair.far, POLLIN);
    assert_int_equal(recv(pair.far, bytes, sizeof(bytes), 0), 16);
    assert_memory_equal(bytes, LOCAL, 16);
    close(pair.near);
    close(pair.far);
}

static void test_line(void **state)
{
    struct pair pair = sockets_pair(0);
    struct addr near;
    struct addr far;
    char bytes[128] = "";
    char wanted[128];

    (void)state;
    assert_int_equal(sock_local(pair.near, &near), 0);
    assert_int_equal(sock_local(pair.far, &far), 0);
    snprintf(wanted, sizeof(wanted), "PROXY TCP4 127.0.0.1 127.0.0.1 %u %u\r\n", addr_port(&near),
             addr_port(&far));
    assert_int_equal(announce(pair.near, 1), 0);
    sockets_wait(pair.far, POLLIN);
    assert_int_equal(recv(pair.far, bytes, sizeof(bytes) - 1, 0), strlen(wanted));
    assert_string_equal(bytes, wanted);
    close(pair.near);
    close(pair.far);
}

static void test_closed(void **state)
{
    struct pair pair = sockets_pair(0);

    (void)state;
    shutdown(pair.near, SHUT_WR);
    assert_int_equal(announce(pair.near, 2), EPIPE);
    close(pair.near);
    close(pair.far);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_local),
        cmocka_unit_test(test_line),
        cmocka_unit_test(test_closed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
