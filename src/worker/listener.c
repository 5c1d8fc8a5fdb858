#include "lb4/worker/listener.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lb4/base/scope.h"
#include "lb4/base/sock.h"
#include "lb4/base/sock_udp.h"

enum {
    UDP_BUFFER_BYTES = 2 * 1024 * 1024, /* chosen: with what the kernel adds to each, 12 ms of 1,200
                                           B datagrams at 150,000/s; root gets it, others what
                                           rmem_max allows */
    DISCARD_MAX = 65536 /* more datagrams than such a buffer holds; a flood has no end */
};

static size_t range_length(const struct conf_listen *listen)
{
    return (size_t)listen->last_port - addr_port(&listen->addr) + 1;
}

size_t listener_count(const struct conf *conf)
{
    size_t n = 0;

    for (size_t i = 0; i < conf->n_services; i++) {
        for (size_t j = 0; j < conf->services[i].n_listens; j++) {
            const struct conf_listen *listen = &conf->services[i].listens[j];

            n += range_length(listen) * (listen->transport == CONF_TCP_AND_UDP ? 2 : 1);
        }
    }
    return n;
}

/* `model` is the first listener of the range. */
static void add_range(struct listener_table *table, const struct listener *model, size_t n)
{
    uint16_t first = addr_port(&model->addr);

    for (size_t i = 0; i < n; i++) {
        struct listener *listener = &table->listeners[table->n_listeners++];

        *listener = *model;
        addr_set_port(&listener->addr, (uint16_t)(first + i));
    }
}

static void add_service(struct listener_table *table, const struct conf_service *from,
                        struct service *service, enum conf_transport transport)
{
    bool has_ipv6 = sock_has_ipv6();

    for (size_t i = 0; i < from->n_listens; i++) {
        const struct conf_listen *listen = &from->listens[i];
        struct listener model = {.transport = transport,
                                 .addr = listen->addr,
                                 .service = service,
                                 .is_dual_stack = listen->is_any && has_ipv6};

        if (!(listen->transport & transport))
            continue;
        if (listen->is_any && !has_ipv6)
            addr_any(AF_INET, addr_port(&listen->addr), &model.addr);
        add_range(table, &model, range_length(listen));
    }
}

static void add_all(struct listener_table *table, const struct conf *conf,
                    const struct service_table *services)
{
    for (size_t i = 0; i < conf->n_services; i++)
        add_service(table, &conf->services[i], &services->services[i], CONF_TCP);
    table->n_tcp = table->n_listeners;
    for (size_t i = 0; i < conf->n_services; i++)
        add_service(table, &conf->services[i], &services->services[i], CONF_UDP);
}

static int failed(const struct listener *listener, int error,
                  char reterr[static LISTENER_ERROR_MAX])
{
    char text[ADDR_TEXT_MAX];
    const char *hint = "";
    bool is_udp = listener->transport == CONF_UDP;

    if (error == -EADDRINUSE)
        hint = is_udp ? " (another process listens there; see ss -lunp)"
                      : " (another process listens there; see ss -ltnp)";
    else if (error == -EACCES)
        hint =
            " (ports below net.ipv4.ip_unprivileged_port_start need root or CAP_NET_BIND_SERVICE)";
    else if (error == -E2BIG)
        hint = " (more sockets were passed for it than there are workers)";
    else if (error == -EADDRNOTAVAIL)
        hint = " (no interface of this machine has the address)";
    snprintf(reterr, LISTENER_ERROR_MAX, "cannot listen on %s%s of service %s: %s%s",
             is_udp ? "udp " : "", addr_format(&listener->addr, text), listener->service->name,
             strerror(-error), hint);
    return error;
}

static int bind_one(const struct listener *listener, bool reuse_port)
{
    const struct sock_listen_options tcp = {.reuse_port = reuse_port,
                                            .dual_stack = listener->is_dual_stack};
    const struct sock_udp_options udp = {.reuse_port = reuse_port,
                                         .dual_stack = listener->is_dual_stack,
                                         .buffer_bytes = UDP_BUFFER_BYTES};

    if (listener->transport == CONF_UDP)
        return sock_udp_listen(&listener->addr, &udp);
    return sock_listen(&listener->addr, &tcp);
}

/* --- passed to us --- */

static int adopt_one(struct listener_table *table, size_t at, int fd)
{
    struct listener *listener = &table->listeners[at % table->n_listeners];

    listener->is_inherited = true;
    table->fds[at] = fd;
    return listener->transport == CONF_UDP ? sock_udp_adopt(fd, UDP_BUFFER_BYTES) : sock_adopt(fd);
}

/* Owners of different listeners are different workers, as far as there are enough. */
static int adopt_listener(struct listener_table *table, size_t index,
                          const struct inherited *inherited)
{
    const struct listener *listener = &table->listeners[index];
    const struct inherited_socket like = {.transport = listener->transport,
                                          .addr = listener->addr,
                                          .is_dual_stack = listener->is_dual_stack};
    int fd;

    for (size_t n = 0; (fd = inherited_take(inherited, &like)) >= 0; n++) {
        size_t worker = (index + n) % table->n_workers;
        int error;

        if (n == table->n_workers) {
            close(fd);
            return -E2BIG;
        }
        error = adopt_one(table, worker * table->n_listeners + index, fd);
        if (error)
            return error;
    }
    return 0;
}

static int adopt_all(struct listener_table *table, const struct inherited *inherited,
                     char reterr[static LISTENER_ERROR_MAX])
{
    for (size_t i = 0; inherited && i < table->n_listeners; i++) {
        int error = adopt_listener(table, i, inherited);

        if (error)
            return failed(&table->listeners[i], error, reterr);
    }
    return 0;
}

/* --- bound by us --- */

static int probe_one(const struct listener *listener)
{
    const struct sock_listen_options options = {.dual_stack = listener->is_dual_stack};
    int fd;

    if (listener->transport == CONF_TCP)
        return sock_probe_listen(&listener->addr, &options);
    fd = bind_one(listener, false);
    if (fd < 0)
        return fd;
    close(fd);
    return 0;
}

/* First all without SO_REUSEPORT: what is in use shows before anything of ours is bound. */
static int probe_all(const struct listener_table *table, char reterr[static LISTENER_ERROR_MAX])
{
    for (size_t i = 0; i < table->n_listeners; i++) {
        int error = table->listeners[i].is_inherited ? 0 : probe_one(&table->listeners[i]);

        if (error)
            return failed(&table->listeners[i], error, reterr);
    }
    return 0;
}

/* The first socket of a group. With SO_REUSEPORT it would join the group of another lb4 that starts
 * at the same moment, in silence; without, the kernel lets one of the two in. Only where our own
 * wildcard has the port already, which the probe cannot have been refused for, is it to be shared
 * from the start. */
static int bind_first(const struct listener *listener)
{
    int fd = bind_one(listener, false);
    int error;

    if (fd == -EADDRINUSE && listener->shares_port)
        return bind_one(listener, true);
    if (fd < 0)
        return fd;
    error = sock_share_port(fd);
    if (error) {
        close(fd);
        return error;
    }
    return fd;
}

static int bind_all(struct listener_table *table, char reterr[static LISTENER_ERROR_MAX])
{
    for (size_t i = 0; i < table->n_listeners * table->n_workers; i++) {
        const struct listener *listener = &table->listeners[i % table->n_listeners];
        int fd;

        if (listener->is_inherited)
            continue;
        fd = i < table->n_listeners ? bind_first(listener) : bind_one(listener, true);
        if (fd < 0)
            return failed(listener, fd, reterr);
        table->fds[i] = fd;
    }
    return 0;
}

static void discard(int fd)
{
    for (int i = 0; i < DISCARD_MAX; i++)
        if (recv(fd, NULL, 0, MSG_TRUNC) < 0)
            return;
}

/* Only now that every group is whole, a flow comes to the worker that will keep it. */
static void discard_early(const struct listener_table *table)
{
    for (size_t i = 0; i < table->n_listeners * table->n_workers; i++) {
        const struct listener *listener = &table->listeners[i % table->n_listeners];

        if (listener->transport == CONF_UDP && !listener->is_inherited)
            discard(table->fds[i]);
    }
}

/* A port that stands in the table more than once may be on a wildcard of ours beside an address. */
static void mark_shared_ports(struct listener *listeners, size_t n)
{
    static uint8_t n_uses[UINT16_MAX + 1];

    memset(n_uses, 0, sizeof(n_uses));
    for (size_t i = 0; i < n; i++) {
        uint8_t *uses = &n_uses[addr_port(&listeners[i].addr)];

        *uses = *uses < 2 ? *uses + 1 : 2;
    }
    for (size_t i = 0; i < n; i++)
        listeners[i].shares_port = n_uses[addr_port(&listeners[i].addr)] > 1;
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
                        const struct service_table *services,
                        const struct listener_table_options *options,
                        char reterr[static LISTENER_ERROR_MAX])
{
    int error = table_alloc(table, listener_count(conf), options->n_workers);

    if (error) {
        snprintf(reterr, LISTENER_ERROR_MAX, "no memory for the listeners");
        return error;
    }
    add_all(table, conf, services);
    mark_shared_ports(table->listeners, table->n_tcp);
    mark_shared_ports(table->listeners + table->n_tcp, table->n_listeners - table->n_tcp);
    error = adopt_all(table, options->inherited, reterr);
    if (!error)
        error = probe_all(table, reterr);
    if (!error)
        error = bind_all(table, reterr);
    if (error)
        listener_table_close(table);
    else
        discard_early(table);
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

bool listener_table_spreads_udp(const struct listener_table *table)
{
    for (size_t i = table->n_tcp; i < table->n_listeners; i++)
        if (table->listeners[i].is_inherited)
            return false;
    return true;
}

int listener_table_take(struct listener_table *table, size_t worker, size_t listener)
{
    return take_fd(&table->fds[worker * table->n_listeners + listener]);
}
