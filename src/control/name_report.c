#include "lb4/control/name_report.h"

#include <stdio.h>
#include <string.h>

#include "lb4/base/clock.h"
#include "lb4/control/exposition.h"
#include "lb4/control/reload.h"
#include "lb4/control/table.h"

typedef unsigned long long number; /* for %llu */

/* Tests of others have no reload. */
static const struct name_sets *sets_of(const struct snapshot_from *from)
{
    static const struct name_sets none;

    return from->reload ? &from->reload->names : &none;
}

static uint64_t age_s(const struct name_set *set)
{
    uint64_t now_ns = clock_now_ns();

    return now_ns > set->good_ns ? (now_ns - set->good_ns) / CLOCK_NS_PER_S : 0;
}

/* Why look-ups fail, else what is left out; "" = all is well. */
static const char *cause_of(const struct name_set *set)
{
    return set->failing_ns ? lookup_error_text(set->error) : set->problem;
}

/* --- show names ----------------------------------------------------------------------------------
 */

static void add_addrs(const struct name_set *set, struct reply *reply)
{
    const char *comma = "";

    reply_text(reply, "[");
    for (size_t i = 0; i < set->good.n_addrs; i++) {
        char text[ADDR_TEXT_MAX];

        addr_format(&set->good.addrs[i], text);
        if (addr_port(&set->good.addrs[i]) == 0)
            *strrchr(text, ':') = '\0';
        reply_text(reply, comma);
        reply_json_string(reply, text);
        comma = ",";
    }
    reply_text(reply, "]");
}

static void add_set(const struct name_set *set, struct table *table)
{
    char name[NAME_TEXT_MAX];

    table_row(table);
    table_text(table, name_set_format(set, name));
    table_text(table, name_set_state(set));
    table_number(table, set->good.n_addrs);
    if (set->good.n_addrs > 0)
        table_number(table, age_s(set));
    else
        table_unknown(table);
    table_number(table, set->n_good);
    table_number(table, set->n_failed);
    table_text(table, cause_of(set));
    if (table_json_field(table, "list"))
        add_addrs(set, table->reply);
}

enum command_result name_report_show(struct command_call *call)
{
    static const char *const columns[] = {"name", "state",  "addresses", "age",
                                          "ok",   "failed", "why",       NULL};
    const struct name_sets *sets = sets_of(call->from);
    struct table table;

    table_begin(&table, call->reply, columns);
    for (size_t i = 0; i < sets->n; i++)
        if (sets->sets[i]->is_used)
            add_set(sets->sets[i], &table);
    table_end(&table);
    return COMMAND_DONE;
}

/* --- servers without an address ------------------------------------------------------------------
 */

static bool has_server(const struct conf_service *service, size_t written)
{
    for (size_t i = 0; i < service->n_servers; i++)
        if (service->servers[i].of == written + 1)
            return true;
    return false;
}

/* The set of a written server that has become none; NULL: it has become some, or is no name. */
static const struct name_set *missing_at(const struct snapshot_from *from,
                                         const struct conf_service *service, size_t at)
{
    const struct conf_server *written = &service->written[at];

    if (!written->host || has_server(service, at))
        return NULL;
    return name_sets_find(sets_of(from), written->host, written->is_srv);
}

static void format_cause(const struct name_set *set, char text[static NAME_CAUSE_MAX])
{
    snprintf(text, NAME_CAUSE_MAX, "name not resolved: %s", cause_of(set));
}

static void add_missing(struct table *table, const struct conf_service *service,
                        const struct conf_server *written, const struct name_set *set)
{
    char name[NAME_TEXT_MAX];
    char cause[NAME_CAUSE_MAX];
    uint64_t now_ns = clock_now_ns();

    format_cause(set, cause);
    table_row(table);
    table_text(table, service->name);
    table_text(table, written->name);
    table_text(table, name_set_format(set, name));
    table_text(table, "unresolved");
    table_number(table, set->failing_ns ? (now_ns - set->failing_ns) / CLOCK_NS_PER_S : 0);
    table_text(table, cause);
    table_number(table, written->weight);
    table_flag(table, written->is_backup);
    for (int i = 0; i < 6; i++)
        table_number(table, 0);
    table_number(table, written->maxconn);
    table_number(table, written->priority);
    if (table_json_field(table, "health"))
        reply_json_string(table->reply, "unresolved");
}

static bool is_wanted(const char *filter, const char *name)
{
    return !*filter || strcmp(filter, name) == 0;
}

size_t name_report_rows(const struct snapshot_from *from, const char *service, const char *server,
                        struct table *table)
{
    size_t n = 0;

    for (size_t i = 0; i < from->conf->n_services; i++) {
        const struct conf_service *conf = &from->conf->services[i];

        for (size_t k = 0; is_wanted(service, conf->name) && k < conf->n_written; k++) {
            const struct name_set *set = missing_at(from, conf, k);

            if (!set || !is_wanted(server, conf->written[k].name))
                continue;
            add_missing(table, conf, &conf->written[k], set);
            n++;
        }
    }
    return n;
}

bool name_report_missing(const struct snapshot_from *from, const char *service, size_t nth,
                         char ret[static NAME_CAUSE_MAX + NAME_TEXT_MAX])
{
    const struct conf_service *conf = NULL;

    for (size_t i = 0; !conf && i < from->conf->n_services; i++)
        if (strcmp(from->conf->services[i].name, service) == 0)
            conf = &from->conf->services[i];
    for (size_t k = 0; conf && k < conf->n_written; k++) {
        const struct name_set *set = missing_at(from, conf, k);
        char cause[NAME_CAUSE_MAX];

        if (!set || nth-- > 0)
            continue;
        format_cause(set, cause);
        snprintf(ret, NAME_CAUSE_MAX + NAME_TEXT_MAX, "%s, %s: %s", conf->written[k].name,
                 set->host, cause);
        return true;
    }
    return false;
}

/* --- status, metrics, doctor ---------------------------------------------------------------------
 */

static void put_set(const struct name_set *set, struct reply *reply)
{
    char name[NAME_TEXT_MAX];

    reply_text(reply, "{\"name\":");
    reply_json_string(reply, name_set_format(set, name));
    reply_format(reply, ",\"state\":\"%s\",\"addresses\":", name_set_state(set));
    add_addrs(set, reply);
    if (set->good.n_addrs > 0)
        reply_format(reply, ",\"age_s\":%llu", (number)age_s(set));
    reply_format(reply, ",\"ok\":%llu,\"failed\":%llu,\"why\":", (number)set->n_good,
                 (number)set->n_failed);
    reply_json_string(reply, cause_of(set));
    reply_text(reply, "}");
}

void name_report_status(const struct snapshot_from *from, struct reply *reply)
{
    const struct name_sets *sets = sets_of(from);
    const char *comma = "";

    reply_text(reply, "\"names\":[");
    for (size_t i = 0; i < sets->n; i++) {
        if (!sets->sets[i]->is_used)
            continue;
        reply_text(reply, comma);
        put_set(sets->sets[i], reply);
        comma = ",";
    }
    reply_text(reply, "],");
}

static void put_results(const struct name_sets *sets, struct reply *reply)
{
    exposition_family(reply, "lb4_resolve_total", "counter", "Look-ups of servers' names.");
    for (size_t i = 0; i < sets->n; i++) {
        char name[NAME_TEXT_MAX];
        char labels[NAME_TEXT_MAX + 16] = "";

        exposition_label(labels, sizeof(labels), "name", name_set_format(sets->sets[i], name));
        exposition_sample(reply, "lb4_resolve_total", labels, "result=\"ok\"",
                          sets->sets[i]->n_good);
        exposition_sample(reply, "lb4_resolve_total", labels, "result=\"failed\"",
                          sets->sets[i]->n_failed);
    }
}

/* One number of each; of the age only where there is one. */
static void put_numbers(const struct name_sets *sets, bool is_age, struct reply *reply)
{
    const char *family = is_age ? "lb4_resolve_age_seconds" : "lb4_resolve_addresses";

    exposition_family(reply, family, "gauge",
                      is_age ? "Since the addresses of a name were last found."
                             : "Addresses of a name when it was last found.");
    for (size_t i = 0; i < sets->n; i++) {
        const struct name_set *set = sets->sets[i];
        char name[NAME_TEXT_MAX];
        char labels[NAME_TEXT_MAX + 16] = "";

        exposition_label(labels, sizeof(labels), "name", name_set_format(set, name));
        if (!is_age || set->good.n_addrs > 0)
            exposition_sample(reply, family, labels, "", is_age ? age_s(set) : set->good.n_addrs);
    }
}

void name_report_metrics(const struct snapshot_from *from, struct reply *reply)
{
    const struct name_sets *sets = sets_of(from);

    if (sets->n == 0)
        return;
    put_results(sets, reply);
    put_numbers(sets, false, reply);
    put_numbers(sets, true, reply);
}

void name_report_count(const struct snapshot_from *from, struct name_census *ret)
{
    const struct name_sets *sets = sets_of(from);

    *ret = (struct name_census){0};
    for (size_t i = 0; i < sets->n; i++) {
        const struct name_set *set = sets->sets[i];

        if (!set->is_used)
            continue;
        ret->n++;
        if (set->good.n_addrs == 0 && !ret->n_unresolved++)
            ret->first_unresolved = set;
        if (set->good.n_addrs > 0 && set->failing_ns && !ret->n_failing++)
            ret->first_failing = set;
    }
}
