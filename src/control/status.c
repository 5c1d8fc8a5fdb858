#include "lb4/control/status.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lb4/base/clock.h"
#include "lb4/control/name_report.h"
#include "lb4/control/sources_sum.h"
#include "lb4/shared/affinity.h"

#ifndef LB4_VERSION
#define LB4_VERSION "?"
#endif

typedef unsigned long long number; /* for %llu */

/* Each field is followed by a comma; the last one of an object loses it to the brace. */
static void close_with(struct reply *reply, const char *end)
{
    if (!reply->is_over && reply->n_bytes > 0 && reply->bytes[reply->n_bytes - 1] == ',')
        reply->n_bytes--;
    reply_text(reply, end);
}

static void put_number(struct reply *reply, const char *name, uint64_t value)
{
    reply_format(reply, "\"%s\":%llu,", name, (number)value);
}

static void put_text(struct reply *reply, const char *name, const char *text)
{
    reply_format(reply, "\"%s\":", name);
    reply_json_string(reply, text);
    reply_text(reply, ",");
}

static void put_flag(struct reply *reply, const char *name, bool flag)
{
    reply_format(reply, "\"%s\":%s,", name, flag ? "true" : "false");
}

/* --- the process ------------------------------------------------------------------------------ */

static uint64_t wall_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / CLOCK_NS_PER_MS;
}

static void put_process(const struct snapshot_from *from, struct reply *reply)
{
    struct snapshot_process process;

    snapshot_take_process(from, &process);
    put_text(reply, "version", LB4_VERSION);
    put_number(reply, "pid", (uint64_t)getpid());
    put_number(reply, "now_ms", wall_ms());
    put_number(reply, "uptime_s", process.uptime_s);
    put_text(reply, "state", from->state);
    put_flag(reply, "ready", from->is_ready);
    put_number(reply, "generation", 1 + process.reloads_ok);
    put_number(reply, "connections_limit", from->budget->maxconn);
    put_number(reply, "connections", process.n_connections);
    put_number(reply, "udp_sessions", process.n_udp_sessions);
    put_number(reply, "descriptors", process.n_descriptors);
    put_number(reply, "descriptors_limit", from->budget->descriptors);
    reply_format(
        reply,
        "\"relay\":{\"splice_bytes\":%llu,\"copy_bytes\":%llu},"
        "\"pipes\":{\"idle\":%llu,\"lent\":%llu},\"reloads\":{\"ok\":%llu,\"failed\":%llu},",
        (number)process.splice_bytes, (number)process.copy_bytes, (number)process.pipes_idle,
        (number)process.pipes_lent, (number)process.reloads_ok, (number)process.reloads_failed);
    put_number(reply, "log_dropped", process.log_dropped);
}

static void put_workers(const struct snapshot_from *from, struct reply *reply)
{
    reply_text(reply, "\"workers\":[");
    for (size_t i = 0; i < from->group->n_workers; i++) {
        struct snapshot_worker worker;

        snapshot_take_worker(from, i, &worker);
        reply_format(reply, "{\"worker\":%zu,\"active\":%llu,\"total\":%llu,\"handed_over\":%llu},",
                     i + 1, (number)worker.active, (number)worker.total,
                     (number)worker.handed_over);
    }
    close_with(reply, "],");
}

/* --- services --------------------------------------------------------------------------------- */

static void put_server(const struct snapshot_server *server, struct reply *reply)
{
    reply_text(reply, "{");
    put_text(reply, "name", server->name);
    put_text(reply, "address", server->addr);
    put_text(reply, "state", server->state);
    put_number(reply, "since_s", server->since_s);
    put_text(reply, "why", server->why);
    put_number(reply, "weight", server->weight);
    put_number(reply, "priority", server->priority);
    put_flag(reply, "backup", server->is_backup);
    put_number(reply, "maxconn", server->maxconn);
    put_number(reply, "active", server->active);
    put_number(reply, "total", server->stats.connections);
    put_number(reply, "connect_failures", server->stats.connect_failures);
    reply_format(reply, "\"checks\":{\"ok\":%llu,\"failed\":%llu,\"unknown\":%llu}},",
                 (number)server->stats.checks_ok, (number)server->stats.checks_failed,
                 (number)server->stats.checks_unknown);
}

static void put_servers(const struct snapshot_from *from, const struct service *service,
                        struct reply *reply)
{
    struct snapshot_server server;

    reply_text(reply, "\"servers\":[");
    for (size_t i = 0; i < service->n_places; i++) {
        enum backend_state state = service->backends[i].state;

        if (state != BACKEND_SERVING && state != BACKEND_GONE)
            continue;
        snapshot_take_server(from, service, &service->backends[i], &server);
        put_server(&server, reply);
    }
    close_with(reply, "]");
}

/* "tcp/:53,udp/:53" */
static void put_listeners(char *listeners, struct reply *reply)
{
    char *rest = listeners;
    char *one;

    reply_text(reply, "\"listeners\":[");
    while ((one = strsep(&rest, ","))) {
        if (!*one)
            continue;
        reply_json_string(reply, one);
        reply_text(reply, ",");
    }
    close_with(reply, "],");
}

static void put_closed(const struct stats_service_sum *stats, struct reply *reply)
{
    reply_text(reply, "\"closed\":{");
    for (size_t i = CLOSE_NONE + 1; i < CLOSE_REASONS; i++)
        put_number(reply, close_reason_word((enum close_reason)i), stats->closed[i]);
    close_with(reply, "},");
}

static void put_udp(const struct stats_udp_sum *udp, struct reply *reply)
{
    reply_text(reply, "\"udp\":{");
    put_number(reply, "active", udp->active);
    put_number(reply, "sessions", udp->sessions);
    put_number(reply, "datagrams_in", udp->datagrams_in);
    put_number(reply, "datagrams_out", udp->datagrams_out);
    put_number(reply, "bytes_in", udp->bytes_in);
    put_number(reply, "bytes_out", udp->bytes_out);
    put_number(reply, "rebinds", udp->rebinds);
    reply_text(reply, "\"dropped\":{");
    for (size_t i = 0; i < UDP_DROPS; i++)
        put_number(reply, udp_drop_word((enum udp_drop)i), udp->dropped[i]);
    close_with(reply, "}},");
}

static void put_refused(const struct stats_refusal_sum *refused, struct reply *reply)
{
    reply_text(reply, "\"refused\":{");
    put_number(reply, "total", stats_refusal_total(refused));
    for (size_t i = 0; i < REFUSALS; i++)
        put_number(reply, refusal_word((enum refusal)i), refused->clients[i]);
    close_with(reply, "},");
}

static void put_waiting(const struct stats_waiting_sum *waiting, struct reply *reply)
{
    reply_text(reply, "\"waiting\":{");
    put_number(reply, "active", waiting->active);
    put_number(reply, "total", waiting->begun);
    put_number(reply, "refused", waiting->refused);
    for (size_t i = 0; i < WAITING_ENDS; i++)
        put_number(reply, waiting_end_word((enum waiting_end)i), waiting->ended[i]);
    close_with(reply, "},");
}

static void put_sources(const struct service *service, struct reply *reply)
{
    struct sources_sum sources = {0};

    if (!sources_sum_add(service, &sources))
        return;
    reply_text(reply, "\"sources\":{");
    put_number(reply, "tracked", sources.n);
    put_number(reply, "limit", sources.limit);
    put_number(reply, "evicted", sources.n_evicted);
    put_number(reply, "shared", sources.n_shared);
    put_number(reply, "banned", sources.n_banned);
    put_number(reply, "bans", sources.n_bans);
    close_with(reply, "},");
}

static void put_affinity(const struct service *service, const struct stats_affinity_sum *affinity,
                         struct reply *reply)
{
    if (!service->affinity)
        return;
    reply_text(reply, "\"affinity\":{");
    put_number(reply, "lasts_ms", service_plan(service)->affinity.lasts_ns / CLOCK_NS_PER_MS);
    put_number(reply, "clients", affinity_count(service, clock_now_ns()));
    for (size_t i = 0; i < AFFINITY_RESULTS; i++)
        put_number(reply, affinity_result_word((enum affinity_result)i), affinity->choices[i]);
    close_with(reply, "},");
}

static void put_local(const struct stats_local_sum *local, struct reply *reply)
{
    reply_text(reply, "\"connect_local_errors\":{");
    for (size_t i = 0; i < LOCAL_CAUSES; i++)
        put_number(reply, local_cause_word((enum local_cause)i), local->errors[i]);
    close_with(reply, "},");
}

static void put_service(const struct snapshot_from *from, const struct service *service,
                        struct reply *reply)
{
    struct snapshot_service snapshot;

    snapshot_take_service(from, service, &snapshot);
    reply_text(reply, "{");
    put_text(reply, "name", snapshot.name);
    put_flag(reply, "removed", service->is_gone);
    put_listeners(snapshot.listeners, reply);
    put_text(reply, "balance", snapshot.policy);
    put_number(reply, "servers_total", snapshot.n_servers);
    put_number(reply, "servers_usable", snapshot.n_usable);
    put_number(reply, "active", snapshot.stats.active);
    put_number(reply, "total", snapshot.stats.connections);
    put_number(reply, "bytes_in", snapshot.stats.bytes_in);
    put_number(reply, "bytes_out", snapshot.stats.bytes_out);
    put_number(reply, "redispatches", snapshot.stats.redispatches);
    put_closed(&snapshot.stats, reply);
    put_waiting(&snapshot.stats.waiting, reply);
    put_refused(&snapshot.stats.refused, reply);
    put_sources(service, reply);
    put_affinity(service, &snapshot.stats.affinity, reply);
    put_local(&snapshot.stats.local, reply);
    put_udp(&snapshot.stats.udp, reply);
    put_servers(from, service, reply);
    reply_text(reply, "},");
}

static void put_services(const struct snapshot_from *from, struct reply *reply)
{
    reply_text(reply, "\"services\":[");
    for (size_t i = 0; i < from->services->n_services; i++)
        if (from->services->services[i].is_used)
            put_service(from, &from->services->services[i], reply);
    close_with(reply, "],");
}

/* --- history ---------------------------------------------------------------------------------- */

/* One of the two writers' entries, in order. */
struct stream {
    const struct history *history; /* NULL = it has none */
    uint64_t next;
    uint64_t end;
    bool has_entry;
    struct history_entry entry;
};

/* What was overwritten meanwhile is left out. */
static void stream_advance(struct stream *stream)
{
    stream->has_entry = false;
    while (!stream->has_entry && stream->next < stream->end)
        stream->has_entry = history_read(stream->history, stream->next++, &stream->entry);
}

static void stream_open(struct stream *stream, const struct history *history)
{
    *stream = (struct stream){.history = history};
    if (history)
        history_range(history, &stream->next, &stream->end);
    stream_advance(stream);
}

static uint64_t stream_count(const struct stream *stream)
{
    return stream->end - stream->next + stream->has_entry;
}

/* The stream whose entry is the earlier one; NULL: both are at their end. */
static struct stream *earlier(struct stream *a, struct stream *b)
{
    if (!a->has_entry || !b->has_entry)
        return a->has_entry ? a : b->has_entry ? b : NULL;
    return a->entry.at_ns <= b->entry.at_ns ? a : b;
}

static void put_entry(const struct history_entry *entry, struct reply *reply)
{
    reply_text(reply, "{");
    put_number(reply, "at_ms", entry->at_ms);
    put_text(reply, "service", entry->service);
    put_text(reply, "server", entry->server);
    put_text(reply, "state", snapshot_state(entry->standing));
    put_text(reply, "why", entry->why);
    put_number(reply, "lasted_s", entry->lasted_ns / CLOCK_NS_PER_S);
    close_with(reply, "},");
}

static void put_history(const struct snapshot_from *from, struct reply *reply)
{
    struct stream health;
    struct stream wishes;
    struct stream *next;
    uint64_t n;

    stream_open(&health, from->prober->history);
    stream_open(&wishes, from->wishes);
    n = stream_count(&health) + stream_count(&wishes);
    reply_text(reply, "\"history\":[");
    for (; (next = earlier(&health, &wishes)); n--) {
        if (n <= HISTORY_ENTRIES)
            put_entry(&next->entry, reply);
        stream_advance(next);
    }
    close_with(reply, "]");
}

void status_write(const struct snapshot_from *from, struct reply *reply)
{
    reply_text(reply, "{");
    put_process(from, reply);
    put_workers(from, reply);
    put_services(from, reply);
    name_report_status(from, reply);
    put_history(from, reply);
    reply_text(reply, "}\n");
}
