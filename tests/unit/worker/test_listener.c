#include "lb4/worker/listener.h"

#include <stdio.h>
#include <string.h>

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

        listens[i] = (struct conf_listen){.addr = sockets_loopback(port),
                                          .last_port = (uint16_t)(port + n_ports - 1)};
        conf_services[i] = (struct conf_service){.listens = &listens[i], .n_listens = 1};
        services[i].index = (uint32_t)i;
        strcpy(services[i].name, i ? "second" : "first");
    }
    return (struct conf){.services = conf_services, .n_services = n};
}

static int open_table(const struct conf *conf)
{
    memset(text, 0, sizeof(text));
    return listener_table_open(&table, conf, &table_of_services, N_WORKERS, text);
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
    conf.n_services = 0;
    assert_int_equal(listener_count(&conf), 0);
}

static void check_listener(size_t i, uint16_t port, const struct service *service)
{
    assert_int_equal(addr_port(&table.listeners[i].addr), port);
    assert_ptr_equal(table.listeners[i].service, service);
    for (size_t worker = 0; worker < N_WORKERS; worker++) {
        int fd = table.fds[worker * table.n_listeners + i];

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

static void test_take(void **state)
{
    struct conf conf = make_conf(1, 2);
    size_t n_fds = sockets_count_fds();
    int fd;

    (void)state;
    assert_int_equal(open_table(&conf), 0);
    fd = table.fds[1 * 2 + 0];
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_count),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_take),
        cmocka_unit_test(test_in_use),
        cmocka_unit_test(test_foreign_address),
        cmocka_unit_test(test_any),
        cmocka_unit_test(test_ipv6_wildcard),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
