#include "lb4/conf/vain.h"

#include "lb4/conf/check.h"
#include "lb4/conf/written.h"

static bool listens_on_tcp(const struct conf_service *service)
{
    return conf_transports(service) & CONF_TCP;
}

/* Do all servers have the same turn? SRV records have priorities of their own. */
static bool is_one_tier(const struct conf_service *service)
{
    size_t n;
    const struct conf_server *servers = conf_written(service, &n);

    for (size_t i = 0; i < n; i++)
        if (servers[i].is_srv || servers[i].priority != servers[0].priority ||
            servers[i].is_backup != servers[0].is_backup)
            return false;
    return true;
}

static bool is_single(const struct conf_service *service)
{
    size_t n;

    conf_written(service, &n);
    return n == 1 && !conf_has_names(service);
}

static bool has_vain_slow_start(const struct conf_service *service)
{
    return service->slow_start_ms > 0 && service->balance == CONF_BALANCE_SOURCE;
}

static bool has_vain_on_up(const struct conf_service *service)
{
    return service->on_up.kind != CONF_FAREWELL_KEEP && is_one_tier(service);
}

static bool has_unseen_on_down(const struct conf_service *service)
{
    return service->on_down.kind != CONF_FAREWELL_KEEP && listens_on_tcp(service) &&
           !conf_is_checked(service);
}

static bool has_udp_on_down(const struct conf_service *service)
{
    return service->on_down.kind != CONF_FAREWELL_KEEP && !listens_on_tcp(service);
}

static bool has_vain_evict(const struct conf_service *service)
{
    return service->evict.n_failures > 0 && is_single(service);
}

static bool has_udp_limits(const struct conf_service *service)
{
    return conf_has_limits(service) && !listens_on_tcp(service);
}

static bool has_udp_maxconn(const struct conf_service *service)
{
    return service->guard.maxconn > 0 && !listens_on_tcp(service);
}

static bool takes_headers(const struct conf_service *service)
{
    for (size_t i = 0; i < service->n_listens; i++)
        if (service->listens[i].accept_proxy)
            return true;
    return false;
}

/* Of refusals, those count that are the client's own doing. */
static bool has_vain_ban(const struct conf_service *service)
{
    const struct conf_guard *guard = &service->guard;

    return guard->ban.n_refused > 0 && guard->per_source == 0 && guard->rate_source.n == 0 &&
           guard->rate_datagrams.n == 0 && service->rules.n == 0 && !takes_headers(service);
}

void conf_warn_vain(const struct conf_service *service, struct conf_report *report)
{
    static const struct {
        bool (*is_so)(const struct conf_service *service);
        const char *text;
    } cases[] = {
        {has_vain_slow_start, "slow-start does nothing under 'balance source', where clients "
                              "would move; accepted with it: the other policies"},
        {has_vain_on_up, "on-up does nothing, as no server is better than another; add to one: "
                         "priority 2..16, or backup"},
        {has_udp_on_down, "on-down is for TCP; UDP sessions have: udp-on-down rebind|keep"},
        {has_unseen_on_down, "on-down does nothing, as no server is probed; add a check, such as: "
                             "check tcp"},
        {has_vain_evict, "evict does nothing: the last server is never evicted, and there is one"},
        {has_vain_ban, "ban does nothing, as no client is refused for what it did; add: limit "
                       "per-source N, rate per-source N/s, deny CIDR, or accept-proxy"},
        {has_udp_maxconn, "maxconn is for TCP; of UDP sessions there is: udp-sessions 1..10000000"},
        {has_udp_limits, "maxconn of a server refuses no UDP session; for those there is: "
                         "udp-sessions 1..10000000"},
    };

    for (size_t i = 0; service->n_listens > 0 && i < sizeof(cases) / sizeof(cases[0]); i++)
        if (cases[i].is_so(service))
            conf_report_warn(report, &service->place, "service '%s': %s", service->name,
                             cases[i].text);
}
