#include "lb4/base/sock.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "lb4/base/unix_listen.h"
#include "lb4/base/unix_path.h"

#include "lb4/base/scope.h"

enum { DEADLINE_MS = 5000 };

static const struct sock_listen_options PLAIN = {0};
static const struct sock_listen_options SHARED = {.reuse_port = true};
static const struct sock_listen_options DUAL = {.dual_stack = true};

static struct addr loopback(const char *host, uint16_t port)
{
    struct addr addr;

    assert_int_equal(addr_parse(host, &addr), 0);
    addr_set_port(&addr, port);
    return addr;
}

static struct addr local_addr(int fd)
{
    struct addr addr;
    socklen_t length = sizeof(addr);

    assert_int_equal(getsockname(fd, &addr.sa, &length), 0);
    return addr;
}

static int listen_at(const struct addr *at, const struct sock_listen_options *options)
{
    int fd = sock_listen(at, options);

    assert_true(fd >= 0);
    return fd;
}

static short wait_for(int fd, short events)
{
    struct pollfd ready = {fd, events, 0};

    assert_int_equal(poll(&ready, 1, DEADLINE_MS), 1);
    return ready.revents;
}

static int get_int(int fd, int level, int name)
{
    int value = -1;
    socklen_t length = sizeof(value);

    assert_int_equal(getsockopt(fd, level, name, &value, &length), 0);
    return value;
}

static void check_born_right(int fd)
{
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

/* A connected pair over `host`. */
struct pair {
    int listener;
    int client;
    int server;
    struct addr peer; /* the client as accept told it */
};

static struct pair connect_pair(const char *host)
{
    struct addr at = loopback(host, 0);
    struct pair pair = {.listener = listen_at(&at, &PLAIN)};

    at = local_addr(pair.listener);
    assert_int_equal(sock_connect(&at, &pair.client), 0);
    wait_for(pair.listener, POLLIN);
    pair.server = sock_accept(pair.listener, &pair.peer);
    assert_true(pair.server >= 0);
    wait_for(pair.client, POLLOUT);
    return pair;
}

static void close_pair(struct pair *pair)
{
    close(pair->listener);
    close(pair->client);
    close(pair->server);
}

static void check_pair(const char *host)
{
    struct pair pair = connect_pair(host);
    struct addr client = local_addr(pair.client);

    assert_true(addr_equal(&pair.peer, &client));
    assert_int_equal(sock_take_error(pair.client), 0);
    check_born_right(pair.listener);
    check_born_right(pair.client);
    check_born_right(pair.server);
    assert_true(get_int(pair.client, IPPROTO_TCP, TCP_NODELAY));
    assert_int_equal(get_int(pair.listener, SOL_SOCKET, SO_REUSEADDR), 1);
    close_pair(&pair);
}

static void test_connect_accept(void **state)
{
    (void)state;
    check_pair("127.0.0.1");
    if (sock_has_ipv6())
        check_pair("::1");
}

static void test_accepted_inherits_options(void **state)
{
    struct pair pair = connect_pair("127.0.0.1");

    (void)state;
    assert_true(get_int(pair.server, IPPROTO_TCP, TCP_NODELAY));
    assert_true(get_int(pair.server, SOL_SOCKET, SO_KEEPALIVE));
    assert_int_equal(get_int(pair.server, IPPROTO_TCP, TCP_KEEPIDLE), 60);
    assert_int_equal(get_int(pair.server, IPPROTO_TCP, TCP_KEEPINTVL), 10);
    assert_int_equal(get_int(pair.server, IPPROTO_TCP, TCP_KEEPCNT), 3);
    assert_false(get_int(pair.client, SOL_SOCKET, SO_KEEPALIVE));
    sock_set_keepalive(pair.client);
    assert_true(get_int(pair.client, SOL_SOCKET, SO_KEEPALIVE));
    close_pair(&pair);
}

static void test_accept_on_empty_queue(void **state)
{
    struct addr at = loopback("127.0.0.1", 0);
    scope_close int listener = listen_at(&at, &PLAIN);

    (void)state;
    assert_true(sock_would_block(sock_accept(listener, &at)));
}

static void test_dual_stack_normalises_peer(void **state)
{
    struct addr any;
    struct addr at;
    struct addr peer;
    scope_close int listener = -1;
    scope_close int client = -1;
    scope_close int server = -1;

    (void)state;
    if (!sock_has_ipv6())
        skip();
    addr_any(AF_INET6, 0, &any);
    listener = listen_at(&any, &DUAL);
    at = local_addr(listener);
    at = loopback("127.0.0.1", addr_port(&at));
    assert_int_equal(sock_connect(&at, &client), 0);
    wait_for(listener, POLLIN);
    server = sock_accept(listener, &peer);
    assert_true(server >= 0);
    assert_int_equal(peer.sa.sa_family, AF_INET);
    assert_true(addr_is_loopback(&peer));
}

static void test_v6only_leaves_ipv4_free(void **state)
{
    struct addr any;
    struct addr ipv4;
    scope_close int listener = -1;

    (void)state;
    if (!sock_has_ipv6())
        skip();
    addr_any(AF_INET6, 0, &any);
    listener = listen_at(&any, &PLAIN);
    any = local_addr(listener);
    addr_any(AF_INET, addr_port(&any), &ipv4);
    assert_int_equal(sock_probe_listen(&ipv4, &PLAIN), 0);
    assert_int_equal(sock_probe_listen(&any, &DUAL), -EADDRINUSE);
}

/* K26: the second listener joins in silence, the probe does not. */
static void test_probe_finds_shared_listener(void **state)
{
    struct addr at = loopback("127.0.0.1", 0);
    struct addr any;
    int first = listen_at(&at, &SHARED);
    int second;

    (void)state;
    at = local_addr(first);
    addr_any(AF_INET, addr_port(&at), &any);
    second = listen_at(&at, &SHARED);
    assert_int_equal(sock_probe_listen(&at, &SHARED), -EADDRINUSE);
    assert_int_equal(sock_probe_listen(&any, &SHARED), -EADDRINUSE);
    assert_int_equal(sock_listen(&at, &PLAIN), -EADDRINUSE);
    close(first);
    assert_int_equal(sock_probe_listen(&at, &SHARED), -EADDRINUSE);
    close(second);
    assert_int_equal(sock_probe_listen(&at, &SHARED), 0);
}

static void test_listen_again_after_connections(void **state)
{
    struct pair pair = connect_pair("127.0.0.1");
    struct addr at = local_addr(pair.listener);

    (void)state;
    close(pair.server); /* first to close: TIME_WAIT is at the listening address */
    wait_for(pair.client, POLLIN);
    close(pair.client);
    close(pair.listener);
    assert_int_equal(sock_probe_listen(&at, &PLAIN), 0);
    close(listen_at(&at, &PLAIN));
}

static void test_errors_keep_nothing(void **state)
{
    struct addr elsewhere = loopback("192.0.2.1", 80); /* TEST-NET-1, RFC 5737 */
    int before = dup(0);
    int after;

    (void)state;
    close(before);
    assert_int_equal(sock_listen(&elsewhere, &PLAIN), -EADDRNOTAVAIL);
    assert_int_equal(sock_probe_listen(&elsewhere, &PLAIN), -EADDRNOTAVAIL);
    after = dup(0);
    close(after);
    assert_int_equal(after, before);
}

static void test_refused(void **state)
{
    struct addr at = loopback("127.0.0.1", 0);
    int listener = listen_at(&at, &PLAIN);
    int client = -1;
    int rc;

    (void)state;
    at = local_addr(listener);
    close(listener);
    rc = sock_connect(&at, &client);
    if (rc == 0) {
        wait_for(client, POLLOUT);
        rc = -sock_take_error(client);
        assert_int_equal(sock_take_error(client), 0); /* told once */
        close(client);
    }
    assert_int_equal(rc, -ECONNREFUSED);
}

static void test_reset_reaches_peer(void **state)
{
    struct pair pair = connect_pair("127.0.0.1");
    char byte;

    (void)state;
    sock_reset(pair.server);
    wait_for(pair.client, POLLIN);
    assert_int_equal(read(pair.client, &byte, 1), -1);
    assert_true(sock_error_is_reset(errno));
    close(pair.client);
    close(pair.listener);
}

static void fill(int fd)
{
    static const char BYTES[65536];

    while (send(fd, BYTES, sizeof(BYTES), MSG_NOSIGNAL) > 0)
        continue;
    assert_true(sock_would_block(-errno));
}

/* The client reads all and goes; what it received in time is acknowledged. */
static void drain_all(int fd, const struct pair *pair)
{
    char bytes[65536];

    while (sock_unacked(pair->server) > 0) {
        wait_for(fd, POLLIN);
        while (read(fd, bytes, sizeof(bytes)) > 0)
            continue;
    }
}

static void test_unacked_and_room(void **state)
{
    struct pair pair = connect_pair("127.0.0.1");
    size_t room_empty = sock_send_room(pair.server);

    (void)state;
    assert_int_equal(sock_unacked(pair.server), 0);
    assert_true(room_empty >= 4096);
    fill(pair.server);
    assert_true(sock_unacked(pair.server) > 0);
    assert_true(sock_send_room(pair.server) < room_empty);
    drain_all(pair.client, &pair);
    assert_true(sock_send_room(pair.server) >= room_empty);
    close_pair(&pair);
}

static void test_input_stays(void **state)
{
    struct pair pair = connect_pair("127.0.0.1");
    char byte = 'b';

    (void)state;
    assert_false(sock_has_input(pair.server));
    assert_int_equal(send(pair.client, &byte, 1, MSG_NOSIGNAL), 1);
    wait_for(pair.server, POLLIN);
    assert_true(sock_has_input(pair.server));
    assert_int_equal(read(pair.server, &byte, 1), 1);
    assert_false(sock_has_input(pair.server));
    close(pair.client);
    wait_for(pair.server, POLLRDHUP);
    assert_false(sock_has_input(pair.server)); /* the end is not a byte */
    close(pair.server);
    close(pair.listener);
}

static void test_no_socket_has_no_numbers(void **state)
{
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(sock_unacked(ends[0]), 0);
    assert_int_equal(sock_send_room(ends[0]), 0);
    assert_int_equal(sock_take_error(ends[0]), ENOTSOCK);
    close(ends[0]);
    close(ends[1]);
}

static void test_out_of_descriptors(void **state)
{
    struct pair pair = connect_pair("127.0.0.1");
    struct addr at = local_addr(pair.listener);
    struct rlimit before;
    struct rlimit none;
    int client;
    int rc[3];

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){.rlim_cur = 3, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    rc[0] = sock_connect(&at, &client);
    rc[1] = sock_listen(&at, &PLAIN);
    rc[2] = sock_accept(pair.listener, &at);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rc[i], -EMFILE);
        assert_true(sock_out_of_resources(rc[i]));
    }
    close_pair(&pair);
}

struct class_case {
    int error;
    bool would_block;
    bool transient;
    bool resources;
    bool local;
    bool reset;
};

static void test_error_classes(void **state)
{
    static const struct class_case CASES[] = {
        {.error = EAGAIN, .would_block = true, .local = true},
        {.error = ECONNABORTED, .transient = true},
        {.error = EPROTO, .transient = true},
        {.error = EINTR, .transient = true},
        {.error = ENETUNREACH, .transient = true},
        {.error = EHOSTUNREACH, .transient = true},
        {.error = EMFILE, .resources = true, .local = true},
        {.error = ENFILE, .resources = true, .local = true},
        {.error = ENOBUFS, .resources = true, .local = true},
        {.error = ENOMEM, .resources = true, .local = true},
        {.error = EADDRNOTAVAIL, .local = true},
        {.error = EADDRINUSE, .local = true},
        {.error = EACCES, .local = true},
        {.error = EPERM, .local = true},
        {.error = ENODEV, .local = true},
        {.error = EINVAL, .local = true},
        {.error = ECONNREFUSED},
        {.error = ETIMEDOUT},
        {.error = ECONNRESET, .reset = true},
        {.error = EPIPE, .reset = true},
        {.error = EBADF},
        {.error = 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        const struct class_case *want = &CASES[i];

        for (int sign = -1; sign <= 1; sign += 2) {
            int error = sign * want->error;

            if (sock_would_block(error) != want->would_block ||
                sock_accept_transient(error) != want->transient ||
                sock_out_of_resources(error) != want->resources ||
                sock_connect_error_is_local(error) != want->local ||
                sock_error_is_reset(error) != want->reset)
                fail_msg("errno %d: %s", error, strerror(want->error));
        }
    }
}

static void test_adopt(void **state)
{
    struct addr any;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int value = 0;
    socklen_t length = sizeof(value);

    (void)state;
    addr_any(AF_INET, 0, &any);
    assert_int_equal(bind(fd, &any.sa, addr_length(&any)), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(sock_adopt(fd), 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &length), 0);
    assert_int_equal(value, 1);
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, &length), 0);
    assert_int_equal(value, 1);
    close(fd);
    assert_int_equal(sock_adopt(fd), -EBADF);
}

static void test_connect_from(void **state)
{
    const struct sock_listen_options plain = {0};
    struct addr source;
    struct addr other;
    struct addr own;
    struct addr at;
    int listener;
    int fd = -1;

    (void)state;
    assert_int_equal(addr_parse("127.0.0.1", &at), 0);
    listener = sock_listen(&at, &plain);
    assert_true(listener >= 0);
    assert_int_equal(sock_local(listener, &at), 0);
    assert_int_equal(addr_parse("127.0.0.9", &source), 0);
    addr_set_port(&source, 1); /* does not count */
    assert_int_equal(sock_connect_from(&source, &at, &fd), 0);
    assert_int_equal(sock_local(fd, &own), 0);
    assert_true(addr_equal_host(&own, &source));
    assert_int_not_equal(addr_port(&own), 1);
    close(fd);
    fd = -1;
    assert_int_equal(addr_parse("198.51.100.77", &other), 0);
    assert_int_equal(sock_connect_from(&other, &at, &fd), -EADDRNOTAVAIL);
    assert_int_equal(addr_parse("::1", &other), 0);
    assert_int_equal(sock_connect_from(&other, &at, &fd), -EADDRNOTAVAIL);
    assert_int_equal(fd, -1);
    close(listener);
}

/* A connect is over at once, one way or the other. */
static void test_unix(void **state)
{
    const struct unix_listen_options options = {.backlog = 0};
    char name[64];
    char error[UNIX_LISTEN_ERROR_MAX];
    struct unix_file file;
    struct addr at;
    struct addr peer;
    int listener;
    int fds[3];

    (void)state;
    snprintf(name, sizeof(name), "@lb4-test-sock-%d", getpid());
    addr_unix((uint32_t)unix_path_number(name), &at);
    assert_int_equal(sock_connect(&at, &fds[0]), -ECONNREFUSED);
    listener = unix_listen(name, &options, &file, error);
    assert_int_equal(sock_connect(&at, &fds[0]), 0);
    check_born_right(fds[0]);
    assert_int_equal(sock_connect(&at, &fds[2]), -EAGAIN); /* one waits, the backlog is full */
    fds[1] = sock_accept(listener, &peer);
    assert_true(fds[1] >= 0);
    assert_true(addr_is_unix(&peer) && peer.un.is_client);
    assert_false(sock_is_self_connected(fds[0], 0));
    assert_int_equal(sock_local(fds[1], &peer), 0);
    assert_true(addr_is_unix(&peer) && peer.un.number == 0);
    assert_int_equal(send(fds[0], "x", 1, 0), 1);
    assert_true(sock_unacked(fds[0]) > 0);
    assert_true(sock_has_input(fds[1]));
    sock_reset(fds[0]);
    close(fds[1]);
    close(listener);
    addr_unix((uint32_t)unix_path_number("/nonexistent/x"), &at);
    assert_int_equal(sock_connect(&at, &fds[0]), -ENOENT);
    assert_false(sock_is_local(&at));
}

/* Where a Unix socket is full, there is no room; a reader that stops holds no more. */
static void test_unix_send_room(void **state)
{
    static const char bytes[4096];
    size_t room;
    int ends[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    room = sock_send_room(ends[0]);
    assert_true(room > sizeof(bytes));
    while (send(ends[0], bytes, sizeof(bytes), 0) > 0)
        assert_true(sock_send_room(ends[0]) < room);
    assert_true(sock_send_room(ends[0]) < 2 * sizeof(bytes));
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connect_accept),
        cmocka_unit_test(test_accepted_inherits_options),
        cmocka_unit_test(test_accept_on_empty_queue),
        cmocka_unit_test(test_dual_stack_normalises_peer),
        cmocka_unit_test(test_v6only_leaves_ipv4_free),
        cmocka_unit_test(test_probe_finds_shared_listener),
        cmocka_unit_test(test_listen_again_after_connections),
        cmocka_unit_test(test_errors_keep_nothing),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_reset_reaches_peer),
        cmocka_unit_test(test_unacked_and_room),
        cmocka_unit_test(test_input_stays),
        cmocka_unit_test(test_no_socket_has_no_numbers),
        cmocka_unit_test(test_out_of_descriptors),
        cmocka_unit_test(test_error_classes),
        cmocka_unit_test(test_adopt),
        cmocka_unit_test(test_connect_from),
        cmocka_unit_test(test_unix),
        cmocka_unit_test(test_unix_send_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
