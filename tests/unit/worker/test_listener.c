#include "lb4/worker/listener.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "lb4/base/sock_udp.h"

#include "../relay/sockets.h"

enum { N_PORTS = 3, N_WORKERS = 2 };

/* One service with listens[0], another with listens[1]; both without servers. */
static struct conf_listen listens[2];
static struct conf_service conf_services[2];
static struct service services[2];
static const struct service_table table_of_services = {.services = services, .n_services = 2};
static struct listener_table table;
static char text[LISTENER_ERROR_MAX];

static bool is_free(const struct addr *at)
{
    const struct sock_listen_options plain = {0};

    return sock_probe_listen(at, &plain) == 0;
}

/* The first of so many free ports in a row. */
static uint16_t find_ports(size_t n)
{
    struct patience patience = patience_new();

    for (;;) {
        struct addr at = sockets_closed_port();
        uint16_t first = addr_port(&at);
        size_t n_free = 0;

        while (n_free < n && first + n_free <= UINT16_MAX) {
            addr_set_port(&at, (uint16_t)(first + n_free));
            if (!is_free(&at))
                break;
            n_free++;
        }
        if (n_free == n)
            return first;
        patience_holds(&patience);
    }
}

/* The configuration: n services, each listening on 127.0.0.1 at n_ports ports. */
static struct conf make_conf(size_t n, size_t n_ports)
{
    uint16_t first = find_ports(n * n_ports);

    for (size_t i = 0; i < n; i++) {
        uint16_t port = (uint16_t)(first + i * n_ports);

        listens[i] = (struct conf_listen){.transport = CONF_TCP,
                                          .addr = sockets_loopback(port),
                                          .last_port = (uint16_t)(port + n_ports - 1)};
        conf_services[i] = (struct conf_service){.listens = &listens[i], .n_listens = 1};
        services[i].index = (uint32_t)i;
        strcpy(services[i].name, i ? "second" : "first");
    }
    return (struct conf){.services = conf_services, .n_services = n};
}

static int open_table(const struct conf *conf)
{
    const struct listener_table_options options = {.n_workers = N_WORKERS};

    memset(text, 0, sizeof(text));
    return listener_table_open(&table, conf, &table_of_services, &options, text);
}

static int get_int(int fd, int name)
{
    int value = -1;
    socklen_t length = sizeof(value);

    assert_int_equal(getsockopt(fd, SOL_SOCKET, name, &value, &length), 0);
    return value;
}

static void test_count(void **state)
{
    struct conf conf = make_conf(2, N_PORTS);

    (void)state;
    assert_int_equal(listener_count(&conf), 2 * N_PORTS);
    listens[1].last_port = addr_port(&listens[1].addr);
    assert_int_equal(listener_count(&conf), N_PORTS + 1);
    listens[1].transport = CONF_TCP_AND_UDP;
    assert_int_equal(listener_count(&conf), N_PORTS + 2);
    listens[1].transport = CONF_UDP;
    assert_int_equal(listener_count(&conf), N_PORTS + 1);
    conf.n_services = 0;
    assert_int_equal(listener_count(&conf), 0);
}

static void check_listener(size_t i, uint16_t port, const struct service *service)
{
    assert_int_equal(addr_port(&table.listeners[i].addr), port);
    assert_ptr_equal(table.listeners[i].service, service);
    for (size_t worker = 0; worker < N_WORKERS; worker++) {
        int fd = table.fds[i * N_WORKERS + worker];

        assert_int_equal(get_int(fd, SO_ACCEPTCONN), 1);
        assert_int_equal(get_int(fd, SO_REUSEPORT), 1);
    }
}

/* Each port of a range, for each worker. */
static void test_ranges(void **state)
{
    struct conf conf = make_conf(2, N_PORTS);
    uint16_t first = addr_port(&listens[0].addr);
    size_t n_fds = sockets_count_fds();

    (void)state;
    assert_int_equal(open_table(&conf), 0);
    assert_int_equal(table.n_listeners, 2 * N_PORTS);
    assert_int_equal(table.n_workers, N_WORKERS);
    assert_int_equal(sockets_count_fds(), n_fds + (size_t)2 * N_PORTS * N_WORKERS);
    for (size_t i = 0; i < (size_t)2 * N_PORTS; i++) {
        int client;

        check_listener(i, (uint16_t)(first + i), &services[i / N_PORTS]);
        client = sockets_connect(&table.listeners[i].addr);
        sockets_wait(client, POLLOUT);
        assert_int_equal(sock_take_error(client), 0);
        close(client);
    }
    listener_table_close(&table);
    listener_table_close(&table);
    assert_int_equal(sockets_count_fds(), n_fds);
}

static bool is_udp_free(const struct addr *at)
{
    const struct sock_udp_options plain = {0};
    int fd = sock_udp_listen(at, &plain);

    if (fd < 0)
        return false;
    close(fd);
    return true;
}

/* TCP first, then UDP; each worker has a socket of each. */
static void test_transports(void **state)
{
    struct conf conf = make_conf(2, 2);
    size_t n_fds = sockets_count_fds();

    (void)state;
    listens[0].transport = CONF_TCP_AND_UDP;
    listens[1].transport = CONF_UDP;
    assert_int_equal(open_table(&conf), 0);
    assert_int_equal(table.n_listeners, 6);
    assert_int_equal(sockets_count_fds(), n_fds + (size_t)6 * N_WORKERS);
    for (size_t i = 0; i < (size_t)6 * N_WORKERS; i++) {
        const struct listener *listener = &table.listeners[i % 6];
        int fd = table.fds[i % 6 * N_WORKERS + i / 6];

        assert_int_equal(listener->transport, i % 6 < 2 ? CONF_TCP : CONF_UDP);
        assert_ptr_equal(listener->service, &services[i % 6 < 4 ? 0 : 1]);
        assert_int_equal(get_int(fd, SO_TYPE), i % 6 < 2 ? SOCK_STREAM : SOCK_DGRAM);
        assert_int_equal(get_int(fd, SO_REUSEPORT), 1);
        assert_int_equal(is_udp_free(&listener->addr), 0);
    }
    listener_table_close(&table);
    assert_true(is_udp_free(&listens[1].addr));
    assert_int_equal(sockets_count_fds(), n_fds);
}

/* TCP on the port is nothing to UDP; UDP with SO_REUSEPORT is. */
static void test_udp_in_use(void **state)
{
    const struct sock_listen_options shared_tcp = {.reuse_port = true};
    const struct sock_udp_options shared = {.reuse_port = true};
    struct conf conf = make_conf(2, 1);
    int tcp = sock_listen(&listens[1].addr, &shared_tcp);
    int other;

    (void)state;
    listens[1].transport = CONF_UDP;
    assert_int_equal(open_table(&conf), 0);
    listener_table_close(&table);
    other = sock_udp_listen(&listens[1].addr, &shared);
    assert_int_equal(open_table(&conf), -EADDRINUSE);
    assert_non_null(strstr(text, "cannot listen on udp 127.0.0.1:"));
    assert_non_null(strstr(text, "ss -lunp"));
    assert_true(is_free(&listens[0].addr));
    close(tcp);
    close(other);
}

/* A wildcard of ours beside an address of ours, on one port. */
static void test_udp_wildcard_beside_address(void **state)
{
    struct conf conf = make_conf(2, 1);
    uint16_t port = listens[0].last_port;

    (void)state;
    listens[0].transport = listens[1].transport = CONF_UDP;
    addr_any(AF_INET6, port, &listens[0].addr);
    listens[0].is_any = true;
    addr_set_port(&listens[1].addr, port);
    listens[1].last_port = port;
    assert_int_equal(open_table(&conf), 0);
    assert_true(table.listeners[0].shares_port && table.listeners[1].shares_port);
    listener_table_close(&table);
    listens[0].transport = CONF_TCP;
    assert_int_equal(open_table(&conf), 0);
    assert_false(table.listeners[0].shares_port || table.listeners[1].shares_port);
    listener_table_close(&table);
}

/* Datagrams that arrive without a pause while groups grow: what is queued once the table is open
 * came afterwards, and a flow is at one worker only. */
struct flood {
    struct addr to;
    int fd;
    int is_over;
};

static void *send_all_the_time(void *arg)
{
    struct flood *flood = arg;

    while (!__atomic_load_n(&flood->is_over, __ATOMIC_RELAXED))
        if (sendto(flood->fd, "x", 1, 0, &flood->to.sa, addr_length(&flood->to)) < 0)
            continue;
    return NULL;
}

static int count_with_datagrams(void)
{
    int n = 0;

    for (size_t i = 0; i < N_WORKERS; i++) {
        struct pollfd ready = {.fd = table.fds[i], .events = POLLIN};

        n += poll(&ready, 1, 1) == 1;
    }
    return n;
}

/* Half of the flows belong to the socket that was there first, which proves nothing: so, twenty. A
 * datagram may be on its way inside the kernel, past the choice of its socket, while the queues are
 * emptied: seldom, and it costs no more than a session that ends of itself. */
static void test_early_datagrams_are_discarded(void **state)
{
    struct conf conf = make_conf(1, 1);
    int n_split = 0;

    (void)state;
    listens[0].transport = CONF_UDP;
    for (int i = 0; i < 20; i++) {
        struct flood flood = {.to = listens[0].addr, .fd = socket(AF_INET, SOCK_DGRAM, 0)};
        pthread_t thread;

        assert_int_equal(pthread_create(&thread, NULL, send_all_the_time, &flood), 0);
        for (int k = 0; k < 25; k++) {
            assert_int_equal(open_table(&conf), 0);
            n_split += count_with_datagrams() > 1;
            listener_table_close(&table);
        }
        __atomic_store_n(&flood.is_over, 1, __ATOMIC_RELAXED);
        pthread_join(thread, NULL);
        close(flood.fd);
    }
    assert_in_range(n_split, 0, 10); /* of 500; without the discarding about a half */
}

static void test_take(void **state)
{
    struct conf conf = make_conf(1, 2);
    size_t n_fds = sockets_count_fds();
    int fd;

    (void)state;
    assert_int_equal(open_table(&conf), 0);
    fd = table.fds[0 * N_WORKERS + 1];
    assert_int_equal(listener_table_take(&table, 1, 0), fd);
    assert_int_equal(listener_table_take(&table, 1, 0), -1);
    listener_table_close(&table);
    assert_int_equal(get_int(fd, SO_ACCEPTCONN), 1);
    assert_int_equal(sockets_count_fds(), n_fds + 1);
    close(fd);
}

/* Also by a socket whose SO_REUSEPORT would let us in (K26); then nothing stays bound. */
static void test_in_use(void **state)
{
    const struct sock_listen_options shared = {.reuse_port = true};
    struct conf conf = make_conf(2, N_PORTS);
    struct addr at = listens[1].addr;
    char expected[LISTENER_ERROR_MAX];
    char port[ADDR_TEXT_MAX];
    size_t n_fds;
    int other;

    (void)state;
    addr_set_port(&at, (uint16_t)(addr_port(&at) + 1));
    other = sock_listen(&at, &shared);
    assert_true(other >= 0);
    n_fds = sockets_count_fds();
    assert_int_equal(open_table(&conf), -EADDRINUSE);
    snprintf(expected, sizeof(expected),
             "cannot listen on %s of service second: ", addr_format(&at, port));
    assert_memory_equal(text, expected, strlen(expected));
    assert_non_null(strstr(text, "another process"));
    assert_int_equal(sockets_count_fds(), n_fds);
    assert_null(table.fds);
    assert_true(is_free(&listens[0].addr));
    close(other);
    assert_int_equal(open_table(&conf), 0);
    listener_table_close(&table);
}

static void test_foreign_address(void **state)
{
    struct conf conf = make_conf(1, 1);

    (void)state;
    assert_int_equal(addr_parse("192.0.2.1", &listens[0].addr), 0); /* RFC 5737: nobody's */
    addr_set_port(&listens[0].addr, listens[0].last_port);
    assert_int_equal(open_table(&conf), -EADDRNOTAVAIL);
    assert_non_null(strstr(text, "192.0.2.1"));
    assert_non_null(strstr(text, "no interface"));
    listener_table_close(&table);
}

static bool takes(const char *host, uint16_t port)
{
    struct addr at;
    struct pollfd ready = {.events = POLLOUT};
    bool is_taken;

    assert_int_equal(addr_parse(host, &at), 0);
    addr_set_port(&at, port);
    if (sock_connect(&at, &ready.fd))
        return false;
    is_taken = poll(&ready, 1, SOCKETS_WAIT_MS) == 1 && sock_take_error(ready.fd) == 0;
    close(ready.fd);
    return is_taken;
}

/* ":port" takes both families where there are two. */
static void test_any(void **state)
{
    struct conf conf = make_conf(1, 1);
    uint16_t port = listens[0].last_port;

    (void)state;
    addr_any(AF_INET6, port, &listens[0].addr);
    listens[0].is_any = true;
    assert_int_equal(open_table(&conf), 0);
    assert_int_equal(table.listeners[0].is_dual_stack, sock_has_ipv6());
    assert_true(takes("127.0.0.1", port));
    if (sock_has_ipv6())
        assert_true(takes("::1", port));
    listener_table_close(&table);
}

/* "[::]:port" is IPv6 alone. */
static void test_ipv6_wildcard(void **state)
{
    struct conf conf = make_conf(1, 1);
    uint16_t port = listens[0].last_port;

    (void)state;
    if (!sock_has_ipv6())
        skip();
    addr_any(AF_INET6, port, &listens[0].addr);
    assert_int_equal(open_table(&conf), 0);
    assert_false(table.listeners[0].is_dual_stack);
    assert_true(takes("::1", port));
    assert_false(takes("127.0.0.1", port));
    listener_table_close(&table);
}

/* One of two TCP listeners is served by a socket that was passed: it is not bound again, and one
 * worker owns it. */
static void test_passed_socket(void **state)
{
    struct conf conf = make_conf(2, 1);
    const struct sock_listen_options plain = {0};
    struct inherited_socket sockets[2];
    const struct inherited inherited = {sockets, 2};
    const struct listener_table_options options = {.n_workers = N_WORKERS, .inherited = &inherited};
    int fd = sock_listen(&listens[1].addr, &plain);

    (void)state;
    sockets[0] = (struct inherited_socket){fd, CONF_TCP, listens[1].addr, false};
    sockets[1] = (struct inherited_socket){fd, CONF_UDP, listens[0].addr, false};
    assert_int_equal(listener_table_open(&table, &conf, &table_of_services, &options, text), 0);
    assert_int_equal(sockets[0].fd, -1);
    assert_int_equal(sockets[1].fd, fd);
    assert_false(table.listeners[0].is_inherited);
    assert_true(table.listeners[1].is_inherited);
    assert_true(listener_table_take(&table, 0, 1) < 0);
    assert_int_equal(table.fds[1 * N_WORKERS + 1], fd);
    assert_true(table.fds[0] >= 0 && table.fds[1] >= 0);
    listener_table_close(&table);
    assert_true(fcntl(fd, F_GETFD) < 0);
}

/* A datagram that waited in it is not discarded. */
static void test_passed_udp_socket(void **state)
{
    struct conf conf = make_conf(1, 1);
    const struct sock_udp_options plain = {0};
    struct inherited_socket socket = {-1, CONF_UDP, listens[0].addr, false};
    const struct inherited inherited = {&socket, 1};
    const struct listener_table_options options = {.n_workers = N_WORKERS, .inherited = &inherited};
    int client = sock_udp_connect(&listens[0].addr);

    (void)state;
    listens[0].transport = CONF_UDP;
    socket.fd = sock_udp_listen(&listens[0].addr, &plain);
    assert_int_equal(send(client, "x", 1, 0), 1);
    assert_int_equal(listener_table_open(&table, &conf, &table_of_services, &options, text), 0);
    assert_int_equal(table.fds[1], -1);
    sockets_wait(table.fds[0], POLLIN);
    listener_table_close(&table);
    close(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_count),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_transports),
        cmocka_unit_test(test_udp_in_use),
        cmocka_unit_test(test_udp_wildcard_beside_address),
        cmocka_unit_test(test_early_datagrams_are_discarded),
        cmocka_unit_test(test_take),
        cmocka_unit_test(test_in_use),
        cmocka_unit_test(test_foreign_address),
        cmocka_unit_test(test_any),
        cmocka_unit_test(test_ipv6_wildcard),
        cmocka_unit_test(test_passed_socket),
        cmocka_unit_test(test_passed_udp_socket),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
