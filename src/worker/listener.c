#include "lb4/worker/listener.h"

#include <assert.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lb4/base/prefix_map.h"
#include "lb4/base/scope.h"
#include "lb4/base/sock.h"
#include "lb4/base/sock_options.h"
#include "lb4/base/sock_udp.h"
#include "lb4/shared/reserve.h"
#include "lb4/worker/listener_parts.h"
#include "lb4/worker/listener_unix.h"

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
static void add_range(struct listener *list, size_t *n, const struct listener *model,
                      size_t n_ports)
{
    uint16_t first = addr_port(&model->addr);

    for (size_t i = 0; i < n_ports; i++) {
        struct listener *listener = &list[(*n)++];

        *listener = *model;
        addr_set_port(&listener->addr, (uint16_t)(first + i));
    }
}

static void add_service(struct listener *list, size_t *n, const struct conf_service *from,
                        const struct listener *model)
{
    bool has_ipv6 = sock_has_ipv6();

    for (size_t i = 0; i < from->n_listens; i++) {
        const struct conf_listen *listen = &from->listens[i];
        struct listener first = *model;

        if (!(listen->transport & model->transport))
            continue;
        first.addr = listen->addr;
        first.accept_proxy = listen->accept_proxy;
        first.words = listen->words;
        first.is_dual_stack = listen->is_any && has_ipv6;
        if (listen->is_any && !has_ipv6)
            addr_any(AF_INET, addr_port(&listen->addr), &first.addr);
        add_range(list, n, &first, range_length(listen));
    }
}

/* A port that stands in the list more than once may be on a wildcard of ours beside an address. */
static void mark_shared_ports(struct listener *list, size_t n, enum conf_transport transport)
{
    static uint8_t n_uses[UINT16_MAX + 1];

    memset(n_uses, 0, sizeof(n_uses));
    for (size_t i = 0; i < n; i++) {
        uint8_t *uses = &n_uses[addr_port(&list[i].addr)];

        if (list[i].transport == transport)
            *uses = *uses < 2 ? *uses + 1 : 2;
    }
    for (size_t i = 0; i < n; i++)
        if (list[i].transport == transport)
            list[i].shares_port = n_uses[addr_port(&list[i].addr)] > 1;
}

struct listener *listener_list(const struct conf *conf, struct service *const *services,
                               size_t *ret_n)
{
    static const enum conf_transport transports[] = {CONF_TCP, CONF_UDP};
    struct listener *list = calloc(listener_count(conf) + 1, sizeof(*list));

    *ret_n = 0;
    for (size_t k = 0; list && k < 2; k++)
        for (size_t i = 0; i < conf->n_services; i++)
            add_service(list, ret_n, &conf->services[i],
                        &(struct listener){.transport = transports[k], .service = services[i]});
    for (size_t k = 0; list && k < 2; k++)
        mark_shared_ports(list, *ret_n, transports[k]);
    return list;
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
    else if (error == -ENODEV)
        hint = " (there is no interface of this name; see ip link)";
    else if (error == -EPERM)
        hint = listener->words.mark ? " (mark needs CAP_NET_ADMIN or CAP_NET_RAW: start as root)"
                                    : " (interface needs Linux 5.7, or CAP_NET_RAW)";
    snprintf(reterr, LISTENER_ERROR_MAX, "cannot listen on %s%s of service %s: %s%s",
             is_udp ? "udp " : "", addr_format(&listener->addr, text), listener->service->name,
             strerror(-error), hint);
    return error;
}

static int bind_one(const struct listener *listener, bool reuse_port)
{
    const struct sock_listen_options tcp = {.reuse_port = reuse_port,
                                            .dual_stack = listener->is_dual_stack,
                                            .interface = listener->words.interface,
                                            .mark = listener->words.mark,
                                            .fastopen = listener->words.fastopen,
                                            .defer_s = listener->words.defer_s};
    const struct sock_udp_options udp = {.reuse_port = reuse_port,
                                         .dual_stack = listener->is_dual_stack,
                                         .buffer_bytes = UDP_BUFFER_BYTES,
                                         .interface = listener->words.interface,
                                         .mark = listener->words.mark};

    if (listener->transport == CONF_UDP)
        return sock_udp_listen(&listener->addr, &udp);
    return sock_listen(&listener->addr, &tcp);
}

/* --- passed to us --- */

static int adopt_one(struct listener_table *table, size_t index, size_t worker, int fd)
{
    struct listener *listener = &table->listeners[index];

    listener->is_inherited = true;
    table->fds[index * table->n_workers + worker] = fd;
    if (listener->transport == CONF_UDP)
        return sock_udp_adopt(fd, UDP_BUFFER_BYTES);
    if (addr_is_unix(&listener->addr))
        return sock_set_flags(fd);
    sock_tune_listener(fd, listener->words.fastopen, listener->words.defer_s);
    return sock_adopt(fd);
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
        error = adopt_one(table, index, worker, fd);
        if (error)
            return error;
    }
    return 0;
}

/* --- bound by us --- */

static int probe_one(const struct listener *listener)
{
    const struct sock_listen_options options = {.dual_stack = listener->is_dual_stack,
                                                .interface = listener->words.interface,
                                                .mark = listener->words.mark};
    int fd;

    if (listener->transport == CONF_TCP)
        return sock_probe_listen(&listener->addr, &options);
    fd = bind_one(listener, false);
    if (fd < 0)
        return fd;
    close(fd);
    return 0;
}

static int probe_or_tell(const struct listener *listener, char reterr[static LISTENER_ERROR_MAX])
{
    int error;

    if (addr_is_unix(&listener->addr))
        return listener_unix_probe(listener, reterr);
    error = probe_one(listener);
    return error ? failed(listener, error, reterr) : 0;
}

/* First all without SO_REUSEPORT: what is in use shows before anything of ours is bound. Not where
 * a listener of ours, that stays, has the port already. */
int listener_probe_all(const struct listener *list, size_t n,
                       char reterr[static LISTENER_ERROR_MAX])
{
    int error = 0;

    for (size_t i = 0; !error && i < n; i++)
        if (!list[i].meets_ours && !list[i].is_inherited)
            error = probe_or_tell(&list[i], reterr);
    return error;
}

/* The first socket of a group. With SO_REUSEPORT it would join the group of another lb4 that starts
 * at the same moment, in silence; without, the kernel lets one of the two in. Only where our own
 * wildcard has the port already, which the probe cannot have been refused for, is it to be shared
 * from the start. */
static int bind_first(const struct listener *listener)
{
    int fd = bind_one(listener, false);
    int error;

    if (fd == -EADDRINUSE && (listener->shares_port || listener->meets_ours))
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

static int bind_unix(struct listener_table *table, size_t index,
                     char reterr[static LISTENER_ERROR_MAX])
{
    int fd = listener_unix_bind(&table->listeners[index], &table->owner, reterr);

    if (fd < 0)
        return fd;
    table->fds[index * table->n_workers + index % table->n_workers] = fd;
    return 0;
}

static int bind_group(struct listener_table *table, size_t index,
                      char reterr[static LISTENER_ERROR_MAX])
{
    const struct listener *listener = &table->listeners[index];

    if (addr_is_unix(&listener->addr))
        return bind_unix(table, index, reterr);
    for (size_t i = 0; i < table->n_workers; i++) {
        int fd = i == 0 ? bind_first(listener) : bind_one(listener, true);

        if (fd < 0)
            return failed(listener, fd, reterr);
        table->fds[index * table->n_workers + i] = fd;
    }
    return 0;
}

static void discard(int fd)
{
    for (int i = 0; i < DISCARD_MAX; i++)
        if (recv(fd, NULL, 0, MSG_TRUNC) < 0)
            return;
}

/* Only now that the group is whole, a flow comes to the worker that will keep it. */
void listener_table_discard(const struct listener_table *table, size_t listener)
{
    if (table->listeners[listener].transport != CONF_UDP || table->listeners[listener].is_inherited)
        return;
    for (size_t i = 0; i < table->n_workers; i++)
        if (table->fds[listener * table->n_workers + i] >= 0)
            discard(table->fds[listener * table->n_workers + i]);
}

/* 0: it has none, or that is not there. */
static unsigned index_of(const struct listener *listener)
{
    return listener->words.interface[0] != '\0' ? if_nametoindex(listener->words.interface) : 0;
}

bool listener_is_cut_off(const struct listener *listener)
{
    unsigned now = index_of(listener);

    return now != listener->ifindex && (now != 0 || listener->state == LISTENER_LEAVING);
}

/* Put it there, without sockets. Returns the place or -ENOSPC. */
static long take_place(struct listener_table *table, const struct listener *wanted)
{
    size_t index = table->first_free;

    while (index < table->n_listeners && table->listeners[index].state != LISTENER_NONE)
        index++;
    if (index == LISTENER_TABLE_MAX)
        return -ENOSPC;
    table->first_free = index;
    if (index == table->n_listeners)
        table->n_listeners++;
    table->listeners[index] = *wanted;
    table->listeners[index].state = LISTENER_OPEN;
    table->listeners[index].ifindex = index_of(wanted);
    prefix_map_hold(wanted->accept_proxy);
    for (size_t i = 0; i < table->n_workers; i++)
        table->fds[index * table->n_workers + i] = -1;
    return (long)index;
}

long listener_table_bind(struct listener_table *table, const struct listener *wanted,
                         char reterr[static LISTENER_ERROR_MAX])
{
    long index = take_place(table, wanted);
    int error;

    if (index < 0)
        return failed(wanted, (int)index, reterr);
    error = bind_group(table, (size_t)index, reterr);
    if (!error)
        return index;
    listener_table_free(table, (size_t)index);
    return error;
}

void listener_table_free(struct listener_table *table, size_t listener)
{
    for (size_t i = 0; i < table->n_workers; i++) {
        int fd = listener_table_take(table, i, listener);

        if (fd >= 0)
            close(fd);
    }
    if (addr_is_unix(&table->listeners[listener].addr))
        listener_unix_remove(&table->listeners[listener]);
    prefix_map_release(table->listeners[listener].accept_proxy);
    table->listeners[listener].accept_proxy = NULL;
    table->listeners[listener].state = LISTENER_NONE;
    if (listener < table->first_free)
        table->first_free = listener;
}

static int table_alloc(struct listener_table *table, size_t n_workers)
{
    *table = (struct listener_table){.n_workers = n_workers};
    table->listeners = reserve_memory(LISTENER_TABLE_MAX, sizeof(*table->listeners));
    table->fds = reserve_memory(LISTENER_TABLE_MAX * n_workers, sizeof(*table->fds));
    return table->listeners && table->fds ? 0 : -ENOMEM;
}

/* Places for all, in their order, with the sockets that were passed to us. */
static int adopt_list(struct listener_table *table, const struct listener *list, size_t n,
                      const struct inherited *inherited, char reterr[static LISTENER_ERROR_MAX])
{
    for (size_t i = 0; i < n; i++) {
        long index = take_place(table, &list[i]);
        int error = index < 0 ? (int)index : 0;

        if (!error && inherited)
            error = adopt_listener(table, (size_t)index, inherited);
        if (error)
            return failed(&list[i], error, reterr);
    }
    return 0;
}

static int bind_places(struct listener_table *table, char reterr[static LISTENER_ERROR_MAX])
{
    int error = listener_probe_all(table->listeners, table->n_listeners, reterr);

    for (size_t i = 0; !error && i < table->n_listeners; i++)
        if (!table->listeners[i].is_inherited)
            error = bind_group(table, i, reterr);
    for (size_t i = 0; !error && i < table->n_listeners; i++)
        listener_table_discard(table, i);
    return error;
}

static int open_all(struct listener_table *table, const struct conf *conf,
                    const struct service_table *services, const struct inherited *inherited,
                    char reterr[static LISTENER_ERROR_MAX])
{
    scope_free struct service **by_conf = calloc(conf->n_services + 1, sizeof(struct service *));
    scope_free struct listener *list = NULL;
    int error;
    size_t n;

    snprintf(reterr, LISTENER_ERROR_MAX, "no memory for the listeners");
    if (!by_conf)
        return -ENOMEM;
    for (size_t i = 0; i < conf->n_services; i++)
        by_conf[i] = &services->services[i];
    list = listener_list(conf, by_conf, &n);
    if (!list)
        return -ENOMEM;
    error = adopt_list(table, list, n, inherited, reterr);
    return error ? error : bind_places(table, reterr);
}

int listener_table_open(struct listener_table *table, const struct conf *conf,
                        const struct service_table *services,
                        const struct listener_table_options *options,
                        char reterr[static LISTENER_ERROR_MAX])
{
    int error;

    assert(options->n_workers > 0);
    error = table_alloc(table, options->n_workers);
    table->owner = options->owner ? *options->owner : (struct listener_owner){-1u, -1u};
    if (error)
        snprintf(reterr, LISTENER_ERROR_MAX, "no memory for the listeners");
    else
        error = open_all(table, conf, services, options->inherited, reterr);
    if (error)
        listener_table_close(table);
    return error;
}

void listener_table_close(struct listener_table *table)
{
    for (size_t i = 0; i < table->n_listeners; i++)
        if (table->listeners[i].state != LISTENER_NONE)
            listener_table_free(table, i);
    reserve_release(table->listeners, LISTENER_TABLE_MAX, sizeof(*table->listeners));
    reserve_release(table->fds, LISTENER_TABLE_MAX * table->n_workers, sizeof(*table->fds));
    *table = (struct listener_table){0};
}

bool listener_table_spreads_udp(const struct listener_table *table)
{
    for (size_t i = 0; i < table->n_listeners; i++)
        if (table->listeners[i].transport == CONF_UDP && table->listeners[i].is_inherited)
            return false;
    return true;
}

int listener_table_take(struct listener_table *table, size_t worker, size_t listener)
{
    return take_fd(&table->fds[listener * table->n_workers + worker]);
}
