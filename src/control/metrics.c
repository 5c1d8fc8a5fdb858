/* A family is one table row where it is one number of each service or server. */
#include "lb4/control/metrics.h"

#include <stdio.h>
#include <string.h>

#include "lb4/base/number.h"
#include "lb4/control/exposition.h"
#include "lb4/control/name_report.h"
#include "lb4/control/rows.h"

#ifndef LB4_VERSION
#define LB4_VERSION "?"
#endif

/* --- one number of each row ------------------------------------------------------------------- */

struct family {
    const char *name;
    const char *type;
    const char *help;
    size_t offset; /* of a uint64_t in the row */
};

static uint64_t number_at(const void *row, size_t offset)
{
    uint64_t number;

    memcpy(&number, (const char *)row + offset, sizeof(number));
    return number;
}

#define OF_SERVICE(field) offsetof(struct row_service, field)
#define OF_SERVER(field) offsetof(struct row_server, field)

static const struct family service_families[] = {
    {"lb4_connections_active", "gauge", "Client connections that are open.",
     OF_SERVICE(stats.active)},
    {"lb4_connections_total", "counter", "Client connections accepted.",
     OF_SERVICE(stats.connections)},
    {"lb4_redispatches_total", "counter", "Connects that went on to another server.",
     OF_SERVICE(stats.redispatches)},
    {"lb4_queue_active", "gauge", "Clients that wait for a server, or for a place on one.",
     OF_SERVICE(stats.waiting.active)},
    {"lb4_queue_total", "counter", "Clients that began to wait.", OF_SERVICE(stats.waiting.begun)},
    {"lb4_queue_refused_total", "counter", "Clients that could not wait: too many did.",
     OF_SERVICE(stats.waiting.refused)},
    {"lb4_service_servers", "gauge", "Servers of the configuration.", OF_SERVICE(n_servers)},
    {"lb4_service_servers_usable", "gauge", "Servers that take new clients now.",
     OF_SERVICE(n_usable)},
};

static const struct family udp_families[] = {
    {"lb4_udp_sessions_active", "gauge", "UDP sessions that are live.",
     OF_SERVICE(stats.udp.active)},
    {"lb4_udp_sessions_total", "counter", "UDP sessions begun.", OF_SERVICE(stats.udp.sessions)},
    {"lb4_udp_rebinds_total", "counter", "UDP sessions that went on to another server.",
     OF_SERVICE(stats.udp.rebinds)},
};

/* Of services with words that need to know of each source. */
static const struct family source_families[] = {
    {"lb4_sources", "gauge", "Sources of clients that have a place in the table.",
     OF_SERVICE(sources.n)},
    {"lb4_sources_limit", "gauge", "Places in the table of sources.", OF_SERVICE(sources.limit)},
    {"lb4_sources_evicted_total", "counter",
     "Sources that gave their place to others: nothing of them was to be remembered.",
     OF_SERVICE(sources.n_evicted)},
    {"lb4_sources_shared_total", "counter",
     "Times that a source found no place, and shared one with others.",
     OF_SERVICE(sources.n_shared)},
    {"lb4_bans", "gauge", "Sources that are banned now.", OF_SERVICE(sources.n_banned)},
    {"lb4_bans_total", "counter", "Bans begun.", OF_SERVICE(sources.n_bans)},
};

static const struct family server_families[] = {
    {"lb4_server_connections_active", "gauge", "Connections and UDP sessions on this server.",
     OF_SERVER(active)},
    {"lb4_server_connections_total", "counter",
     "Connections that reached this server, and UDP sessions.", OF_SERVER(stats.connections)},
    {"lb4_server_connect_failures_total", "counter", "Connects for clients that failed.",
     OF_SERVER(stats.connect_failures)},
};

/* Of servers of the configuration only: nobody is to be woken by one that was taken out. */
static const struct family serving_families[] = {
    {"lb4_server_up", "gauge", "1: its health is good; operators' wishes do not count.",
     OF_SERVER(is_up)},
    {"lb4_server_usable", "gauge", "1: it takes new clients now.", OF_SERVER(is_usable)},
};

#define N_FAMILIES(table) (sizeof(table) / sizeof((table)[0]))

static void head(struct reply *reply, const struct family *family)
{
    exposition_family(reply, family->name, family->type, family->help);
}

typedef bool predicate(const struct row_service *row);

static bool is_any(const struct row_service *row)
{
    return row->name;
}

static bool has_udp(const struct row_service *row)
{
    return row->has_udp;
}

static bool has_sources(const struct row_service *row)
{
    return row->has_sources;
}

static bool is_any_with(const struct rows *rows, predicate *is_wanted)
{
    for (size_t i = 0; i < rows->n_services; i++)
        if (is_wanted(&rows->services[i]))
            return true;
    return false;
}

static void write_services(const struct rows *rows, const struct family *families, size_t n,
                           predicate *is_wanted, struct reply *reply)
{
    for (size_t i = 0; i < n; i++) {
        head(reply, &families[i]);
        for (size_t k = 0; k < rows->n_services; k++) {
            const struct row_service *row = &rows->services[k];

            if (is_wanted(row))
                exposition_sample(reply, families[i].name, row->labels, "",
                                  number_at(row, families[i].offset));
        }
    }
}

static void write_servers(const struct rows *rows, const struct family *families, size_t n,
                          bool must_serve, struct reply *reply)
{
    for (size_t i = 0; i < n; i++) {
        head(reply, &families[i]);
        for (size_t k = 0; k < rows->n_servers; k++) {
            const struct row_server *row = &rows->servers[k];

            if (!must_serve || row->is_serving)
                exposition_sample(reply, families[i].name, row->labels, "",
                                  number_at(row, families[i].offset));
        }
    }
}

/* --- several numbers of each row -------------------------------------------------------------- */

static void write_closed(const struct rows *rows, struct reply *reply)
{
    exposition_family(reply, "lb4_closed_total", "counter", "Client connections that ended.");
    for (size_t i = 0; i < rows->n_services; i++) {
        const struct row_service *row = &rows->services[i];

        for (size_t k = CLOSE_NONE + 1; k < CLOSE_REASONS; k++) {
            char reason[64] = "";

            exposition_label(reason, sizeof(reason), "reason",
                             close_reason_word((enum close_reason)k));
            exposition_sample(reply, "lb4_closed_total", row->labels, reason, row->stats.closed[k]);
        }
    }
}

static void write_local(const struct rows *rows, struct reply *reply)
{
    const char *name = "lb4_connect_local_errors_total";

    exposition_family(reply, name, "counter",
                      "Connects to servers that failed for reasons of lb4's own machine.");
    for (size_t i = 0; i < rows->n_services; i++) {
        const struct row_service *row = &rows->services[i];

        for (size_t k = 0; k < LOCAL_CAUSES; k++) {
            char cause[64] = "";

            exposition_label(cause, sizeof(cause), "cause", local_cause_word((enum local_cause)k));
            exposition_sample(reply, name, row->labels, cause, row->stats.local.errors[k]);
        }
    }
}

static void write_waits(const struct rows *rows, struct reply *reply)
{
    exposition_family(reply, "lb4_queue_ended_total", "counter",
                      "Clients that waited, by outcome.");
    for (size_t i = 0; i < rows->n_services; i++) {
        const struct row_service *row = &rows->services[i];

        for (size_t k = 0; k < WAITING_ENDS; k++) {
            char outcome[64] = "";

            exposition_label(outcome, sizeof(outcome), "outcome",
                             waiting_end_word((enum waiting_end)k));
            exposition_sample(reply, "lb4_queue_ended_total", row->labels, outcome,
                              row->stats.waiting.ended[k]);
        }
    }
}

static bool has_affinity(const struct row_service *row)
{
    return row->has_affinity;
}

static void write_affinity(const struct rows *rows, struct reply *reply)
{
    if (!is_any_with(rows, has_affinity))
        return;
    exposition_family(reply, "lb4_affinity_entries", "gauge",
                      "Clients that are held by a server (affinity).");
    for (size_t i = 0; i < rows->n_services; i++)
        if (rows->services[i].has_affinity)
            exposition_sample(reply, "lb4_affinity_entries", rows->services[i].labels, "",
                              rows->services[i].n_affinity);
    exposition_family(reply, "lb4_affinity_total", "counter",
                      "Choices for clients of services with affinity, by result.");
    for (size_t i = 0; i < rows->n_services; i++) {
        const struct row_service *row = &rows->services[i];

        for (size_t k = 0; row->has_affinity && k < AFFINITY_RESULTS; k++) {
            char result[64] = "";

            exposition_label(result, sizeof(result), "result",
                             affinity_result_word((enum affinity_result)k));
            exposition_sample(reply, "lb4_affinity_total", row->labels, result,
                              row->stats.affinity.choices[k]);
        }
    }
}

static void write_both_ways(const struct rows *rows, const struct family *family, size_t out,
                            bool needs_udp, struct reply *reply)
{
    head(reply, family);
    for (size_t i = 0; i < rows->n_services; i++) {
        const struct row_service *row = &rows->services[i];

        if (needs_udp && !row->has_udp)
            continue;
        exposition_sample(reply, family->name, row->labels, "direction=\"in\"",
                          number_at(row, family->offset));
        exposition_sample(reply, family->name, row->labels, "direction=\"out\"",
                          number_at(row, out));
    }
}

static void write_directions(const struct rows *rows, struct reply *reply)
{
    static const struct family bytes = {"lb4_bytes_total", "counter",
                                        "Bytes of TCP relayed; in: from client to server.",
                                        OF_SERVICE(stats.bytes_in)};
    static const struct family datagrams = {"lb4_udp_datagrams_total", "counter",
                                            "Datagrams received; in: from clients.",
                                            OF_SERVICE(stats.udp.datagrams_in)};
    static const struct family udp_bytes = {"lb4_udp_bytes_total", "counter",
                                            "Bytes of datagrams received; in: from clients.",
                                            OF_SERVICE(stats.udp.bytes_in)};

    write_both_ways(rows, &bytes, OF_SERVICE(stats.bytes_out), false, reply);
    write_both_ways(rows, &datagrams, OF_SERVICE(stats.udp.datagrams_out), true, reply);
    write_both_ways(rows, &udp_bytes, OF_SERVICE(stats.udp.bytes_out), true, reply);
}

static void write_dropped(const struct rows *rows, struct reply *reply)
{
    exposition_family(reply, "lb4_udp_dropped_total", "counter", "Datagrams dropped.");
    for (size_t i = 0; i < rows->n_services; i++) {
        const struct row_service *row = &rows->services[i];

        for (size_t k = 0; row->has_udp && k < UDP_DROPS; k++) {
            char reason[64] = "";

            exposition_label(reason, sizeof(reason), "reason", udp_drop_word((enum udp_drop)k));
            exposition_sample(reply, "lb4_udp_dropped_total", row->labels, reason,
                              row->stats.udp.dropped[k]);
        }
    }
}

static void write_refused(const struct rows *rows, struct reply *reply)
{
    exposition_family(
        reply, "lb4_refused_total", "counter",
        "Clients that were not let in: connections, and datagrams without a session.");
    for (size_t i = 0; i < rows->n_services; i++) {
        const struct row_service *row = &rows->services[i];

        for (size_t k = 0; k < REFUSALS; k++) {
            char reason[64] = "";

            exposition_label(reason, sizeof(reason), "reason", refusal_word((enum refusal)k));
            exposition_sample(reply, "lb4_refused_total", row->labels, reason,
                              row->stats.refused.clients[k]);
        }
    }
}

static void write_checks(const struct rows *rows, struct reply *reply)
{
    const char *name = "lb4_server_checks_total";

    exposition_family(reply, name, "counter",
                      "Probes; unknown: they met trouble of lb4's own machine.");
    for (size_t i = 0; i < rows->n_servers; i++) {
        const struct row_server *row = &rows->servers[i];

        exposition_sample(reply, name, row->labels, "result=\"ok\"", row->stats.checks_ok);
        exposition_sample(reply, name, row->labels, "result=\"failed\"", row->stats.checks_failed);
        exposition_sample(reply, name, row->labels, "result=\"unknown\"",
                          row->stats.checks_unknown);
    }
}

static void write_histograms(const struct rows *rows, struct reply *reply)
{
    exposition_family(reply, "lb4_session_seconds", "histogram",
                      "From accept to end, of client connections that ended.");
    for (size_t i = 0; i < rows->n_services; i++)
        exposition_histogram(reply, "lb4_session_seconds", rows->services[i].labels,
                             &histogram_session, &rows->services[i].stats.session_ns);
    exposition_family(reply, "lb4_session_bytes", "histogram",
                      "Bytes in both directions, of client connections that ended.");
    for (size_t i = 0; i < rows->n_services; i++)
        exposition_histogram(reply, "lb4_session_bytes", rows->services[i].labels, &histogram_bytes,
                             &rows->services[i].stats.session_bytes);
    exposition_family(reply, "lb4_server_connect_seconds", "histogram",
                      "From connect to its success.");
    for (size_t i = 0; i < rows->n_servers; i++)
        exposition_histogram(reply, "lb4_server_connect_seconds", rows->servers[i].labels,
                             &histogram_connect, &rows->servers[i].stats.connect_ns);
}

/* --- the process ------------------------------------------------------------------------------ */

#define OF_PROCESS(field) offsetof(struct snapshot_process, field)
#define OF_WORKER(field) offsetof(struct snapshot_worker, field)

static const struct family process_families[] = {
    {"lb4_start_time_seconds", "gauge", "When lb4 was started, since 1970.", OF_PROCESS(started_s)},
    {"lb4_descriptors_open", "gauge", "Descriptors that are open.", OF_PROCESS(n_descriptors)},
    {"lb4_log_dropped_total", "counter", "Lines for which the log had no room.",
     OF_PROCESS(log_dropped)},
};

static const struct family worker_families[] = {
    {"lb4_worker_connections_active", "gauge", "Client connections that are open.",
     OF_WORKER(active)},
    {"lb4_worker_connections_total", "counter", "Client connections served.", OF_WORKER(total)},
    {"lb4_worker_handed_over_total", "counter",
     "Client connections accepted here, served by another worker.", OF_WORKER(handed_over)},
};

static void write_number(struct reply *reply, const struct family *family, uint64_t number)
{
    head(reply, family);
    exposition_sample(reply, family->name, "", "", number);
}

static void write_pair(struct reply *reply, const struct family *family, const char *const more[2],
                       const uint64_t numbers[2])
{
    head(reply, family);
    for (size_t i = 0; i < 2; i++)
        exposition_sample(reply, family->name, "", more[i], numbers[i]);
}

static void write_pairs(const struct snapshot_process *process, struct reply *reply)
{
    static const struct family bytes = {"lb4_relay_bytes_total", "counter",
                                        "Bytes of TCP relayed, by how they moved.", 0};
    static const struct family pipes = {"lb4_pipes", "gauge",
                                        "Pipes for splice; lent: with bytes inside.", 0};
    static const struct family reloads = {"lb4_reloads_total", "counter", "Reloads.", 0};

    write_pair(reply, &bytes, (const char *const[]){"path=\"splice\"", "path=\"copy\""},
               (const uint64_t[]){process->splice_bytes, process->copy_bytes});
    write_pair(reply, &pipes, (const char *const[]){"state=\"idle\"", "state=\"lent\""},
               (const uint64_t[]){process->pipes_idle, process->pipes_lent});
    write_pair(reply, &reloads, (const char *const[]){"result=\"ok\"", "result=\"failed\""},
               (const uint64_t[]){process->reloads_ok, process->reloads_failed});
}

static void write_limits(const struct limits_budget *budget, struct reply *reply)
{
    static const struct family connections = {"lb4_connections_limit", "gauge",
                                              "Client connections that may be open.", 0};
    static const struct family sessions = {"lb4_udp_sessions_limit", "gauge",
                                           "UDP sessions that may be live.", 0};
    static const struct family descriptors = {"lb4_descriptors_limit", "gauge",
                                              "Descriptors that may be open.", 0};

    write_number(reply, &connections, budget->maxconn);
    write_number(reply, &sessions, budget->udp_sessions);
    write_number(reply, &descriptors, budget->descriptors);
}

static void write_process(const struct snapshot_from *from, struct reply *reply)
{
    static const struct family build = {"lb4_build_info", "gauge", "Always 1.", 0};
    struct snapshot_process process;
    char version[64] = "";

    snapshot_take_process(from, &process);
    exposition_label(version, sizeof(version), "version", LB4_VERSION);
    head(reply, &build);
    exposition_sample(reply, build.name, version, "", 1);
    for (size_t i = 0; i < N_FAMILIES(process_families); i++)
        write_number(reply, &process_families[i], number_at(&process, process_families[i].offset));
    write_pairs(&process, reply);
    write_limits(from->budget, reply);
}

static void write_workers(const struct snapshot_from *from, struct reply *reply)
{
    for (size_t i = 0; i < N_FAMILIES(worker_families); i++) {
        const struct family *family = &worker_families[i];

        head(reply, family);
        for (size_t k = 0; k < from->group->n_workers; k++) {
            struct snapshot_worker worker;
            char number[NUMBER_TEXT_MAX];
            char label[2 * NUMBER_TEXT_MAX] = "";

            snapshot_take_worker(from, k, &worker);
            snprintf(number, sizeof(number), "%zu", k + 1);
            exposition_label(label, sizeof(label), "worker", number);
            exposition_sample(reply, family->name, label, "", number_at(&worker, family->offset));
        }
    }
}

/* --- all -------------------------------------------------------------------------------------- */

static void write_rows(const struct rows *rows, struct reply *reply)
{
    write_services(rows, service_families, N_FAMILIES(service_families), is_any, reply);
    write_closed(rows, reply);
    write_refused(rows, reply);
    if (is_any_with(rows, has_sources))
        write_services(rows, source_families, N_FAMILIES(source_families), has_sources, reply);
    write_affinity(rows, reply);
    write_waits(rows, reply);
    write_local(rows, reply);
    write_directions(rows, reply);
    write_services(rows, udp_families, N_FAMILIES(udp_families), has_udp, reply);
    write_dropped(rows, reply);
    write_servers(rows, serving_families, N_FAMILIES(serving_families), true, reply);
    write_servers(rows, server_families, N_FAMILIES(server_families), false, reply);
    write_checks(rows, reply);
    write_histograms(rows, reply);
}

void metrics_write(const struct snapshot_from *from, struct reply *reply)
{
    struct rows rows;

    write_process(from, reply);
    write_workers(from, reply);
    if (rows_take(from, &rows) < 0)
        reply->is_over = true;
    else
        write_rows(&rows, reply);
    rows_fini(&rows);
    name_report_metrics(from, reply);
}
