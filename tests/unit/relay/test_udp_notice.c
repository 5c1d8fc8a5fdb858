#include "lb4/relay/udp_notice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "lb4/base/clock.h"

enum { TEXT_MAX = 4096 };

static const uint64_t SECOND_NS = 1000 * CLOCK_NS_PER_MS;
static struct addr client;

/* What was said on stderr meanwhile; there is no log thread. */
static const char *heard(struct udp_notice *notice, uint64_t n, uint64_t now_ns)
{
    const struct udp_large large = {"dns", "ns1", &client, n};
    static char text[TEXT_MAX];
    int fd = memfd_create("stderr", MFD_CLOEXEC);
    int was = dup(STDERR_FILENO);
    ssize_t length;

    assert_true(dup2(fd, STDERR_FILENO) >= 0);
    udp_notice_large(notice, &large, now_ns);
    assert_true(dup2(was, STDERR_FILENO) >= 0);
    close(was);
    length = pread(fd, text, TEXT_MAX - 1, 0);
    close(fd);
    assert_true(length >= 0);
    text[length] = '\0';
    return text;
}

static void test_words(void **state)
{
    struct udp_notice notice = {0};

    (void)state;
    assert_non_null(strstr(heard(&notice, 1, 0),
                           "service dns: dropped a datagram of client 10.0.0.9:53: with the PROXY "
                           "header for server ns1 it is longer than a datagram can be\n"));
}

static void test_once_a_second(void **state)
{
    struct udp_notice notice = {0};

    (void)state;
    assert_non_null(strstr(heard(&notice, 1, 7), "can be\n"));
    assert_string_equal(heard(&notice, 3, 8), "");
    assert_string_equal(heard(&notice, 1, 6 + SECOND_NS), "");
    assert_non_null(strstr(heard(&notice, 1, 7 + SECOND_NS), "can be; so were 4 others\n"));
    assert_non_null(strstr(heard(&notice, 1, 7 + 2 * SECOND_NS), "can be\n"));
    assert_non_null(strstr(heard(&notice, 64, 7 + 3 * SECOND_NS), "; so were 63 others\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_once_a_second),
    };

    assert_int_equal(addr_parse("10.0.0.9", &client), 0);
    addr_set_port(&client, 53);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
