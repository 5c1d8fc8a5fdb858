#include "lb4/worker/inherited.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct addr at(const char *host, uint16_t port)
{
    struct addr addr;

    assert_int_equal(addr_parse(host, &addr), 0);
    addr_set_port(&addr, port);
    return addr;
}

static void test_fits(void **state)
{
    static const struct {
        const char *socket;
        bool socket_is_dual;
        const char *listener;
        bool listener_is_dual;
        uint16_t port;
        bool fits;
    } cases[] = {
        {"127.0.0.1", false, "127.0.0.1", false, 53, true},
        {"127.0.0.1", false, "127.0.0.1", false, 54, false},
        {"127.0.0.1", false, "127.0.0.2", false, 53, false},
        {"::1", false, "::1", false, 53, true},
        {"::ffff:127.0.0.1", false, "127.0.0.1", false, 53, true},
        {"0.0.0.0", false, "0.0.0.0", false, 53, true},
        {"::", true, "::", true, 53, true},
        {"::", false, "::", true, 53, true},
        {"0.0.0.0", false, "::", true, 53, true},
        {"0.0.0.0", false, "::", true, 54, false},
        {"::", false, "::", false, 53, true},
        {"::", true, "::", false, 53, false}, /* would take IPv4 */
        {"0.0.0.0", false, "::", false, 53, false},
        {"::", true, "0.0.0.0", false, 53, false},
        {"127.0.0.1", false, "::", true, 53, false},
        {"::", true, "127.0.0.1", false, 53, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct inherited_socket socket = {
            .fd = 3, .addr = at(cases[i].socket, 53), .is_dual_stack = cases[i].socket_is_dual};
        struct addr listener = at(cases[i].listener, cases[i].port);

        if (inherited_fits(&socket, &listener, cases[i].listener_is_dual) != cases[i].fits)
            fail_msg("case %zu: %s for %s", i, cases[i].socket, cases[i].listener);
    }
}

static void test_take(void **state)
{
    struct inherited_socket sockets[] = {
        {.fd = -1, .transport = 0},
        {.fd = 4, .transport = CONF_UDP, .addr = at("127.0.0.1", 53)},
        {.fd = 5, .transport = CONF_TCP, .addr = at("127.0.0.1", 53)},
        {.fd = 6, .transport = CONF_TCP, .addr = at("127.0.0.1", 53)},
        {.fd = 7, .transport = CONF_TCP, .addr = at("127.0.0.1", 54)},
    };
    const struct inherited inherited = {sockets, sizeof(sockets) / sizeof(sockets[0])};
    const struct inherited none = {0};
    struct inherited_socket like = {.transport = CONF_TCP, .addr = at("127.0.0.1", 53)};

    (void)state;
    assert_int_equal(inherited_take(&none, &like), -1);
    assert_int_equal(inherited_take(&inherited, &like), 5);
    assert_int_equal(inherited_take(&inherited, &like), 6);
    assert_int_equal(inherited_take(&inherited, &like), -1);
    assert_int_equal(sockets[2].fd, -1);
    like.transport = CONF_UDP;
    assert_int_equal(inherited_take(&inherited, &like), 4);
    assert_int_equal(inherited_take(&inherited, &like), -1);
    assert_int_equal(sockets[4].fd, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fits),
        cmocka_unit_test(test_take),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
