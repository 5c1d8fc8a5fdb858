#include "lb4/control/doctor_facts.h"

#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"
#include "lb4/base/sock.h"
#include "lb4/conf/check.h"
#include "lb4/conf/origins.h"
#include "lb4/conf/unix_ends.h"
#include "lb4/control/privileges.h"
#include "lb4/control/reload.h"

#define NET "/proc/sys/net/"

/* Defaults of a kernel of today where it does not say. */
void doctor_kernel_read(struct doctor_kernel *ret)
{
    uint64_t tcp_mem[3] = {0};

    limits_read_kernel(&ret->limits);
    proc_ports_read(&ret->ports);
    proc_numbers(NET "ipv4/tcp_mem", tcp_mem, 3);
    ret->open_most = proc_number("/proc/sys/fs/nr_open", 1048576);
    ret->somaxconn = proc_number(NET "core/somaxconn", 4096);
    ret->rmem_max = proc_number(NET "core/rmem_max", 212992);
    ret->wmem_max = proc_number(NET "core/wmem_max", 212992);
    ret->tw_reuse = proc_number(NET "ipv4/tcp_tw_reuse", 2);
    ret->tw_reuse_ms = proc_number(NET "ipv4/tcp_tw_reuse_delay", 1000);
    ret->has_timestamps = proc_number(NET "ipv4/tcp_timestamps", 1) > 0;
    ret->migrates = proc_number(NET "ipv4/tcp_migrate_req", 0) > 0;
    ret->has_syncookies = proc_number(NET "ipv4/tcp_syncookies", 1) > 0;
    ret->syn_backlog = proc_number(NET "ipv4/tcp_max_syn_backlog", 128);
    ret->tcp_mem_pages = tcp_mem[2];
    ret->conntrack_most = proc_number(NET "netfilter/nf_conntrack_max", 0);
    ret->conntrack_count = proc_number(NET "netfilter/nf_conntrack_count", 0);
    ret->first_free_port = proc_number(NET "ipv4/ip_unprivileged_port_start", 1024);
}

/* --- addresses of servers ----------------------------------------------------------------------
 */

static int compare(const void *a, const void *b)
{
    return addr_compare(a, b);
}

/* Those of `addrs` that differ; they are sorted. */
static size_t count_distinct(struct addr *addrs, size_t n)
{
    size_t n_distinct = n > 0;

    qsort(addrs, n, sizeof(*addrs), compare);
    for (size_t i = 1; i < n; i++)
        n_distinct += !addr_equal(&addrs[i - 1], &addrs[i]);
    return n_distinct;
}

/* A server without a port has one for each that clients can ask for. */
static size_t count_ports(const struct conf_service *service)
{
    size_t n = 0;

    for (size_t i = 0; i < service->n_listens; i++)
        if (service->listens[i].transport & CONF_TCP)
            n += service->listens[i].last_port - addr_port(&service->listens[i].addr) + 1u;
    return n > 0 ? n : 1;
}

struct census {
    struct addr *addrs;
    size_t n;
    size_t n_more; /* of servers without a port, beyond the first */
    size_t n_more_ways;
    bool is_near;
};

static void count_service(const struct conf_service *service, struct census *census)
{
    for (size_t i = 0; i < service->n_servers; i++) {
        const struct addr *addr = &service->servers[i].addr;
        struct origin origin;
        size_t n_sources;

        if (addr_is_unix(addr))
            continue;
        conf_origin(service->source, service->servers[i].origin, &origin);
        n_sources = origin_count(&origin, addr->sa.sa_family);
        census->n_more_ways += n_sources > 1 ? n_sources - 1 : 0;
        census->addrs[census->n++] = *addr;
        census->is_near = census->is_near && addr_is_loopback(addr);
        if (addr_lacks_port(addr))
            census->n_more += count_ports(service) - 1;
    }
}

static bool census_init(struct census *census, const struct conf *conf)
{
    size_t n = 1;

    for (size_t i = 0; i < conf->n_services; i++)
        n += conf->services[i].n_servers;
    *census = (struct census){.addrs = calloc(n, sizeof(*census->addrs)), .is_near = true};
    return census->addrs;
}

static bool count_addresses(const struct conf *conf, struct doctor_facts *ret)
{
    struct census all;
    struct census own;
    bool has_memory = census_init(&all, conf);

    has_memory = census_init(&own, conf) && has_memory;
    for (size_t i = 0; has_memory && i < conf->n_services; i++) {
        own.n = own.n_more = own.n_more_ways = 0;
        own.is_near = true;
        count_service(&conf->services[i], &own);
        ret->services[i].n_addresses = count_distinct(own.addrs, own.n) + own.n_more;
        ret->services[i].n_more_ways = own.n_more_ways;
        ret->services[i].is_near = own.is_near;
        if (conf_transports(&conf->services[i]) & CONF_TCP)
            count_service(&conf->services[i], &all);
    }
    if (has_memory)
        ret->n_addresses = count_distinct(all.addrs, all.n) + all.n_more;
    ret->n_more_ways = all.n_more_ways;
    ret->is_near = all.is_near;
    free(own.addrs);
    free(all.addrs);
    return has_memory;
}

/* --- services ------------------------------------------------------------------------------------
 */

static size_t count_lost(const struct service *service)
{
    size_t n = 0;

    for (size_t i = 0; i < service->n_places; i++) {
        uint32_t standing = backend_standing(&service->backends[i]);

        n += service->backends[i].state == BACKEND_SERVING && standing & PICK_UNUSABLE &&
             !(standing & (PICK_DRAIN | PICK_MAINT));
    }
    return n;
}

static bool is_here(const char *interface)
{
    return interface[0] == '\0' || if_nametoindex(interface) != 0;
}

static void find_lost_interface(const struct snapshot_from *from, struct doctor_facts *ret)
{
    const struct listener_table *table = from->group->listeners;

    for (size_t i = 0; i < from->conf->n_origins && !ret->lost_interface; i++)
        if (!is_here(from->conf->origins[i]->interface))
            ret->lost_interface = from->conf->origins[i]->interface;
    for (size_t i = 0; table && i < table->n_listeners && !ret->lost_interface; i++) {
        const struct listener *listener = &table->listeners[i];

        if (listener->state == LISTENER_OPEN &&
            (listener_is_cut_off(listener) || !is_here(listener->words.interface)))
            ret->lost_interface = listener->words.interface;
    }
}

static void find_missing(const struct conf *conf, struct doctor_facts *ret)
{
    for (size_t i = 0; i < conf->n_origins; i++)
        for (uint32_t k = 0; k < conf->origins[i]->n_sources; k++)
            if (!ret->missing_source && !sock_is_local(&conf->origins[i]->sources[k]))
                ret->missing_source = &conf->origins[i]->sources[k];
}

static void add_drops(const struct stats_service_sum *sum, struct doctor_facts *ret)
{
    ret->n_dropped_kernel += sum->udp.dropped[UDP_DROP_KERNEL];
    ret->n_dropped_full += sum->udp.dropped[UDP_DROP_FULL];
    ret->n_dropped_limit += sum->udp.dropped[UDP_DROP_LIMIT];
    for (size_t i = 0; i < LOCAL_CAUSES; i++)
        ret->n_local[i] += sum->local.errors[i];
}

static void take_clients(const struct stats_service_sum *sum, struct doctor_service *taken)
{
    taken->n_clients = sum->connections;
    taken->n_headless = sum->refused.clients[REFUSAL_PEER] + sum->refused.clients[REFUSAL_HEADER] +
                        sum->refused.clients[REFUSAL_HEADER_LATE];
}

/* Whether it is one is all that is wanted to know. */
static size_t count_sources(const struct sources *sources)
{
    uint64_t now_ns = clock_now_ns();
    struct source_view view;
    size_t at = 0;
    size_t n = 0;

    while (n < 2 && sources_next(sources, now_ns, &at, &view))
        n++;
    return n;
}

static void take_guard(const struct conf_guard *guard, const struct service *service,
                       const struct stats_refusal_sum *refused, struct doctor_service *taken)
{
    taken->per_source = guard->per_source;
    taken->maxconn = guard->maxconn;
    taken->n_limited = refused->clients[REFUSAL_PER_SOURCE] +
                       refused->clients[REFUSAL_RATE_SOURCE] + refused->clients[REFUSAL_BANNED];
    if (!service->guard.sources)
        return;
    taken->n_shared = service->guard.sources->n_shared;
    taken->n_sources = count_sources(service->guard.sources);
}

static void take_ports(const struct conf_service *service, struct doctor_facts *ret)
{
    for (size_t i = 0; i < service->n_listens; i++)
        if (!addr_is_unix(&service->listens[i].addr) &&
            addr_port(&service->listens[i].addr) < ret->lowest_port)
            ret->lowest_port = addr_port(&service->listens[i].addr);
}

static bool takes_headers(const struct conf_service *service)
{
    for (size_t i = 0; i < service->n_listens; i++)
        if (service->listens[i].accept_proxy && service->listens[i].transport & CONF_TCP)
            return true;
    return false;
}

static void take_service(const struct snapshot_from *from, const struct conf_service *conf,
                         struct doctor_facts *ret)
{
    const struct service *service = snapshot_find_service(from, conf->name);
    struct doctor_service *taken = &ret->services[ret->n_services++];
    struct stats_service_sum sum;

    *taken = (struct doctor_service){.name = conf->name,
                                     .transports = conf_transports(conf),
                                     .is_checked = conf_is_checked(conf),
                                     .all_down = conf->all_down,
                                     .takes_headers = takes_headers(conf),
                                     .n_servers = conf->n_servers,
                                     .lets_nobody_in = !conf_has_unix_listener(conf) &&
                                                       conf->rules.map &&
                                                       prefix_map_allows_nobody(conf->rules.map)};
    ret->has_udp = ret->has_udp || taken->transports & CONF_UDP;
    ret->n_probed += conf_is_checked_by_socket(conf) ? conf->n_servers : 0;
    take_ports(conf, ret);
    if (!service)
        return;
    taken->n_usable = snapshot_n_usable(service);
    taken->n_lost = count_lost(service);
    stats_sum_service(from->group->stats, from->group->n_workers, service->index, &sum);
    add_drops(&sum, ret);
    take_clients(&sum, taken);
    take_guard(&conf->guard, service, &sum.refused, taken);
}

/* When the last reload that went well has ended, on the wall's clock; it has read all lists, and
 * kept those that it found unchanged. 0: there was none. */
static int64_t last_read_ms(const struct snapshot_from *from)
{
    const struct reload_result *result = from->reload ? &from->reload->result : NULL;
    struct timespec now;

    if (!result || result->number == 0 || result->has_failed || result->was_dry)
        return 0;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 -
           (int64_t)((clock_now_ns() - result->ended_ns) / CLOCK_NS_PER_MS);
}

static void take_lists(const struct snapshot_from *from, struct doctor_facts *ret)
{
    int64_t read_ms = last_read_ms(from);

    for (const struct conf_prefix_list *list = from->conf->lists; list; list = list->next) {
        struct stat status;
        int64_t written_ms;

        if (stat(list->file, &status) < 0 || access(list->file, R_OK) < 0) {
            ret->lost_list = list->file;
            continue;
        }
        written_ms = (int64_t)status.st_mtim.tv_sec * 1000 + status.st_mtim.tv_nsec / 1000000;
        if ((status.st_mtim.tv_sec != list->read_s || status.st_mtim.tv_nsec != list->read_ns) &&
            written_ms > read_ms)
            ret->stale_list = list->file;
    }
}

int doctor_facts_take(const struct snapshot_from *from, struct doctor_facts *ret)
{
    const struct conf *conf = from->conf;

    *ret = (struct doctor_facts){
        .budget = *from->budget,
        .n_workers = from->group->n_workers,
        .wants_splice = conf->splice,
        .is_root = geteuid() == 0,
        .can_bind = privileges_can_bind(),
        .lowest_port = UINT16_MAX,
        .n_log_dropped = log_dropped_total(),
        .has_reload_failed = from->reload && from->reload->result.has_failed,
        .services = calloc(conf->n_services + 1, sizeof(*ret->services)),
    };
    if (!ret->services)
        return -ENOMEM;
    doctor_kernel_read(&ret->kernel);
    name_report_count(from, &ret->names);
    take_lists(from, ret);
    find_missing(conf, ret);
    find_lost_interface(from, ret);
    for (size_t i = 0; i < conf->n_services; i++)
        take_service(from, &conf->services[i], ret);
    if (count_addresses(conf, ret))
        return 0;
    doctor_facts_fini(ret);
    return -ENOMEM;
}

void doctor_facts_fini(struct doctor_facts *facts)
{
    free(facts->services);
    facts->services = NULL;
}
