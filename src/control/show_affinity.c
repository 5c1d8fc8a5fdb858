#include "lb4/control/show_affinity.h"

#include <string.h>

#include "lb4/base/clock.h"
#include "lb4/control/table.h"
#include "lb4/control/topmost.h"
#include "lb4/shared/affinity.h"

static int compare(const void *left, const void *right)
{
    const struct affinity_guest *a = left;
    const struct affinity_guest *b = right;

    if (a->n_live != b->n_live)
        return a->n_live > b->n_live ? -1 : 1;
    if (a->left_ns != b->left_ns)
        return a->left_ns > b->left_ns ? -1 : 1;
    return memcmp(&a->key, &b->key, sizeof(a->key));
}

/* "-" for a server that is gone: the policy decides about its clients. */
static void add_guest(struct table *table, const struct service *service,
                      const struct affinity_guest *guest)
{
    char text[SOURCE_TEXT_MAX];

    table_row(table);
    table_text(table, affinity_format(&service_plan(service)->affinity, &guest->key, text));
    table_text(table, guest->is_present ? service->backends[guest->place].name : "");
    table_number(table, guest->n_live);
    table_number(table, (guest->left_ns + CLOCK_NS_PER_S - 1) / CLOCK_NS_PER_S);
}

static void answer(struct command_call *call, const struct service *service, struct topmost *top)
{
    static const char *const columns[] = {"source", "server", "live", "left", NULL};
    uint64_t now_ns = clock_now_ns();
    struct affinity_guest guest;
    struct table table;
    size_t at = 0;

    while (affinity_next(service, now_ns, &at, &guest))
        topmost_offer(top, &guest);
    topmost_sort(top);
    table_begin(&table, call->reply, columns);
    for (size_t i = 0; i < top->n; i++)
        add_guest(&table, service, topmost_row(top, i));
    table_end(&table);
}

enum command_result show_affinity(struct command_call *call)
{
    size_t n;
    const struct service *service = topmost_read(call, &n);
    struct topmost top;
    bool has_memory;

    if (!service)
        return COMMAND_FAILED;
    if (!affinity_is_on(service_plan(service)))
        return command_fail(call, "service %s holds no clients: it has no affinity source TIME",
                            service->name);
    has_memory = topmost_init(&top, n, sizeof(struct affinity_guest), compare);
    if (has_memory)
        answer(call, service, &top);
    topmost_fini(&top);
    return has_memory ? COMMAND_DONE : command_fail(call, "show affinity: no memory");
}
