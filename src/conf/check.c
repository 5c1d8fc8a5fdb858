#include "lb4/conf/check.h"

#include <errno.h>
#include <ifaddrs.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lb4/conf/access.h"
#include "lb4/conf/listen_words.h"
#include "lb4/conf/listeners.h"
#include "lb4/conf/origins.h"
#include "lb4/conf/proxies.h"
#include "lb4/conf/unix_ends.h"
#include "lb4/conf/vain.h"

enum {
    TRIES_DEFAULT = 3,
    CHECK_TIMEOUT_MS = 1000,
    RESOLVE_DEFAULT_MS = 30000,
    CHECK_FALL = 3,
    CHECK_RISE = 2,
    CHECK_FAST_MIN_MS = 100 /* of the default only: who writes less means it */
};

static const struct conf_timeouts built_in_timeouts = {
    .connect_ms = 3000,
    .idle_ms = 3600 * 1000,
    .half_close_ms = 60 * 1000,
    .udp_ms = 60 * 1000,
};

static const char command_line[] = "command line";

/* The addresses of this machine, fetched when first asked for. */
struct own_addrs {
    struct ifaddrs *list;
    bool is_fetched;
};

static void fill_timeouts(struct conf_timeouts *timeouts, const struct conf_timeouts *defaults)
{
    if (timeouts->connect_ms == 0)
        timeouts->connect_ms = defaults->connect_ms;
    if (timeouts->idle_ms == 0)
        timeouts->idle_ms = defaults->idle_ms;
    if (timeouts->half_close_ms == 0)
        timeouts->half_close_ms = defaults->half_close_ms;
    if (timeouts->udp_ms == 0)
        timeouts->udp_ms = defaults->udp_ms;
}

static uint64_t default_fast_ms(uint64_t interval_ms)
{
    uint64_t fast_ms = interval_ms / 4;

    if (fast_ms < CHECK_FAST_MIN_MS)
        fast_ms = CHECK_FAST_MIN_MS;
    return fast_ms < interval_ms ? fast_ms : interval_ms;
}

static void fill_check(struct conf_check *check)
{
    if (check->interval_ms == 0)
        check->interval_ms = CONF_CHECK_INTERVAL_MS;
    if (check->timeout_ms == 0)
        check->timeout_ms = CHECK_TIMEOUT_MS;
    if (check->fall == 0)
        check->fall = CHECK_FALL;
    if (check->rise == 0)
        check->rise = CHECK_RISE;
    if (check->fast_ms == 0)
        check->fast_ms = default_fast_ms(check->interval_ms);
}

static void fill_queue(struct conf_queue *queue)
{
    if (!queue->is_given)
        *queue = (struct conf_queue){.max = CONF_QUEUE_MAX, .timeout_ms = CONF_QUEUE_TIMEOUT_MS};
}

static void fill_defaults(struct conf *conf)
{
    fill_timeouts(&conf->defaults, &built_in_timeouts);
    if (conf->default_access.state == CONF_ACCESS_UNSET)
        conf->default_access.state = CONF_ACCESS_OFF;
    if (conf->default_resolve_ms == 0)
        conf->default_resolve_ms = RESOLVE_DEFAULT_MS;
    for (size_t i = 0; i < conf->n_services; i++) {
        struct conf_service *service = &conf->services[i];

        fill_timeouts(&service->timeouts, &conf->defaults);
        if (service->access.state == CONF_ACCESS_UNSET)
            service->access = conf->default_access;
        if (service->affinity.state == CONF_AFFINITY_UNSET)
            service->affinity = conf->default_affinity;
        if (service->resolve_ms == 0)
            service->resolve_ms = conf->default_resolve_ms;
        if (service->tries == 0)
            service->tries = TRIES_DEFAULT;
        if (!service->udp.has_responses)
            service->udp.responses = CONF_UDP_ANY_RESPONSES;
        fill_check(&service->check);
        fill_queue(&service->queue);
    }
}

/* A name with its place: what services and servers have in common. */
struct named {
    const char *name;
    const struct conf_place *place;
};

static int compare_named(const void *left, const void *right)
{
    const struct named *a = left;
    const struct named *b = right;
    int order = strcmp(a->name, b->name);

    if (order != 0)
        return order;
    if (a->place->line != b->place->line)
        return a->place->line < b->place->line ? -1 : 1;
    return a->place->column < b->place->column ? -1 : a->place->column > b->place->column;
}

static void report_twice(struct named *names, size_t n, const char *kind,
                         struct conf_report *report)
{
    qsort(names, n, sizeof(*names), compare_named);
    for (size_t i = 1; i < n; i++)
        if (names[i].name[0] != '\0' && strcmp(names[i - 1].name, names[i].name) == 0)
            conf_report_error(report, names[i].place,
                              "%s '%s' is defined already, at %s:%u:%u; names are given once", kind,
                              names[i].name, names[i - 1].place->file, names[i - 1].place->line,
                              names[i - 1].place->column);
}

/* One array serves for the services, and for the servers of each. */
_Static_assert(CONF_SERVICES_MAX <= CONF_SERVERS_MAX, "the array has CONF_SERVERS_MAX places");

static int check_names(const struct conf *conf, struct conf_report *report)
{
    struct named *names = calloc(CONF_SERVERS_MAX, sizeof(*names));

    if (!names)
        return -ENOMEM;
    for (size_t i = 0; i < conf->n_services; i++)
        names[i] = (struct named){conf->services[i].name, &conf->services[i].place};
    report_twice(names, conf->n_services, "service", report);
    for (size_t i = 0; i < conf->n_services; i++) {
        const struct conf_service *service = &conf->services[i];

        for (size_t k = 0; k < service->n_servers; k++)
            names[k] = (struct named){service->servers[k].name, &service->servers[k].place};
        report_twice(names, service->n_servers, "server", report);
    }
    free(names);
    return 0;
}

static bool own_addrs_has(struct own_addrs *own, const struct addr *host)
{
    if (addr_is_loopback(host))
        return true;
    if (!own->is_fetched && getifaddrs(&own->list) < 0)
        own->list = NULL;
    own->is_fetched = true;
    for (const struct ifaddrs *at = own->list; at; at = at->ifa_next) {
        struct addr addr;

        if (!at->ifa_addr || at->ifa_addr->sa_family != host->sa.sa_family)
            continue;
        memset(&addr, 0, sizeof(addr));
        memcpy(&addr, at->ifa_addr,
               host->sa.sa_family == AF_INET ? sizeof(addr.in4) : sizeof(addr.in6));
        if (addr_equal_host(&addr, host))
            return true;
    }
    return false;
}

/* The listener that a connection to `host` and one of these ports would reach, or NULL. */
static const struct conf_listen *find_own(const struct listeners *listeners, struct own_addrs *own,
                                          const struct addr *host, uint16_t first_port,
                                          uint16_t last_port)
{
    const struct conf_listen *found = listeners_find(listeners, host, first_port, last_port);
    struct addr any;

    if (found)
        return found;
    addr_any(host->sa.sa_family, 0, &any);
    found = listeners_find(listeners, &any, first_port, last_port);
    return found && own_addrs_has(own, host) ? found : NULL;
}

static void report_own(const struct conf_server *server, const struct conf_listen *listen,
                       struct conf_report *report)
{
    conf_report_error(report, &server->place,
                      "server '%s' is our own listener of %s:%u:%u: connections would go round in "
                      "a circle",
                      server->name, listen->place.file, listen->place.line, listen->place.column);
}

/* A server gets what the listeners of its service take; without a port it has theirs. */
static const struct conf_listen *find_own_of_server(const struct listeners *listeners,
                                                    struct own_addrs *own,
                                                    const struct conf_service *service,
                                                    const struct conf_server *server)
{
    uint16_t port = addr_port(&server->addr);
    const struct conf_listen *found = NULL;

    if (addr_is_unix(&server->addr))
        return listeners_find(listeners, &server->addr, 0, 0);
    for (size_t i = 0; i < service->n_listens && !found; i++) {
        const struct conf_listen *listen = &service->listens[i];

        if (listen->transport & listeners->transport)
            found = find_own(listeners, own, &server->addr, port ? port : addr_port(&listen->addr),
                             port ? port : listen->last_port);
    }
    return found;
}

/* Allowed, since the kernel prefers the address that fits better, but easily not meant. */
static void warn_hidden(const struct listeners *listeners, const struct conf_service *service,
                        struct conf_report *report)
{
    for (size_t i = 0; i < service->n_listens; i++) {
        const struct conf_listen *listen = &service->listens[i];
        const struct conf_listen *hidden;
        struct addr any;

        if (!(listen->transport & listeners->transport))
            continue;
        addr_any(listen->addr.sa.sa_family, 0, &any);
        hidden = listeners_find(listeners, &any, addr_port(&listen->addr), listen->last_port);
        if (hidden && !addr_is_wildcard(&listen->addr) &&
            (listeners->transport == CONF_TCP ||
             !(listen->transport & hidden->transport & CONF_TCP)))
            conf_report_warn(report, &listen->place,
                             "listen: clients of this address come here, not to the listener on "
                             "all addresses at %s:%u:%u",
                             hidden->place.file, hidden->place.line, hidden->place.column);
    }
}

static void warn_backups_only(const struct conf_service *service, struct conf_report *report)
{
    for (size_t i = 0; i < service->n_servers; i++)
        if (!service->servers[i].is_backup)
            return;
    if (service->n_servers > 0)
        conf_report_warn(report, &service->place,
                         "service '%s' has backups only: they serve all the time", service->name);
}

bool conf_has_limits(const struct conf_service *service)
{
    for (size_t i = 0; i < service->n_servers; i++)
        if (service->servers[i].maxconn > 0)
            return true;
    return false;
}

bool conf_is_checked_by_socket(const struct conf_service *service)
{
    return conf_is_checked(service) && service->check.kind != CONF_CHECK_EXEC;
}

/* Who waits must be able to: a datagram cannot, and nobody sees an unprobed server come back. */
static void check_waiting(const struct conf_service *service, struct conf_report *report)
{
    bool has_tcp = conf_transports(service) & CONF_TCP;
    bool holds = service->all_down == CONF_ALL_DOWN_HOLD;

    if (holds && service->n_listens > 0 && !has_tcp)
        conf_report_error(
            report, &service->place,
            "service '%s': all-down hold: only TCP clients can wait; accepted without "
            "a TCP listener: refuse, any",
            service->name);
    else if (holds && !conf_is_checked(service) && service->n_listens > 0)
        conf_report_error(
            report, &service->place,
            "service '%s': all-down hold: with 'check none' nobody would see a server "
            "come back; accepted with it: refuse, any",
            service->name);
    if (service->queue.is_given && !conf_has_limits(service))
        conf_report_error(
            report, &service->place,
            "service '%s': queue: no server has a limit to wait for; add to a server: "
            "maxconn 1..10000000",
            service->name);
}

/* Whom a server was found to be on TCP, it is not told again on UDP. */
static void check_servers(const struct conf_service *service, const struct listeners tables[2],
                          struct own_addrs *own, struct conf_report *report)
{
    for (size_t i = 0; i < service->n_servers; i++) {
        const struct conf_server *server = &service->servers[i];
        const struct conf_listen *listen;

        if (server->host)
            continue;
        listen = find_own_of_server(&tables[0], own, service, server);
        if (!listen)
            listen = find_own_of_server(&tables[1], own, service, server);
        if (listen)
            report_own(server, listen, report);
    }
}

static bool has_portless_server(const struct conf_service *service)
{
    for (size_t i = 0; i < service->n_servers; i++)
        if (addr_lacks_port(&service->servers[i].addr))
            return true;
    return false;
}

/* A server that is fine but for its first port would be down as a whole. */
static void warn_one_port_probed(const struct conf_service *service, struct conf_report *report)
{
    const struct conf_listen *first = service->listens;
    bool has_ports =
        service->n_listens > 1 || (first && first->last_port != addr_port(&first->addr));

    if (has_ports && conf_is_checked(service) && service->check.port == 0 &&
        has_portless_server(service))
        conf_report_warn(report, &service->place,
                         "service '%s': of all its ports, probes of servers without one go to %u; "
                         "choose with: check tcp port 1..65535",
                         service->name, addr_port(&first->addr));
}

/* At run time, as for a name that has such an address, it is our own trouble. */
static void warn_source(const struct conf_service *service, struct conf_report *report)
{
    int family = service->check.source.sa.sa_family;

    if (family == AF_UNSPEC || service->check.address.sa.sa_family != AF_UNSPEC)
        return;
    for (size_t i = 0; i < service->n_servers; i++) {
        const struct conf_server *server = &service->servers[i];

        if (!server->host && !addr_is_unix(&server->addr) && server->addr.sa.sa_family != family)
            conf_report_warn(report, &server->place,
                             "server '%s' cannot be probed: the source of its check is an IPv%d "
                             "address",
                             server->name, family == AF_INET ? 4 : 6);
    }
}

static void check_services(const struct conf *conf, const struct listeners tables[2],
                           struct conf_report *report)
{
    struct own_addrs own = {0};

    for (size_t i = 0; i < conf->n_services; i++) {
        warn_hidden(&tables[0], &conf->services[i], report);
        warn_hidden(&tables[1], &conf->services[i], report);
        warn_backups_only(&conf->services[i], report);
        check_waiting(&conf->services[i], report);
        conf_proxies_check(&conf->services[i], report);
        conf_warn_vain(&conf->services[i], report);
        warn_one_port_probed(&conf->services[i], report);
        warn_source(&conf->services[i], report);
        check_servers(&conf->services[i], tables, &own, report);
        conf_check_listen_words(&conf->services[i], report);
        conf_check_origins(&conf->services[i], report);
        conf_check_unix(&conf->services[i], report);
    }
    if (own.list)
        freeifaddrs(own.list);
}

static bool meets(const struct addr *host, const struct addr *other)
{
    return host->sa.sa_family == other->sa.sa_family &&
           (addr_equal_host(host, other) || addr_is_wildcard(host) || addr_is_wildcard(other));
}

/* The kernel lets nobody listen on an address beside one that listens on all. */
static void check_http(const struct conf *conf, const struct listeners *tcp,
                       struct conf_report *report)
{
    uint16_t port = addr_port(&conf->http);

    for (size_t i = 0; i < tcp->n_entries; i++) {
        const struct listen_entry *entry = &tcp->entries[i];
        const struct conf_place *place = &entry->listen->place;

        if (!meets(&entry->host, &conf->http) || port < entry->first_port ||
            port > entry->last_port)
            continue;
        conf_report_error(report, &conf->http_place,
                          "http: port %u of this address is listened on already, at %s:%u:%u", port,
                          place->file, place->line, place->column);
        return;
    }
}

static int check_listeners(const struct conf *conf, struct conf_report *report)
{
    struct listeners tables[2] = {0}; /* of TCP, of UDP */
    int error = listeners_init(&tables[0], conf, CONF_TCP, report);

    if (!error)
        error = listeners_init(&tables[1], conf, CONF_UDP, report);
    if (!error)
        check_services(conf, tables, report);
    if (!error && conf->http.sa.sa_family != AF_UNSPEC)
        check_http(conf, &tables[0], report);
    listeners_fini(&tables[0]);
    listeners_fini(&tables[1]);
    return error;
}

static bool stays_root(const struct conf *conf)
{
    return geteuid() == 0 && (conf->user[0] == '\0' || strcmp(conf->user, "root") == 0 ||
                              strcmp(conf->user, "0") == 0);
}

static void check_programs(const struct conf *conf, struct conf_report *report)
{
    if (!stays_root(conf))
        return;
    for (size_t i = 0; i < conf->n_services; i++)
        if (conf->services[i].check.kind == CONF_CHECK_EXEC)
            conf_report_error(report, &conf->services[i].check_place,
                              "check exec: programs are never run as root; name another user, in "
                              "the file with: user NAME, or with -u NAME; or start lb4 as one");
}

int conf_check(struct conf *conf, struct conf_report *report)
{
    const struct conf_place whole = {conf->files ? conf->files[0] : command_line, 0, 0};

    fill_defaults(conf);
    conf_access_check(conf, report);
    if (conf->n_services == 0 && report->n_errors == 0)
        conf_report_error(report, &whole, "no service: nothing to do; add: service NAME {");
    check_programs(conf, report);
    if (check_names(conf, report) < 0 || check_listeners(conf, report) < 0)
        conf_report_error(report, &whole, "out of memory");
    return report->n_errors > 0 ? -EINVAL : 0;
}

/* --- servers that come later ------------------------------------------------------------------ */

struct conf_own {
    struct listeners tables[2]; /* of TCP, of UDP */
    struct own_addrs addrs;
};

struct conf_own *conf_own_new(const struct conf *conf)
{
    struct conf_own *own = calloc(1, sizeof(*own));
    struct conf_report *report = calloc(1, sizeof(*report)); /* which stays empty */

    if (own && report && listeners_init(&own->tables[0], conf, CONF_TCP, report) == 0 &&
        listeners_init(&own->tables[1], conf, CONF_UDP, report) == 0) {
        free(report);
        return own;
    }
    free(report);
    conf_own_free(own);
    return NULL;
}

bool conf_own_has(struct conf_own *own, const struct conf_service *service,
                  const struct conf_server *server)
{
    return find_own_of_server(&own->tables[0], &own->addrs, service, server) ||
           find_own_of_server(&own->tables[1], &own->addrs, service, server);
}

void conf_own_free(struct conf_own *own)
{
    if (!own)
        return;
    listeners_fini(&own->tables[0]);
    listeners_fini(&own->tables[1]);
    if (own->addrs.list)
        freeifaddrs(own->addrs.list);
    free(own);
}
