#include "lb4/control/activation.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "lb4/base/log.h"
#include "lb4/base/sock_udp.h"

#include "../relay/sockets.h"

/* Descriptors 3, 4, ... are what the parent passes, so each test runs with them free. */
static struct activation activation;
static struct service service = {.name = "web"};
static struct listener listeners[2];
static struct listener_table table = {.listeners = listeners};
static char text[ACTIVATION_ERROR_MAX];

static int set_up(void **state)
{
    (void)state;
    log_set_level(LOG_LEVEL_ERROR);
    for (int fd = 3; fd < 20; fd++)
        close(fd);
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    table.n_listeners = 0;
    memset(text, 0, sizeof(text));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    activation_close(&activation);
    return 0;
}

static void read_as(const char *pid, const char *count, const char *names)
{
    char ours[32];

    snprintf(ours, sizeof(ours), "%d", (int)getpid());
    if (pid)
        setenv("LISTEN_PID", strcmp(pid, "ours") == 0 ? ours : pid, 1);
    if (count)
        setenv("LISTEN_FDS", count, 1);
    if (names)
        setenv("LISTEN_FDNAMES", names, 1);
    activation_read(&activation);
    assert_null(getenv("LISTEN_PID"));
    assert_null(getenv("LISTEN_FDS"));
    assert_null(getenv("LISTEN_FDNAMES"));
}

/* Without close-on-exec, as they come from a parent. */
static int passed(int fd)
{
    assert_true(fd >= 3);
    assert_int_equal(fcntl(fd, F_SETFD, 0), 0);
    return fd;
}

static int open_udp(struct addr *ret_at)
{
    const struct sock_udp_options plain = {0};
    struct addr any = sockets_loopback(0);
    socklen_t length = sizeof(*ret_at);
    int fd = sock_udp_listen(&any, &plain);

    assert_int_equal(getsockname(fd, &ret_at->sa, &length), 0);
    return fd;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void check_refused(int error, const char *word, const char *other)
{
    assert_int_equal(activation_open(&activation, text), error);
    if (!strstr(text, word) || !strstr(text, other))
        fail_msg("\"%s\" lacks \"%s\" or \"%s\"", text, word, other);
}

static void test_not_for_us(void **state)
{
    static const char *const pids[] = {"1", "", "x", "-1", NULL};
    struct addr addr;

    (void)state;
    passed(sockets_listen(&addr));
    for (size_t i = 0; i < sizeof(pids) / sizeof(pids[0]); i++) {
        read_as(pids[i], "1", "web");
        assert_int_equal(activation.n_fds, 0);
        assert_int_equal(activation_open(&activation, text), 0);
        assert_int_equal(activation.inherited.n_sockets, 0);
        activation_close(&activation);
        assert_int_equal(fcntl(3, F_GETFD), 0);
    }
}

static void test_bad_count(void **state)
{
    static const char *const counts[] = {"", "x", "-1", "4097", "1 "};

    (void)state;
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        read_as("ours", counts[i], NULL);
        check_refused(-EINVAL, "LISTEN_FDS", "0..4096");
        activation_close(&activation);
    }
}

static void test_what_was_passed_is_known(void **state)
{
    const struct inherited_socket *sockets;
    struct addr tcp_at;
    struct addr udp_at;

    (void)state;
    passed(sockets_listen(&tcp_at));
    passed(open_udp(&udp_at));
    read_as("ours", "2", "web:dns");
    assert_int_equal(fcntl(3, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fcntl(4, F_GETFD), FD_CLOEXEC);
    assert_int_equal(activation_open(&activation, text), 0);
    sockets = activation.inherited.sockets;
    assert_int_equal(activation.inherited.n_sockets, 2);
    assert_int_equal(sockets[0].fd, 3);
    assert_int_equal(sockets[0].transport, CONF_TCP);
    assert_true(addr_equal(&sockets[0].addr, &tcp_at));
    assert_false(sockets[0].is_dual_stack);
    assert_int_equal(sockets[1].fd, 4);
    assert_int_equal(sockets[1].transport, CONF_UDP);
    assert_true(addr_equal(&sockets[1].addr, &udp_at));
    assert_int_equal(activation_settle(&activation, &table, text), 0);
    assert_false(is_open(3));
    assert_false(is_open(4));
}

static void test_dual_stack(void **state)
{
    struct addr any;

    (void)state;
    if (!sock_has_ipv6())
        skip();
    addr_any(AF_INET6, 0, &any);
    for (int is_dual = 0; is_dual < 2; is_dual++) {
        const struct sock_listen_options options = {.dual_stack = is_dual};

        passed(sock_listen(&any, &options));
        read_as("ours", "1", NULL);
        assert_int_equal(activation_open(&activation, text), 0);
        assert_int_equal(activation.inherited.sockets[0].is_dual_stack, is_dual);
        activation_close(&activation);
    }
}

static void test_what_is_taken_stays(void **state)
{
    struct addr addr;

    (void)state;
    passed(sockets_listen(&addr));
    read_as("ours", "1", NULL);
    assert_int_equal(activation_open(&activation, text), 0);
    activation.inherited.sockets[0].fd = -1;
    assert_int_equal(activation_settle(&activation, &table, text), 0);
    assert_true(is_open(3));
    close(3);
}

static void test_no_sockets_at_all(void **state)
{
    (void)state;
    assert_int_equal(open("/dev/null", O_RDONLY), 3);
    read_as("ours", "1", "disk:x");
    check_refused(-ENOTSOCK, "descriptor 3 (disk)", "not a socket");
    activation_close(&activation);
    read_as("ours", "2", NULL);
    check_refused(-ENOTSOCK, "descriptor 3 ", "not a socket");
    close(3);
    activation_close(&activation);
    read_as("ours", "1", NULL);
    check_refused(-EBADF, "descriptor 3", "not open");
}

static void test_connections(void **state)
{
    struct pair pair = sockets_pair(0);
    struct addr addr;
    int fd;

    (void)state;
    assert_int_equal(dup2(pair.far, 3), 3);
    read_as("ours", "1", "a:b");
    check_refused(-EPROTOTYPE, "descriptor 3 (a)", "Accept=no");
    activation_close(&activation);
    fd = open_udp(&addr);
    assert_int_equal(connect(fd, &addr.sa, addr_length(&addr)), 0);
    dup2(fd, 3);
    read_as("ours", "1", NULL);
    check_refused(-EPROTOTYPE, "descriptor 3", "connected");
}

static void test_other_protocols(void **state)
{
    (void)state;
    assert_int_equal(socket(AF_NETLINK, SOCK_DGRAM, 0), 3);
    read_as("ours", "1", "nl");
    check_refused(-EPROTOTYPE, "descriptor 3 (nl)", "neither a TCP nor a UDP");
}

/* Of no use, not an error: lb4's own admin socket may come that way one day. */
static void test_unix_sockets_are_closed(void **state)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = "\0lb4-test-activation"};

    (void)state;
    assert_int_equal(socket(AF_UNIX, SOCK_STREAM, 0), 3);
    assert_int_equal(bind(3, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(socket(AF_UNIX, SOCK_DGRAM, 0), 4);
    read_as("ours", "2", NULL);
    assert_int_equal(activation_open(&activation, text), 0);
    assert_false(is_open(3));
    assert_false(is_open(4));
    assert_int_equal(activation_settle(&activation, &table, text), 0);
}

static void settle_beside(enum conf_transport transport, const struct addr *addr, bool is_inherited,
                          int wanted)
{
    listeners[0] = (struct listener){
        .transport = transport, .addr = *addr, .service = &service, .is_inherited = is_inherited};
    table.n_listeners = 1;
    read_as("ours", "1", "x");
    assert_int_equal(activation_open(&activation, text), 0);
    assert_int_equal(activation_settle(&activation, &table, text), wanted);
    activation_close(&activation);
}

/* For the address of a TCP listener a UDP socket was passed, and no other. */
static void test_the_other_transport(void **state)
{
    struct addr addr;

    (void)state;
    passed(open_udp(&addr));
    settle_beside(CONF_TCP, &addr, false, -EPROTOTYPE);
    assert_non_null(strstr(text, "descriptor 3 (x)"));
    assert_non_null(strstr(text, "UDP socket on 127.0.0.1:"));
    assert_non_null(strstr(text, "service web listens on TCP"));
    passed(open_udp(&addr));
    settle_beside(CONF_TCP, &addr, true, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_not_for_us),
        TEST(test_bad_count),
        TEST(test_what_was_passed_is_known),
        TEST(test_dual_stack),
        TEST(test_what_is_taken_stays),
        TEST(test_no_sockets_at_all),
        TEST(test_connections),
        TEST(test_other_protocols),
        TEST(test_unix_sockets_are_closed),
        TEST(test_the_other_transport),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
