#include "lb4/relay/path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "sockets.h"

/* Over the loopback there is one, of microseconds. */
static void test_of_a_connection(void **state)
{
    struct addr at;
    int listener = sockets_listen(&at);
    int client = sockets_connect(&at);
    int server = sockets_accept(listener);
    struct path path = {.retransmits = 77};

    (void)state;
    path_read(client, &path);
    assert_true(path.is_known);
    assert_in_range(path.rtt_us, 1, 10 * 1000 * 1000);
    assert_int_equal(path.retransmits, 0);
    path_read(server, &path);
    assert_true(path.is_known);
    close(client);
    close(server);
    close(listener);
}

static void check_unknown(int fd)
{
    struct path path = {true, 1, 1};

    path_read(fd, &path);
    assert_false(path.is_known);
    assert_int_equal(path.rtt_us, 0);
}

static void test_of_nothing(void **state)
{
    struct addr at;
    int listener = sockets_listen(&at);
    int fresh = socket(AF_INET, SOCK_STREAM, 0);
    int datagrams = socket(AF_INET, SOCK_DGRAM, 0);

    (void)state;
    check_unknown(-1);
    check_unknown(listener);
    check_unknown(fresh);
    check_unknown(datagrams);
    close(listener);
    close(fresh);
    close(datagrams);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_of_a_connection),
        cmocka_unit_test(test_of_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
