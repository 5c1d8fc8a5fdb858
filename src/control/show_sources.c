#include "lb4/control/show_sources.h"

#include <string.h>

#include "lb4/base/clock.h"
#include "lb4/control/table.h"
#include "lb4/control/topmost.h"

struct row {
    const struct service *service;
    struct source_view view;
};

static int compare_numbers(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

/* Each source once, in whatever order the table has it. */
static int compare_keys(const struct source_key *a, const struct source_key *b)
{
    int order = compare_numbers(a->kind, b->kind);

    if (order == 0)
        order = compare_numbers(a->net[0], b->net[0]);
    return order != 0 ? order : compare_numbers(a->net[1], b->net[1]);
}

static const struct guard_plan *guard_of(const struct service *service)
{
    return &service_plan(service)->guard;
}

static void offer_all(struct topmost *top, const struct service *service, bool only_banned)
{
    struct row row = {.service = service};
    uint64_t now_ns = clock_now_ns();
    size_t at = 0;

    while (sources_next(service->guard.sources, now_ns, &at, &row.view))
        if (!only_banned || row.view.banned_ns > 0)
            topmost_offer(top, &row);
}

/* 0 only when it is over. */
static uint64_t seconds(uint64_t ns)
{
    return (ns + CLOCK_NS_PER_S - 1) / CLOCK_NS_PER_S;
}

/* --- show sources ----------------------------------------------------------------------------- */

static int compare_use(const void *left, const void *right)
{
    const struct row *a = left;
    const struct row *b = right;
    int order = compare_numbers(b->view.n_live, a->view.n_live);

    if (order == 0)
        order = compare_numbers(b->view.banned_ns > 0, a->view.banned_ns > 0);
    if (order == 0)
        order = compare_numbers(b->view.n_refused, a->view.n_refused);
    if (order == 0)
        order = compare_numbers(b->view.arrivals_ns, a->view.arrivals_ns);
    return order != 0 ? order : compare_keys(&a->view.key, &b->view.key);
}

static void add_limit(struct table *table, uint32_t number, bool is_any)
{
    if (is_any)
        table_number(table, number);
    else
        table_unknown(table);
}

static void add_room(struct table *table, const struct rate *rate, uint64_t debt_ns)
{
    uint32_t room = rate_room_at(rate, debt_ns, clock_now_ns());

    add_limit(table, room, room != UINT32_MAX);
}

static void add_source(struct table *table, const struct row *row)
{
    const struct guard_plan *plan = guard_of(row->service);
    const struct source_view *view = &row->view;
    char text[SOURCE_TEXT_MAX];

    table_row(table);
    table_text(table, source_format(&view->key, text));
    table_number(table, view->n_live);
    add_limit(table, plan->per_source, plan->per_source > 0);
    add_room(table, &plan->rate_source, view->arrivals_ns);
    add_room(table, &plan->rate_datagrams, view->datagrams_ns);
    add_limit(table, view->n_refused, plan->ban_after > 0);
    add_limit(table, plan->ban_after, plan->ban_after > 0);
    add_limit(table, (uint32_t)seconds(view->banned_ns), view->banned_ns > 0);
}

enum command_result show_sources(struct command_call *call)
{
    static const char *const columns[] = {"source",    "live",           "limit",
                                          "rate_left", "datagrams_left", "refused",
                                          "ban_after", "ban_left",       NULL};
    size_t n;
    const struct service *service = topmost_read(call, &n);
    struct topmost top;
    struct table table;
    bool has_memory;

    if (!service)
        return COMMAND_FAILED;
    if (!guard_of(service)->has_sources)
        return command_fail(call,
                            "service %s knows nothing of its sources: it has none of limit "
                            "per-source, rate per-source, ban",
                            service->name);
    has_memory = topmost_init(&top, n, sizeof(struct row), compare_use);
    if (has_memory) {
        offer_all(&top, service, false);
        topmost_sort(&top);
        table_begin(&table, call->reply, columns);
        for (size_t i = 0; i < top.n; i++)
            add_source(&table, topmost_row(&top, i));
        table_end(&table);
    }
    topmost_fini(&top);
    return has_memory ? COMMAND_DONE : command_fail(call, "show sources: no memory");
}

/* --- show bans -------------------------------------------------------------------------------- */

/* The longest first, which of one service are the latest. */
static int compare_bans(const void *left, const void *right)
{
    const struct row *a = left;
    const struct row *b = right;
    int order = compare_numbers(b->view.banned_ns, a->view.banned_ns);

    if (order == 0)
        order = strcmp(a->service->name, b->service->name);
    return order != 0 ? order : compare_keys(&a->view.key, &b->view.key);
}

static void add_ban(struct table *table, const struct row *row)
{
    char text[SOURCE_TEXT_MAX];
    enum refusal cause = row->view.cause < REFUSALS ? row->view.cause : REFUSAL_NONE;

    table_row(table);
    table_text(table, row->service->name);
    table_text(table, source_format(&row->view.key, text));
    table_number(table, seconds(row->view.banned_ns));
    table_number(table, row->view.n_refused);
    table_text(table, refusal_word(cause));
}

static void answer_bans(struct command_call *call, const struct service *only, struct topmost *top)
{
    static const char *const columns[] = {"service", "source", "ban_left",
                                          "refused", "cause",  NULL};
    const struct service_table *services = call->from->services;
    struct table table;

    for (size_t i = 0; i < services->n_services; i++) {
        const struct service *service = &services->services[i];

        if (service->is_used && !service->is_gone && (!only || only == service) &&
            guard_of(service)->ban_after > 0)
            offer_all(top, service, true);
    }
    topmost_sort(top);
    table_begin(&table, call->reply, columns);
    for (size_t i = 0; i < top->n; i++)
        add_ban(&table, topmost_row(top, i));
    table_end(&table);
}

enum command_result show_bans(struct command_call *call)
{
    const char *name = call->n_words > 2 ? call->words[2] : NULL;
    const struct service *only = name ? snapshot_find_service(call->from, name) : NULL;
    struct topmost top;
    bool has_memory;

    if (name && !only)
        return command_fail(call, "no service '%.64s'", name);
    if (only && guard_of(only)->ban_after == 0)
        return command_fail(call,
                            "service %s bans nobody: it has no line such as: ban after 20 refused "
                            "in 1m for 10m",
                            only->name);
    has_memory = topmost_init(&top, TOPMOST_MAX, sizeof(struct row), compare_bans);
    if (has_memory)
        answer_bans(call, only, &top);
    topmost_fini(&top);
    return has_memory ? COMMAND_DONE : command_fail(call, "show bans: no memory");
}
