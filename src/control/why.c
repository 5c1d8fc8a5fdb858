#include "lb4/control/why.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lb4/base/clock.h"
#include "lb4/base/number.h"
#include "lb4/conf/diff.h"
#include "lb4/conf/endpoint.h"
#include "lb4/conf/print.h"
#include "lb4/control/connections.h"
#include "lb4/control/name_report.h"
#include "lb4/control/sweeper.h"
#include "lb4/control/table.h"
#include "lb4/control/why_access.h"
#include "lb4/control/why_guard.h"
#include "lb4/control/why_words.h"
#include "lb4/shared/choose.h"

static const uint64_t TURN_NS = 5 * 1000000000ull; /* as in connections.c */

enum {
    FATE_MAX = 96,         /* "A connection would wait up to 365d; 10000000 of 10000000 wait." */
    WHO_MAX = 64,          /* "none of 4096 servers takes clients" */
    NAMED_MAX = 8,         /* servers that a sentence names; chosen */
    SENTENCE_MAX = 1024,   /* bytes with the NUL: NAMED_MAX names and some words */
    SESSION_SENTENCES = 20 /* of one host; chosen: more are told by their number */
};

/* What the answer is made of. */
struct why {
    struct command_call *call;
    struct service *service;
    const struct addr *client;
    struct foresight foresight;
    bool is_denied;              /* by one of the two */
    char access[WHY_ACCESS_MAX]; /* what allow and deny say; "" = nothing */
    char guard[WHY_GUARD_MAX];   /* what limits, rates and bans say; "" = nothing */
    size_t n_sentences;
};

/* --- sentences: lines, or strings of a JSON array ----------------------------------------------
 */

static void say(struct why *why, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(struct why *why, const char *format, ...)
{
    struct reply *reply = why->call->reply;
    char text[SENTENCE_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (!reply->is_json) {
        reply_format(reply, "%s\n", text);
        return;
    }
    reply_text(reply, why->n_sentences++ ? "," : "");
    reply_json_string(reply, text);
}

/* Places that the plan knows and that operators see, too. */
static bool is_shown(const struct why *why, size_t index)
{
    enum backend_state state = why->service->backends[index].state;

    return state == BACKEND_SERVING || state == BACKEND_GONE;
}

static const struct backend *likely(const struct why *why, size_t nth)
{
    for (size_t i = 0; i < why->foresight.n; i++)
        if (why->foresight.servers[i].odds > 0 && nth-- == 0)
            return &why->service->backends[i];
    return NULL;
}

static const char *what_comes(const struct why *why)
{
    return why->foresight.plan->transports & CONF_TCP ? "connection" : "session";
}

/* What becomes of a connection for which there is no server, or no place on one. */
static const char *connection_fate(const struct why *why, char text[static FATE_MAX])
{
    const struct service_plan *plan = why->foresight.plan;
    const struct waiting *waiting = &why->service->waiting;
    enum waiting_for what = why->foresight.is_full ? WAITING_PLACE : WAITING_SERVER;
    uint32_t max = why->foresight.is_full                 ? plan->queue_max
                   : plan->all_down == CONF_ALL_DOWN_HOLD ? plan->hold_max
                                                          : 0;
    uint64_t ns = why->foresight.is_full ? plan->queue_ns : plan->hold_ns;
    uint32_t n = waiting_count(waiting, what);
    char time[NUMBER_TEXT_MAX];

    if (max == 0)
        return "A connection is reset.";
    if (n >= max)
        snprintf(text, FATE_MAX, "A connection is reset, as %u of %u wait.", n, max);
    else
        snprintf(text, FATE_MAX, "A connection would wait up to %s; %u of %u wait.",
                 number_format_duration(ns / CLOCK_NS_PER_MS, time), n, max);
    return text;
}

static void say_full(struct why *why)
{
    char fate[FATE_MAX];

    say(why, "All servers are full. %s", connection_fate(why, fate));
}

static void say_nobody(struct why *why)
{
    unsigned transports = why->foresight.plan->transports;
    char fate[FATE_MAX];

    size_t n = snapshot_n_servers(why->service);
    char who[WHO_MAX] = "the only server takes no clients";

    if (n != 1)
        snprintf(who, sizeof(who), "none of %zu servers takes clients", n);
    say(why, "Nobody would be taken: %s. %s%s%s", who,
        transports & CONF_TCP ? connection_fate(why, fate) : "",
        transports == CONF_TCP_AND_UDP ? " " : "",
        transports & CONF_UDP ? "A datagram is dropped." : "");
}

static void say_certain(struct why *why)
{
    const struct backend *backend = likely(why, 0);
    char reason[WHY_TEXT_MAX];

    why_reason(&why->foresight, backend->index, "", NULL, reason);
    say(why, "The next %s would go to %s: %s.", what_comes(why), backend->name, reason);
}

static void say_drawn(struct why *why)
{
    size_t n = why->foresight.n_likely;
    char chance[WHY_CHANCE_MAX];
    char names[SENTENCE_MAX - 128];
    size_t at = 0;

    for (size_t i = 0; i < n && i < NAMED_MAX; i++) {
        const struct backend *backend = likely(why, i);

        why_chance(&why->foresight.servers[backend->index], chance);
        at += (size_t)snprintf(names + at, sizeof(names) - at, "%s%s (%s)", i ? ", " : "",
                               backend->name, chance);
    }
    if (n > NAMED_MAX)
        snprintf(names + at, sizeof(names) - at, " or %s%zu other%s",
                 n - NAMED_MAX == 1 ? "" : "one of ", n - NAMED_MAX, n - NAMED_MAX == 1 ? "" : "s");
    say(why, "The next %s would go to one of these, drawn at random: %s.", what_comes(why), names);
}

/* What stands before any choice. */
static void say_before(struct why *why)
{
    const struct snapshot_from *from = why->call->from;
    uint32_t limit = capacity_limit(&from->group->capacity);

    if (!from->is_ready)
        say(why, "lb4 is %s: it takes no new clients.", from->state);
    if (why->foresight.plan->transports & CONF_TCP && limit > 0 &&
        capacity_used(&from->group->capacity) >= limit)
        say(why, "lb4 holds its most of %u connections: a client waits until one ends.", limit);
    if (why->foresight.n_likely > 0 && waiting_is_any(&why->service->waiting))
        say(why, "Clients wait for servers, and are served first: %u.",
            waiting_count(&why->service->waiting, WAITING_SERVER) +
                waiting_count(&why->service->waiting, WAITING_PLACE));
}

static void say_affinity(struct why *why)
{
    const struct affinity_view *view = &why->foresight.affinity;
    char text[WHY_AFFINITY_MAX];

    if (affinity_is_on(why->foresight.plan))
        say(why, "%s",
            why_affinity(&why->foresight,
                         view->is_known && view->place < why->foresight.n
                             ? why->service->backends[view->place].name
                             : NULL,
                         text));
}

static void say_choice(struct why *why)
{
    say_before(why);
    say_affinity(why);
    if (why->foresight.n_likely > 0 && why->foresight.best_rank < PICK_RANK_SUSPECT)
        say(why, "No server is usable: those that are down are tried, as a last resort (all-down "
                 "any).");
    if (why->foresight.is_full)
        say_full(why);
    else if (why->foresight.n_likely == 0)
        say_nobody(why);
    else if (why->foresight.n_likely == 1)
        say_certain(why);
    else
        say_drawn(why);
}

static void say_missing(struct why *why)
{
    char text[NAME_CAUSE_MAX + NAME_TEXT_MAX];

    for (size_t i = 0;
         i < NAMED_MAX && name_report_missing(why->call->from, why->service->name, i, text); i++)
        say(why, "No server yet: %s.", text);
}

/* --- UDP sessions --------------------------------------------------------------------------------
 */

static bool is_of_client(const struct why *why, const struct sweep_record *record)
{
    if (!record->is_udp || strcmp(record->service, why->service->name) != 0)
        return false;
    return addr_port(why->client) ? addr_equal(&record->client, why->client)
                                  : addr_equal_host(&record->client, why->client);
}

static void say_session(struct why *why, const struct sweep_record *record)
{
    const struct backend *backend = snapshot_find_server(why->service, record->server);
    uint32_t standing = backend ? backend_standing(backend) : (uint32_t)PICK_GONE;
    char client[ADDR_TEXT_MAX];

    addr_format(&record->client, client);
    if (service_session_leaves(why->service, standing))
        say(why, "The UDP session of %s is on %s, which is %s: its next datagram is a new choice.",
            client, record->server, snapshot_state(standing));
    else
        say(why, "The UDP session of %s is on %s (%s) and stays there.", client, record->server,
            snapshot_state(standing));
}

static void say_sessions(struct why *why)
{
    const struct sweeper *sweeper = why->call->from->sweeper;
    size_t n_found = 0;

    for (size_t w = 0; w < why->call->from->group->n_workers; w++) {
        const struct sweep_list *list = &sweeper->lists[w];

        for (size_t i = 0; i < list->n && i < list->cap; i++) {
            if (is_of_client(why, &list->records[i]) && n_found++ < SESSION_SENTENCES)
                say_session(why, &list->records[i]);
        }
    }
    if (n_found > SESSION_SENTENCES)
        say(why, "UDP sessions of this host that are not told here: %zu.",
            n_found - SESSION_SENTENCES);
    else if (n_found == 0)
        say(why, "The client has no UDP session: its next datagram is a new choice.");
}

/* --- the table ---------------------------------------------------------------------------------
 */

static void add_server(struct why *why, struct table *table, size_t index, const char *taken)
{
    const struct foreseen *server = &why->foresight.servers[index];
    struct snapshot_server snapshot;
    char score[WHY_SCORE_MAX];
    char chance[WHY_CHANCE_MAX];
    char reason[WHY_TEXT_MAX];

    snapshot_take_server(why->call->from, why->service, &why->service->backends[index], &snapshot);
    table_row(table);
    table_text(table, snapshot.name);
    table_text(table, snapshot.addr);
    table_text(table, snapshot_state(server->standing));
    table_number(table, snapshot.since_s);
    table_number(table, server->standing & PICK_WEIGHT_MASK);
    table_number(table, server->active);
    table_text(table, why_score(&why->foresight, index, score));
    table_text(table, why_chance(server, chance));
    table_text(table, why_reason(&why->foresight, index, snapshot.why, taken, reason));
    if (table_json_field(table, "odds"))
        reply_format(table->reply, "%.4f", server->odds);
}

static void add_servers(struct why *why)
{
    static const char *const columns[] = {"server", "address", "state",  "since", "weight",
                                          "active", "score",   "chance", "why",   NULL};
    const struct backend *taken = likely(why, 0);
    struct table table;

    table_begin(&table, why->call->reply, columns);
    for (size_t i = 0; i < why->foresight.n; i++)
        if (is_shown(why, i))
            add_server(why, &table, i, taken ? taken->name : NULL);
    table_end(&table);
}

/* --- the answer ----------------------------------------------------------------------------------
 */

static void begin_json(struct why *why, const char *client)
{
    struct reply *reply = why->call->reply;
    const char *comma = "";

    reply_format(reply, "{\"service\":\"%s\",\"policy\":\"%s\",\"client\":", why->service->name,
                 conf_balance_word(why->foresight.plan->balance));
    reply_json_string(reply, client);
    reply_text(reply, ",\"candidates\":[");
    for (size_t i = 0; i < why->foresight.n; i++) {
        if (why->foresight.servers[i].odds <= 0 || why->is_denied)
            continue;
        reply_format(reply, "%s\"%s\"", comma, why->service->backends[i].name);
        comma = ",";
    }
    reply_text(reply, "],\"verdict\":[");
}

static const char *format_client(const struct addr *client, char text[static ADDR_TEXT_MAX])
{
    addr_format(client, text);
    if (addr_port(client) == 0)
        *strrchr(text, ':') = '\0';
    return text;
}

/* Who asks about the balancer's address gets an answer that is nobody's. */
static void say_headers(struct why *why)
{
    const struct conf_service *service =
        conf_find_service(why->call->from->conf, why->service->name);

    for (size_t i = 0; service && i < service->n_listens; i++) {
        const struct conf_listen *listen = &service->listens[i];
        char text[CONF_LISTEN_TEXT_MAX];

        if (listen->accept_proxy)
            say(why, "At %s a client is the one that a balancer's PROXY header names.",
                conf_format_listen(listen, text));
    }
}

static void write_answer(struct why *why, bool has_list)
{
    struct reply *reply = why->call->reply;
    char client[ADDR_TEXT_MAX];

    format_client(why->client, client);
    if (reply->is_json)
        begin_json(why, client);
    else
        say(why, "Service %s, %s, client %s:", why->service->name,
            conf_balance_word(why->foresight.plan->balance), client);
    say_headers(why);
    if (why->access[0])
        say(why, "%s", why->access);
    if (why->guard[0])
        say(why, "%s", why->guard);
    if (!why->is_denied)
        say_choice(why);
    say_missing(why);
    if (has_list)
        say_sessions(why);
    if (reply->is_json)
        reply_text(reply, "],\"servers\":");
    add_servers(why);
    if (reply->is_json)
        reply_text(reply, "}\n");
}

/* By the words of the service, in the order in which they are asked. */
static bool lets_in(struct why *why, const struct conf_service *conf)
{
    struct guard_outlook outlook;

    if (!why_access(conf, why->client, why->access))
        return false;
    guard_foresee(why->service, why->client, clock_now_ns(), &outlook);
    return why_guard(conf, &outlook, why->guard);
}

/* Who is refused gets to no server: nothing of the choice is to be told. */
static void judge(struct why *why)
{
    const struct conf_service *conf =
        why->call->from->conf ? conf_find_service(why->call->from->conf, why->service->name) : NULL;

    if (!conf || lets_in(why, conf))
        return;
    why->is_denied = true;
    why->foresight.n_likely = 0;
    for (size_t i = 0; i < why->foresight.n; i++)
        why->foresight.servers[i].odds = 0;
}

static enum command_result answer(struct command_call *call, bool has_list)
{
    struct why why = {.call = call,
                      .service = snapshot_find_service(call->from, call->wait.service),
                      .client = &call->wait.client};

    if (!why.service)
        return command_fail(call, "no service '%s'", call->wait.service);
    if (service_foresee(why.service, why.client, &why.foresight) < 0)
        return command_fail(call, "why: no memory");
    judge(&why);
    write_answer(&why, has_list);
    foresight_fini(&why.foresight);
    return COMMAND_DONE;
}

/* "10.0.0.9", "10.0.0.9:51234", "2001:db8::9", "[2001:db8::9]:51234" */
static bool read_client(const char *word, struct addr *ret)
{
    char text[ENDPOINT_ERROR_MAX];
    struct endpoint endpoint;

    if (addr_parse(word, ret) == 0)
        return true;
    if (!endpoint_parse(word, &endpoint, text) || endpoint.kind != ENDPOINT_ADDR ||
        endpoint.first_port != endpoint.last_port)
        return false;
    *ret = endpoint.addr;
    return true;
}

static long begin_list(struct command_call *call)
{
    return sweeper_list(call->from->sweeper);
}

static enum command_result answer_with_sessions(struct command_call *call)
{
    return answer(call, true);
}

static const struct connections_sweep sweep = {begin_list, answer_with_sessions};

enum command_result why_run(struct command_call *call)
{
    const struct service *service = snapshot_find_service(call->from, call->words[1]);
    struct command_wait *wait = &call->wait;

    *wait = (struct command_wait){.kind = COMMAND_WAIT_WHY, .until_ns = call->now_ns + TURN_NS};
    if (!service)
        return command_fail(call, "no service '%.64s'", call->words[1]);
    snprintf(wait->service, sizeof(wait->service), "%s", service->name);
    if (!read_client(call->words[2], &wait->client))
        return command_fail(call,
                            "why: '%.64s' is not the address of a client: 10.0.0.9, "
                            "10.0.0.9:51234, 2001:db8::9, [2001:db8::9]:51234",
                            call->words[2]);
    if (call->from->sweeper && service_plan(service)->transports & CONF_UDP)
        return connections_begin(call, &sweep);
    return answer(call, false);
}

enum command_result why_check(struct command_call *call)
{
    return connections_follow(call, &sweep);
}
