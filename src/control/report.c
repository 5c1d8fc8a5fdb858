#include "lb4/control/report.h"

#include <stdio.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"

enum {
    REPORT_REASONS_MAX = CLOSE_REASONS * 40, /* " connect_failed=18446744073709551615" each */
    REPORT_DROPS_MAX = UDP_DROPS * 40,       /* " drop_no_server=18446744073709551615" each */
    REPORT_WAIT_MS = 1000                    /* for the log's reader, in all; chosen */
};

typedef unsigned long long number; /* for %llu */

static uint64_t format_reasons(const struct stats_service_sum *sum, char *text, size_t cap)
{
    uint64_t closed = 0;
    size_t at = 0;

    text[0] = '\0';
    for (size_t i = 0; i < CLOSE_REASONS; i++) {
        if (!sum->closed[i])
            continue;
        closed += sum->closed[i];
        at += (size_t)snprintf(text + at, cap - at, " %s=%llu", close_reason_word(i),
                               (number)sum->closed[i]);
    }
    return closed;
}

static void log_service(const struct service *service, const struct worker_group *group)
{
    struct stats_service_sum sum;
    char reasons[REPORT_REASONS_MAX];
    uint64_t closed;

    stats_sum_service(group->stats, group->n_workers, service->index, &sum);
    closed = format_reasons(&sum, reasons, sizeof(reasons));
    log_info("service %s: total=%llu active=%llu closed=%llu in=%llu out=%llu redispatches=%llu%s",
             service->name, (number)sum.connections, (number)sum.active, (number)closed,
             (number)sum.bytes_in, (number)sum.bytes_out, (number)sum.redispatches, reasons);
}

static uint64_t format_drops(const struct stats_udp_sum *sum, char *text, size_t cap)
{
    uint64_t dropped = 0;
    size_t at = 0;

    text[0] = '\0';
    for (size_t i = 0; i < UDP_DROPS; i++) {
        if (!sum->dropped[i])
            continue;
        dropped += sum->dropped[i];
        at += (size_t)snprintf(text + at, cap - at, " drop_%s=%llu", udp_drop_word(i),
                               (number)sum->dropped[i]);
    }
    return dropped;
}

static void log_udp(const struct service *service, const struct worker_group *group)
{
    struct stats_service_sum sum;
    const struct stats_udp_sum *udp = &sum.udp;
    char drops[REPORT_DROPS_MAX];
    uint64_t dropped;

    stats_sum_service(group->stats, group->n_workers, service->index, &sum);
    dropped = format_drops(udp, drops, sizeof(drops));
    log_info("udp %s: total=%llu active=%llu datagrams_in=%llu datagrams_out=%llu in=%llu out=%llu "
             "rebinds=%llu dropped=%llu%s",
             service->name, (number)udp->sessions, (number)udp->active, (number)udp->datagrams_in,
             (number)udp->datagrams_out, (number)udp->bytes_in, (number)udp->bytes_out,
             (number)udp->rebinds, (number)dropped, drops);
}

void report_sum_server(const struct report_sources *from, const struct backend *backend,
                       struct stats_server_sum *ret)
{
    const struct stats_checks *checks = &from->prober->checks[backend->stats_index];

    stats_sum_server(from->group->stats, from->group->n_workers, backend->stats_index, ret);
    ret->checks_ok = stats_read(&checks->ok);
    ret->checks_failed = stats_read(&checks->failed);
    ret->checks_unknown = stats_read(&checks->unknown);
    stats_carry_server(ret, &backend->carried);
}

static void log_server(const struct service *service, const struct backend *backend,
                       const struct report_sources *from)
{
    struct stats_server_sum sum;

    report_sum_server(from, backend, &sum);
    log_info("server %s/%s: total=%llu active=%u connect_failures=%llu checks_ok=%llu "
             "checks_failed=%llu checks_unknown=%llu",
             service->name, backend->name, (number)sum.connections, backend_active(backend),
             (number)sum.connect_failures, (number)sum.checks_ok, (number)sum.checks_failed,
             (number)sum.checks_unknown);
}

static void log_worker(const struct worker_group *group, size_t index)
{
    const struct stats_worker *stats = &group->stats[index].worker;

    log_info("worker %zu: total=%llu handed_over=%llu copied=%llu spliced=%llu dropped=%llu "
             "splice_refused=%llu pauses=%llu",
             index + 1, (number)stats_read(&stats->connections),
             (number)stats_read(&stats->handed_over), (number)stats_read(&stats->relayed_copy),
             (number)stats_read(&stats->relayed_splice), (number)stats_read(&stats->dropped_bytes),
             (number)stats_read(&stats->splice_refused), (number)stats_read(&stats->accept_pauses));
}

/* Thousands of servers have more to say than the ring holds. The whole is given a second, as
 * control has signals to obey; what a slow reader then misses is counted as dropped. */
static void wait_room(uint64_t until_ns)
{
    uint64_t now_ns = clock_now_ns();

    if (now_ns < until_ns)
        log_wait_room((int)((until_ns - now_ns) / CLOCK_NS_PER_MS));
}

void report_log_totals(const struct report_sources *from)
{
    uint64_t until_ns = clock_now_ns() + REPORT_WAIT_MS * CLOCK_NS_PER_MS;

    for (size_t i = 0; i < from->services->n_services; i++) {
        const struct service *service = &from->services->services[i];

        if (!service->is_used)
            continue;
        wait_room(until_ns);
        log_service(service, from->group);
        if (service_plan(service)->transports & CONF_UDP) {
            wait_room(until_ns);
            log_udp(service, from->group);
        }
        for (size_t j = 0; j < service->n_places; j++) {
            if (service->backends[j].state == BACKEND_NONE)
                continue;
            wait_room(until_ns);
            log_server(service, &service->backends[j], from);
        }
    }
    for (size_t i = 0; i < from->group->n_workers; i++) {
        wait_room(until_ns);
        log_worker(from->group, i);
    }
}

const char *report_format_live(const struct worker_group *group, char text[static REPORT_LIVE_MAX])
{
    int n = snprintf(text, REPORT_LIVE_MAX, "%u connections", capacity_used(&group->capacity));

    if (udp_room_limit(&group->udp_room) > 0)
        snprintf(text + n, REPORT_LIVE_MAX - (size_t)n, ", %u UDP sessions",
                 udp_room_used(&group->udp_room));
    return text;
}
