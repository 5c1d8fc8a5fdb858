#include "lb4/worker/listener.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lb4/base/scope.h"
#include "lb4/base/sock.h"

static size_t range_length(const struct conf_listen *listen)
{
    return (size_t)listen->last_port - addr_port(&listen->addr) + 1;
}

size_t listener_count(const struct conf *conf)
{
    size_t n = 0;

    for (size_t i = 0; i < conf->n_services; i++) {
        for (size_t j = 0; j < conf->services[i].n_listens; j++)
            n += range_length(&conf->services[i].listens[j]);
    }
    return n;
}

static void add_range(struct listener_table *table, const struct conf_listen *from,
                      struct service *service, bool has_ipv6)
{
    uint16_t first = addr_port(&from->addr);

    for (size_t i = 0; i < range_length(from); i++) {
        struct listener *listener = &table->listeners[table->n_listeners++];

        listener->addr = from->addr;
        listener->service = service;
        listener->is_dual_stack = from->is_any && has_ipv6;
        if (from->is_any && !has_ipv6)
            addr_any(AF_INET, 0, &listener->addr);
        addr_set_port(&listener->addr, (uint16_t)(first + i));
    }
}

static void add_all(struct listener_table *table, const struct conf *conf,
                    const struct service_table *services)
{
    bool has_ipv6 = sock_has_ipv6();

    for (size_t i = 0; i < conf->n_services; i++) {
        const struct conf_service *from = &conf->services[i];

        for (size_t j = 0; j < from->n_listens; j++)
            add_range(table, &from->listens[j], &services->services[i], has_ipv6);
    }
}

static int failed(const struct listener *listener, int error,
                  char reterr[static LISTENER_ERROR_MAX])
{
    char text[ADDR_TEXT_MAX];
    const char *hint = "";

    if (error == -EADDRINUSE)
        hint = " (another process listens there; see ss -ltnp)";
    else if (error == -EACCES)
        hint =
            " (ports below net.ipv4.ip_unprivileged_port_start need root or CAP_NET_BIND_SERVICE)";
    else if (error == -EADDRNOTAVAIL)
        hint = " (no interface of this machine has the address)";
    snprintf(reterr, LISTENER_ERROR_MAX, "cannot listen on %s of service %s: %s%s",
             addr_format(&listener->addr, text), listener->service->name, strerror(-error), hint);
    return error;
}

/* First all without SO_REUSEPORT: what is in use shows before anything of ours is bound. */
static int probe_all(const struct listener_table *table, char reterr[static LISTENER_ERROR_MAX])
{
    for (size_t i = 0; i < table->n_listeners; i++) {
        const struct listener *listener = &table->listeners[i];
        struct sock_listen_options options = {.dual_stack = listener->is_dual_stack};
        int error = sock_probe_listen(&listener->addr, &options);

        if (error)
            return failed(listener, error, reterr);
    }
    return 0;
}

/* The first socket of a group. With SO_REUSEPORT it would join the group of another lb4 that starts
 * at the same moment, in silence; without, the kernel lets one of the two in. Only where our own
 * wildcard has the port already, which the probe cannot have been refused for, is it to be shared
 * from the start. */
static int bind_first(const struct listener *listener)
{
    struct sock_listen_options options = {.dual_stack = listener->is_dual_stack};
    int fd = sock_listen(&listener->addr, &options);
    int error;

    if (fd == -EADDRINUSE && listener->shares_port) {
        options.reuse_port = true;
        return sock_listen(&listener->addr, &options);
    }
    if (fd < 0)
        return fd;
    error = sock_share_port(fd);
    if (error) {
        close(fd);
        return error;
    }
    return fd;
}

static int bind_further(const struct listener *listener)
{
    struct sock_listen_options options = {.reuse_port = true,
                                          .dual_stack = listener->is_dual_stack};

    return sock_listen(&listener->addr, &options);
}

static int bind_all(struct listener_table *table, char reterr[static LISTENER_ERROR_MAX])
{
    for (size_t i = 0; i < table->n_listeners * table->n_workers; i++) {
        const struct listener *listener = &table->listeners[i % table->n_listeners];
        int fd = i < table->n_listeners ? bind_first(listener) : bind_further(listener);

        if (fd < 0)
            return failed(listener, fd, reterr);
        table->fds[i] = fd;
    }
    return 0;
}

/* A port that stands in the table more than once may be on a wildcard of ours beside an address. */
static void mark_shared_ports(struct listener_table *table)
{
    static uint8_t n_uses[UINT16_MAX + 1];

    memset(n_uses, 0, sizeof(n_uses));
    for (size_t i = 0; i < table->n_listeners; i++) {
        uint8_t *uses = &n_uses[addr_port(&table->listeners[i].addr)];

        *uses = *uses < 2 ? *uses + 1 : 2;
    }
    for (size_t i = 0; i < table->n_listeners; i++) {
        struct listener *listener = &table->listeners[i];

        listener->shares_port = n_uses[addr_port(&listener->addr)] > 1;
    }
}

static int table_alloc(struct listener_table *table, size_t n_listeners, size_t n_workers)
{
    assert(n_listeners > 0 && n_workers > 0); /* conf/check.c: no service without a listener */
    *table = (struct listener_table){.n_workers = n_workers};
    table->listeners = calloc(n_listeners, sizeof(*table->listeners));
    table->fds = calloc(n_listeners * n_workers, sizeof(*table->fds));
    if (!table->listeners || !table->fds) {
        listener_table_close(table);
        return -ENOMEM;
    }
    for (size_t i = 0; i < n_listeners * n_workers; i++)
        table->fds[i] = -1;
    return 0;
}

int listener_table_open(struct listener_table *table, const struct conf *conf,
                        const struct service_table *services, size_t n_workers,
                        char reterr[static LISTENER_ERROR_MAX])
{
    int error = table_alloc(table, listener_count(conf), n_workers);

    if (error) {
        snprintf(reterr, LISTENER_ERROR_MAX, "no memory for the listeners");
        return error;
    }
    add_all(table, conf, services);
    mark_shared_ports(table);
    error = probe_all(table, reterr);
    if (!error)
        error = bind_all(table, reterr);
    if (error)
        listener_table_close(table);
    return error;
}

void listener_table_close(struct listener_table *table)
{
    for (size_t i = 0; table->fds && i < table->n_listeners * table->n_workers; i++) {
        if (table->fds[i] >= 0)
            close(table->fds[i]);
    }
    free(table->listeners);
    free(table->fds);
    *table = (struct listener_table){0};
}

int listener_table_take(struct listener_table *table, size_t worker, size_t listener)
{
    return take_fd(&table->fds[worker * table->n_listeners + listener]);
}
