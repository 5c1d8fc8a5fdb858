#include "lb4/control/show.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lb4/base/clock.h"
#include "lb4/conf/print.h"
#include "lb4/control/name_report.h"
#include "lb4/control/reload.h"
#include "lb4/control/table.h"
#include "lb4/shared/service_table.h"

#ifndef LB4_VERSION
#define LB4_VERSION "?"
#endif

/* --- services --------------------------------------------------------------------------------- */

static void append_reasons(struct reply *reply, const struct stats_service_sum *stats)
{
    const char *comma = "";

    reply_text(reply, "{");
    for (size_t i = CLOSE_NONE + 1; i < CLOSE_REASONS; i++) {
        reply_format(reply, "%s\"%s\":%llu", comma, close_reason_word((enum close_reason)i),
                     (unsigned long long)stats->closed[i]);
        comma = ",";
    }
    reply_text(reply, "}");
}

static void append_refusals(struct reply *reply, const struct stats_refusal_sum *refused)
{
    reply_text(reply, "{");
    for (size_t i = 0; i < REFUSALS; i++)
        reply_format(reply, "%s\"%s\":%llu", i > 0 ? "," : "", refusal_word((enum refusal)i),
                     (unsigned long long)refused->clients[i]);
    reply_text(reply, "}");
}

static void add_service(struct table *table, const struct snapshot_service *service)
{
    const struct stats_service_sum *stats = &service->stats;

    table_row(table);
    table_text(table, service->name);
    table_text(table, service->listeners);
    table_text(table, service->policy);
    table_number(table, service->n_usable);
    table_number(table, service->n_servers);
    table_number(table, stats->active);
    table_number(table, stats->connections);
    table_number(table, service->closed);
    table_number(table, stats->bytes_in + stats->udp.bytes_in);
    table_number(table, stats->bytes_out + stats->udp.bytes_out);
    table_number(table, stats->udp.active);
    table_number(table, stats->udp.sessions);
    table_number(table, stats->waiting.active);
    table_number(table, stats_refusal_total(&stats->refused));
    if (table_json_field(table, "closed_by_reason"))
        append_reasons(table->reply, stats);
    if (table_json_field(table, "refused_by_reason"))
        append_refusals(table->reply, &stats->refused);
}

enum command_result show_services(struct command_call *call)
{
    static const char *const columns[] = {"service",  "listeners", "policy",     "servers_up",
                                          "servers",  "active",    "total",      "closed",
                                          "bytes_in", "bytes_out", "udp_active", "udp_total",
                                          "waiting",  "refused",   NULL};
    const struct service_table *services = call->from->services;
    struct snapshot_service service;
    struct table table;

    table_begin(&table, call->reply, columns);
    for (size_t i = 0; i < services->n_services; i++) {
        if (!services->services[i].is_used)
            continue;
        snapshot_take_service(call->from, &services->services[i], &service);
        add_service(&table, &service);
    }
    table_end(&table);
    return COMMAND_DONE;
}

/* --- servers ---------------------------------------------------------------------------------- */

static void add_server(struct table *table, const struct snapshot_server *server)
{
    table_row(table);
    table_text(table, server->service);
    table_text(table, server->name);
    table_text(table, server->addr);
    table_text(table, server->state);
    table_number(table, server->since_s);
    table_text(table, server->why);
    table_number(table, server->weight);
    table_flag(table, server->is_backup);
    table_number(table, server->active);
    table_number(table, server->stats.connections);
    table_number(table, server->stats.connect_failures);
    table_number(table, server->stats.checks_ok);
    table_number(table, server->stats.checks_failed);
    table_number(table, server->stats.checks_unknown);
    table_number(table, server->maxconn);
    table_number(table, server->priority);
    if (table_json_field(table, "health"))
        reply_json_string(table->reply, server->health);
}

/* Words of "SERVICE/SERVER"; either "" = all. */
struct filter {
    char service[CONF_NAME_MAX + 1];
    char server[CONF_NAME_MAX + 1];
};

static void read_filter(const char *word, struct filter *filter)
{
    const char *slash = word ? strchr(word, '/') : NULL;

    *filter = (struct filter){{0}, {0}};
    if (word)
        snprintf(filter->service, sizeof(filter->service), "%.*s",
                 (int)(slash ? (size_t)(slash - word) : strlen(word)), word);
    if (slash)
        snprintf(filter->server, sizeof(filter->server), "%s", slash + 1);
}

static bool is_wanted(const char *filter, const char *name)
{
    return !*filter || strcmp(filter, name) == 0;
}

static void add_servers(struct command_call *call, const struct service *service,
                        const struct filter *filter, struct table *table)
{
    struct snapshot_server server;

    for (size_t i = 0; i < service->n_places; i++) {
        if (service->backends[i].state == BACKEND_NONE ||
            !is_wanted(filter->server, service->backends[i].name))
            continue;
        snapshot_take_server(call->from, service, &service->backends[i], &server);
        add_server(table, &server);
    }
}

enum command_result show_servers(struct command_call *call)
{
    static const char *const columns[] = {"service",
                                          "server",
                                          "address",
                                          "state",
                                          "since",
                                          "why",
                                          "weight",
                                          "backup",
                                          "active",
                                          "total",
                                          "connect_failures",
                                          "checks_ok",
                                          "checks_failed",
                                          "checks_unknown",
                                          "maxconn",
                                          "priority",
                                          NULL};
    const struct service_table *services = call->from->services;
    const char *word = call->n_words > 2 ? call->words[2] : NULL;
    struct filter filter;
    struct table table;

    read_filter(word, &filter);
    table_begin(&table, call->reply, columns);
    for (size_t i = 0; i < services->n_services; i++) {
        if (services->services[i].is_used && is_wanted(filter.service, services->services[i].name))
            add_servers(call, &services->services[i], &filter, &table);
    }
    name_report_rows(call->from, filter.service, filter.server, &table);
    table_end(&table);
    return table.n_rows > 0 || !word ? COMMAND_DONE
                                     : command_fail(call, "no server '%.130s'", word);
}

/* --- the process ------------------------------------------------------------------------------ */

static void add_reload(struct record *record, const struct reload *reload)
{
    const struct reload_result *result = &reload->result;
    uint64_t now_ns = clock_now_ns();

    record_number(record, "reloads_ok", reload->n_good);
    record_number(record, "reloads_failed", reload->n_failed);
    record_flag(record, "reloading", reload_is_busy(reload));
    record_text(record, "last_reload",
                result->number == 0  ? "never"
                : result->has_failed ? "failed"
                                     : "ok");
    if (result->number > 0)
        record_number(record, "last_reload_ago", (now_ns - result->ended_ns) / CLOCK_NS_PER_S);
    if (reload->before)
        record_number(record, "undone_in",
                      reload->undo_ns > now_ns
                          ? (reload->undo_ns - now_ns + CLOCK_NS_PER_S - 1) / CLOCK_NS_PER_S
                          : 0);
}

enum command_result show_info(struct command_call *call)
{
    const struct snapshot_from *from = call->from;
    struct snapshot_process process;
    struct record record;

    snapshot_take_process(from, &process);
    record_begin(&record, call->reply);
    record_text(&record, "version", LB4_VERSION);
    record_number(&record, "pid", (uint64_t)getpid());
    record_number(&record, "uptime", process.uptime_s);
    record_text(&record, "state", from->state);
    record_flag(&record, "ready", from->is_ready);
    record_number(&record, "workers", from->group->n_workers);
    record_number(&record, "connections", process.n_connections);
    record_number(&record, "maxconn", from->budget->maxconn);
    record_number(&record, "descriptors", process.n_descriptors);
    record_number(&record, "descriptors_limit", from->budget->descriptors);
    record_number(&record, "udp_sessions", process.n_udp_sessions);
    record_number(&record, "udp_sessions_limit", from->budget->udp_sessions);
    record_text(&record, "config", from->config_name);
    if (from->reload)
        add_reload(&record, from->reload);
    record_end(&record);
    return COMMAND_DONE;
}

enum command_result show_config(struct command_call *call)
{
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *stream = open_memstream(&text, &n_bytes);
    bool is_whole;

    if (!stream)
        return command_fail(call, "no memory");
    conf_print(call->from->conf, stream);
    is_whole = !ferror(stream);
    is_whole = fclose(stream) == 0 && is_whole;
    if (is_whole && call->reply->is_json) {
        reply_json_string(call->reply, text);
        reply_text(call->reply, "\n");
    } else if (is_whole) {
        reply_append(call->reply, text, n_bytes);
    }
    free(text);
    return is_whole ? COMMAND_DONE : command_fail(call, "no memory");
}
