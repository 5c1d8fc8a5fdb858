#include "lb4/control/connections.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"
#include "lb4/base/number.h"
#include "lb4/control/rebalance.h"
#include "lb4/control/sweeper.h"
#include "lb4/control/table.h"
#include "lb4/shared/service_table.h"

enum { OVER_MS = 5 * 60 * 1000 }; /* a rebalance, when nothing is said */

static const uint64_t TURN_NS = 5 * 1000000000ull; /* chosen: less than lb4ctl waits; a sweep takes
                                                      milliseconds */
static const uint64_t LOOK_NS = 1000 * 1000000ull; /* between two looks; chosen: what people call a
                                                      rate */
static const uint64_t LOOK_AGE_NS = 12 * 1000000000ull; /* chosen: what lb4ctl top does with any
                                                           --interval up to 10s needs one look */

/* --- a sweep ---------------------------------------------------------------------------------- */

static long begin_sweep(struct command_call *call)
{
    struct sweeper *sweeper = call->from->sweeper;
    struct sweep_target target;

    memcpy(target.service, call->wait.service, sizeof(target.service));
    memcpy(target.server, call->wait.server, sizeof(target.server));
    switch (call->wait.kind) {
    case COMMAND_WAIT_LIST:
        return sweeper_list(sweeper);
    case COMMAND_WAIT_BUSIEST:
        return sweeper_busiest(sweeper, &target, call->wait.n_busiest);
    case COMMAND_WAIT_KILL:
    case COMMAND_WAIT_EMPTY:
    case COMMAND_WAIT_USABLE:
    case COMMAND_WAIT_RELOAD:
    case COMMAND_WAIT_WEIGHT:
    case COMMAND_WAIT_WHY:
        break;
    }
    return sweeper_kill(sweeper, &target);
}

/* Number 0: somebody else's sweep is under way, and ours has its turn after it; or it is too early
 * for ours. */
enum command_result connections_begin(struct command_call *call,
                                      const struct connections_sweep *sweep)
{
    long number = call->now_ns < call->wait.begin_ns ? 0 : sweep->begin(call);

    if (number < 0)
        return command_fail(call, "%s: no memory", call->words[0]);
    call->wait.number = (uint64_t)number;
    return COMMAND_WAITS;
}

enum command_result connections_follow(struct command_call *call,
                                       const struct connections_sweep *sweep)
{
    struct sweeper *sweeper = call->from->sweeper;
    enum command_result result;

    if (call->wait.number == 0)
        return call->now_ns < call->wait.until_ns
                   ? connections_begin(call, sweep)
                   : command_fail(call, "another sweep over all connections goes on; try again");
    sweeper_go_on(sweeper, (long)call->wait.number, call->now_ns);
    if (!sweeper_is_over(sweeper, (long)call->wait.number))
        return COMMAND_WAITS;
    if (!sweeper_has_result(sweeper, (long)call->wait.number))
        return command_fail(call, "its result was given up; try again");
    result = sweep->answer(call);
    sweeper_release(sweeper);
    return result;
}

static enum command_result answer(struct command_call *call);

static const struct connections_sweep own_sweep = {begin_sweep, answer};

static enum command_result await_sweep(struct command_call *call)
{
    return connections_begin(call, &own_sweep);
}

/* --- show connections ------------------------------------------------------------------------- */

static bool is_named(const char *wanted, const char *name)
{
    return !*wanted || strcmp(wanted, name) == 0;
}

static void add_record(struct table *table, const struct sweep_record *record)
{
    char client[ADDR_TEXT_MAX];

    table_row(table);
    table_text(table, addr_format(&record->client, client));
    table_text(table, record->service);
    table_text(table, record->server);
    table_text(table, record->is_udp ? "udp" : "tcp");
    table_text(table, record->state);
    table_number(table, record->age_ns / CLOCK_NS_PER_S);
    table_number(table, record->idle_ns / CLOCK_NS_PER_S);
    table_number(table, record->bytes_in);
    table_number(table, record->bytes_out);
}

static void add_list(struct table *table, const struct sweep_list *list,
                     const struct command_wait *wait)
{
    size_t n = list->n < list->cap ? list->n : list->cap;

    for (size_t i = 0; i < n; i++)
        if (is_named(wait->service, list->records[i].service) &&
            is_named(wait->server, list->records[i].server))
            add_record(table, &list->records[i]);
}

static enum command_result answer_list(struct command_call *call)
{
    static const char *const columns[] = {"client", "service", "server",   "transport", "state",
                                          "age",    "idle",    "bytes_in", "bytes_out", NULL};
    const struct sweeper *sweeper = call->from->sweeper;
    struct table table;

    table_begin(&table, call->reply, columns);
    for (size_t i = 0; i < call->from->group->n_workers; i++)
        add_list(&table, &sweeper->lists[i], &call->wait);
    table_end(&table);
    return COMMAND_DONE;
}

/* --- the busiest ------------------------------------------------------------------------------ */

static uint64_t speed(const struct sweep_record *record)
{
    return record->rate.in_per_s + record->rate.out_per_s;
}

/* The busiest first; of equal ones, that which has moved more. */
static int compare_speed(const void *left, const void *right)
{
    const struct sweep_record *a = *(const struct sweep_record *const *)left;
    const struct sweep_record *b = *(const struct sweep_record *const *)right;
    uint64_t a_bytes = a->bytes_in + a->bytes_out;
    uint64_t b_bytes = b->bytes_in + b->bytes_out;

    if (speed(a) != speed(b))
        return speed(a) > speed(b) ? -1 : 1;
    return a_bytes > b_bytes ? -1 : a_bytes < b_bytes;
}

/* Those of all workers together, n at most of each. NULL: no memory. */
static const struct sweep_record **sort_busiest(const struct sweeper *sweeper, size_t n_workers,
                                                size_t *ret_n)
{
    const struct sweep_record **sorted =
        calloc(n_workers * sweeper->lists[0].cap, sizeof(struct sweep_record *));

    *ret_n = 0;
    if (!sorted)
        return NULL;
    for (size_t i = 0; i < n_workers; i++)
        for (size_t k = 0; k < sweeper->lists[i].n; k++)
            sorted[(*ret_n)++] = &sweeper->lists[i].records[k];
    qsort(sorted, *ret_n, sizeof(struct sweep_record *), compare_speed);
    return sorted;
}

static void add_path(struct table *table, const struct path *path)
{
    if (path->is_known) {
        table_number(table, path->rtt_us);
        table_number(table, path->retransmits);
    } else {
        table_unknown(table);
        table_unknown(table);
    }
}

static void add_busy_record(struct table *table, const struct sweep_record *record)
{
    add_record(table, record);
    table_number(table, record->rate.in_per_s);
    table_number(table, record->rate.out_per_s);
    add_path(table, &record->to_client);
    add_path(table, &record->to_server);
}

static enum command_result answer_busiest(struct command_call *call)
{
    static const char *const columns[] = {"client",
                                          "service",
                                          "server",
                                          "transport",
                                          "state",
                                          "age",
                                          "idle",
                                          "bytes_in",
                                          "bytes_out",
                                          "in_per_s",
                                          "out_per_s",
                                          "client_rtt_us",
                                          "client_retransmits",
                                          "server_rtt_us",
                                          "server_retransmits",
                                          NULL};
    size_t n;
    const struct sweep_record **sorted =
        sort_busiest(call->from->sweeper, call->from->group->n_workers, &n);
    struct table table;

    if (!sorted)
        return command_fail(call, "%s: no memory", call->words[0]);
    table_begin(&table, call->reply, columns);
    for (size_t i = 0; i < n && i < call->wait.n_busiest; i++)
        add_busy_record(&table, sorted[i]);
    table_end(&table);
    free(sorted);
    return COMMAND_DONE;
}

/* Rates are of the time since the last look. If there was none for long this is the first, and the
 * second follows. */
static void plan_busiest(struct command_call *call)
{
    const struct sweeper *sweeper = call->from->sweeper;

    call->wait.is_first = !sweeper->looked_ns || call->now_ns - sweeper->looked_ns > LOOK_AGE_NS;
}

static enum command_result look_again(struct command_call *call)
{
    call->wait.is_first = false;
    call->wait.number = 0;
    call->wait.begin_ns = call->now_ns + LOOK_NS;
    call->wait.until_ns = call->wait.begin_ns + TURN_NS;
    return COMMAND_WAITS;
}

/* --- the request ------------------------------------------------------------------------------ */

/* As a server, or one that was removed and still has connections. */
static bool has_server(const struct service *service, const char *name)
{
    for (size_t i = 0; i < service->n_places; i++)
        if (service->backends[i].state != BACKEND_NONE && is_named(name, service->backends[i].name))
            return true;
    return false;
}

/* Else a word that was mistyped would look like a server without connections. */
static bool is_known(struct command_call *call)
{
    const struct service_table *table = call->from->services;
    const struct command_wait *wait = &call->wait;
    bool is_service = !*wait->service;

    for (size_t i = 0; i < table->n_services; i++) {
        const struct service *service = &table->services[i];

        if (!service->is_used || !is_named(wait->service, service->name))
            continue;
        is_service = true;
        if (!*wait->server || has_server(service, wait->server))
            return true;
    }
    if (!is_service)
        command_fail(call, "no service '%s'", wait->service);
    else if (*wait->server)
        command_fail(call, "no server '%s' in service %s", wait->server, wait->service);
    return is_service && !*wait->server;
}

static void read_target(struct command_wait *wait, const char *word)
{
    const char *slash = strchr(word, '/');

    snprintf(wait->service, sizeof(wait->service), "%.*s",
             (int)(slash ? (size_t)(slash - word) : strlen(word)), word);
    snprintf(wait->server, sizeof(wait->server), "%s", slash ? slash + 1 : "");
}

/* "--busiest N", and the word of a target, in either order. */
static bool read_show(struct command_call *call)
{
    struct command_wait *wait = &call->wait;
    size_t n_targets = 0;
    uint64_t n;

    for (size_t i = 2; i < call->n_words; i++) {
        if (strcmp(call->words[i], "--busiest") != 0) {
            read_target(wait, call->words[i]);
            n_targets++;
            continue;
        }
        if (i + 1 == call->n_words || number_parse(call->words[i + 1], 1, LARGEST_MAX, &n) < 0) {
            command_fail(call, "show connections: --busiest needs a number, 1..%d", LARGEST_MAX);
            return false;
        }
        wait->kind = COMMAND_WAIT_BUSIEST;
        wait->n_busiest = (size_t)n;
        i++;
    }
    if (n_targets > 1)
        command_fail(call, "usage: show connections [--busiest N] [SERVICE[/SERVER]]");
    return n_targets <= 1;
}

enum command_result connections_show(struct command_call *call)
{
    call->wait =
        (struct command_wait){.kind = COMMAND_WAIT_LIST, .until_ns = call->now_ns + TURN_NS};
    if (!read_show(call) || !is_known(call))
        return COMMAND_FAILED;
    if (call->wait.kind == COMMAND_WAIT_BUSIEST)
        plan_busiest(call);
    return await_sweep(call);
}

/* --- kill ------------------------------------------------------------------------------------- */

static enum command_result answer_kill(struct command_call *call)
{
    static const char *const columns[] = {"service", "server", "ended", NULL};
    size_t n_ended = sweeper_n_ended(call->from->sweeper);
    struct table table;

    log_info("admin: uid %u: server %s/%s: kill, %zu connections were ended", call->uid,
             call->wait.service, call->wait.server, n_ended);
    table_begin(&table, call->reply, columns);
    table_row(&table);
    table_text(&table, call->wait.service);
    table_text(&table, call->wait.server);
    table_number(&table, n_ended);
    table_end(&table);
    return COMMAND_DONE;
}

enum command_result connections_kill(struct command_call *call)
{
    struct command_target target;

    if (!command_find_target(call, &target, true))
        return COMMAND_FAILED;
    call->wait =
        (struct command_wait){.kind = COMMAND_WAIT_KILL, .until_ns = call->now_ns + TURN_NS};
    snprintf(call->wait.service, sizeof(call->wait.service), "%s", target.service->name);
    snprintf(call->wait.server, sizeof(call->wait.server), "%s", target.backend->name);
    return await_sweep(call);
}

static enum command_result answer(struct command_call *call)
{
    switch (call->wait.kind) {
    case COMMAND_WAIT_LIST:
        return answer_list(call);
    case COMMAND_WAIT_BUSIEST:
        return call->wait.is_first ? look_again(call) : answer_busiest(call);
    case COMMAND_WAIT_KILL:
    case COMMAND_WAIT_EMPTY:
    case COMMAND_WAIT_USABLE:
    case COMMAND_WAIT_RELOAD:
    case COMMAND_WAIT_WEIGHT:
    case COMMAND_WAIT_WHY:
        break;
    }
    return answer_kill(call);
}

enum command_result connections_check(struct command_call *call)
{
    return connections_follow(call, &own_sweep);
}

/* --- rebalance -------------------------------------------------------------------------------- */

/* "--over TIME" behind the service, or nothing. */
static bool read_over(struct command_call *call, uint64_t *ret_ms)
{
    *ret_ms = OVER_MS;
    if (call->n_words == 2)
        return true;
    if (strcmp(call->words[2], "--over") != 0 || call->n_words != 4)
        command_fail(call, "usage: rebalance SERVICE [--over TIME]");
    else if (number_parse_duration(call->words[3], 1, CONF_DURATION_MAX_MS, ret_ms) < 0)
        command_fail(call, "rebalance: '%.64s' is no time: 1ms..365d, as in 5m", call->words[3]);
    else
        return true;
    return false;
}

static enum command_result answer_rebalance(struct command_call *call,
                                            const struct service *service, uint64_t over_ms)
{
    static const char *const columns[] = {"service", "excess", "over_seconds", NULL};
    uint32_t n_excess = rebalance_excess(service);
    struct table table;

    log_info("admin: uid %u: rebalance of %s: %u connections are beyond their servers' share; "
             "they end within %llu s, the idlest first",
             call->uid, service->name, n_excess, (unsigned long long)(over_ms / 1000));
    table_begin(&table, call->reply, columns);
    table_row(&table);
    table_text(&table, service->name);
    table_number(&table, n_excess);
    table_number(&table, over_ms / 1000);
    table_end(&table);
    return COMMAND_DONE;
}

enum command_result connections_rebalance(struct command_call *call)
{
    struct service *service = snapshot_find_service(call->from, call->words[1]);
    uint64_t over_ms;

    if (!service)
        return command_fail(call, "no service '%.64s'", call->words[1]);
    if (!read_over(call, &over_ms))
        return COMMAND_FAILED;
    if (!call->from->is_ready)
        return command_fail(call, "rebalance: not while lb4 is %s", call->from->state);
    if (!rebalance_start(call->from->rebalance, service, over_ms * CLOCK_NS_PER_MS, call->now_ns))
        return command_fail(call, "rebalance: that of %s is under way",
                            call->from->rebalance->service);
    return answer_rebalance(call, service, over_ms);
}
