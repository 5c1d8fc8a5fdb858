#include "lb4/shared/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/base/clock.h"
#include "lb4/base/scope.h"

void check_free(struct service_check *check)
{
    if (!check)
        return;
    free(check->send);
    free(check->expect);
    free(check);
}

void plan_free(struct service_plan *plan)
{
    if (!plan)
        return;
    free(plan->sequence);
    maglev_fini(&plan->maglev);
    free(plan);
}

/* Places in the order of the seats, in the place of numbers of seats. */
static void put_places(uint16_t *entries, size_t n_entries, const struct service_seat *seats)
{
    for (size_t i = 0; i < n_entries; i++)
        entries[i] = (uint16_t)seats[entries[i]].backend->index;
}

static int sequence_init(struct service_plan *plan, const struct service_seat *seats, size_t n)
{
    scope_free uint32_t *weights = calloc(n, sizeof(*weights));

    if (!weights)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        weights[i] = seats[i].weight;
    plan->sequence = pick_sequence(weights, n, &plan->n_sequence);
    if (!plan->sequence)
        return -ENOMEM;
    put_places(plan->sequence, plan->n_sequence, seats);
    return 0;
}

static int maglev_from(struct service_plan *plan, const struct service_seat *seats, size_t n)
{
    scope_free struct maglev_server *servers = calloc(n, sizeof(*servers));
    int error;

    if (!servers)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        servers[i] = (struct maglev_server){seats[i].backend->name, seats[i].weight};
    error = maglev_init(&plan->maglev, servers, n);
    if (!error)
        put_places(plan->maglev.entries, plan->maglev.n_entries, seats);
    return error;
}

static int tables_init(struct service_plan *plan, const struct service_seat *seats, size_t n)
{
    switch (plan->balance) {
    case CONF_BALANCE_LEASTCONN:
        return 0;
    case CONF_BALANCE_ROUNDROBIN:
    case CONF_BALANCE_RANDOM:
        return n > 0 ? sequence_init(plan, seats, n) : 0;
    case CONF_BALANCE_SOURCE:
        return n > 1 ? maglev_from(plan, seats, n) : 0;
    }
    return -EINVAL;
}

struct service_plan *plan_new(const struct service_plan *model, const struct service_seat *seats,
                              size_t n)
{
    struct service_plan *plan = calloc(1, sizeof(*plan));

    if (!plan)
        return NULL;
    *plan = *model;
    plan->sequence = NULL;
    plan->n_sequence = 0;
    plan->maglev = (struct maglev){0};
    plan->most_weight = 0;
    for (size_t i = 0; i < n; i++) {
        if (seats[i].backend->index >= plan->n_backends)
            plan->n_backends = seats[i].backend->index + 1;
        if (seats[i].weight > plan->most_weight)
            plan->most_weight = seats[i].weight;
    }
    if (tables_init(plan, seats, n) == 0)
        return plan;
    plan_free(plan);
    return NULL;
}

static bool copy_text(const char *text, size_t n_bytes, uint8_t **ret, size_t *ret_n)
{
    if (!text)
        return true;
    *ret = malloc(n_bytes + 1);
    *ret_n = n_bytes;
    if (*ret)
        memcpy(*ret, text, n_bytes);
    return *ret;
}

struct service_check *check_new(const struct conf_service *from)
{
    struct service_check *check = calloc(1, sizeof(*check));

    if (!check)
        return NULL;
    *check = (struct service_check){
        .is_probed = conf_is_checked(from),
        .kind = from->check.kind,
        .fall = from->check.fall,
        .rise = from->check.rise,
        .interval_ns = from->check.interval_ms * CLOCK_NS_PER_MS,
        .timeout_ns = from->check.timeout_ms * CLOCK_NS_PER_MS,
        .fast_ns = from->check.fast_ms * CLOCK_NS_PER_MS,
        .port = from->check.port,
        .default_port = from->n_listens > 0 ? addr_port(&from->listens[0].addr) : 0,
    };
    if (copy_text(from->check.send, from->check.n_send, &check->send, &check->n_send) &&
        copy_text(from->check.expect, from->check.n_expect, &check->expect, &check->n_expect))
        return check;
    check_free(check);
    return NULL;
}

static bool texts_are_equal(const uint8_t *a, size_t n_a, const uint8_t *b, size_t n_b)
{
    return !a == !b && n_a == n_b && (!a || memcmp(a, b, n_a) == 0);
}

bool check_equal(const struct service_check *a, const struct service_check *b)
{
    return a->is_probed == b->is_probed && a->kind == b->kind && a->fall == b->fall &&
           a->rise == b->rise && a->interval_ns == b->interval_ns &&
           a->timeout_ns == b->timeout_ns && a->fast_ns == b->fast_ns && a->port == b->port &&
           a->default_port == b->default_port &&
           texts_are_equal(a->send, a->n_send, b->send, b->n_send) &&
           texts_are_equal(a->expect, a->n_expect, b->expect, b->n_expect);
}

struct service_plan plan_model(const struct conf_service *from)
{
    return (struct service_plan){
        .balance = from->balance,
        .tries = from->tries,
        .connect_ns = from->timeouts.connect_ms * CLOCK_NS_PER_MS,
        .idle_ns = from->timeouts.idle_ms * CLOCK_NS_PER_MS,
        .half_close_ns = from->timeouts.half_close_ms * CLOCK_NS_PER_MS,
        .udp_ns = from->timeouts.udp_ms * CLOCK_NS_PER_MS,
        .transports = conf_transports(from),
        .udp = from->udp,
        .logs_access = from->access.state == CONF_ACCESS_ON,
        .access_ns = from->access.interval_ms * CLOCK_NS_PER_MS,
    };
}
