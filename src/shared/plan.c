#include "lb4/shared/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/base/clock.h"
#include "lb4/base/pattern.h"
#include "lb4/base/scope.h"
#include "lb4/conf/check.h"

enum { CHECK_JITTER_PART = 32 }; /* of the interval, where nothing is said; chosen */

void check_free(struct service_check *check)
{
    if (!check)
        return;
    free(check->send);
    free(check->expect);
    free(check->host);
    if (check->regex)
        regfree(check->regex);
    free(check->regex);
    free(check);
}

void plan_free(struct service_plan *plan)
{
    if (!plan)
        return;
    prefix_map_release(plan->access);
    free(plan->sequence);
    maglev_fini(&plan->maglev);
    free(plan->serials);
    origins_fini(&plan->origins);
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
    prefix_map_hold(plan->access);
    plan->sequence = NULL;
    plan->n_sequence = 0;
    plan->maglev = (struct maglev){0};
    plan->serials = NULL;
    plan->origins = (struct origins){0};
    plan->most_weight = 0;
    for (size_t i = 0; i < n; i++) {
        if (seats[i].backend->index >= plan->n_backends)
            plan->n_backends = seats[i].backend->index + 1;
        if (seats[i].weight > plan->most_weight)
            plan->most_weight = seats[i].weight;
    }
    if (tables_init(plan, seats, n) == 0 && origins_init(&plan->origins, seats, n) == 0)
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
    if (*ret) {
        memcpy(*ret, text, n_bytes);
        (*ret)[n_bytes] = '\0';
    }
    return *ret;
}

static bool copy_texts(const struct conf_check *from, struct service_check *check)
{
    return copy_text(from->send, from->n_send, &check->send, &check->n_send) &&
           copy_text(from->expect, from->n_expect, &check->expect, &check->n_expect) &&
           copy_text(from->host, from->host ? strlen(from->host) : 0, &check->host, &check->n_host);
}

/* It was compiled before, when it was read. */
static bool compile_regex(const struct conf_check *from, struct service_check *check)
{
    char error[PATTERN_ERROR_MAX];

    if (!from->is_regex)
        return true;
    check->regex = malloc(sizeof(*check->regex));
    if (check->regex && pattern_compile(check->regex, from->expect, error))
        return true;
    free(check->regex);
    check->regex = NULL;
    return false;
}

/* `send` asks in the way that clients do; one that can be both is told from its kind. */
static bool speaks_udp(const struct conf_service *from)
{
    switch (from->check.kind) {
    case CONF_CHECK_SEND:
        return conf_transports(from) == CONF_UDP;
    case CONF_CHECK_DNS:
        return conf_transports(from) & CONF_UDP;
    case CONF_CHECK_AUTO:
    case CONF_CHECK_NONE:
    case CONF_CHECK_TCP:
    case CONF_CHECK_HTTP:
    case CONF_CHECK_REDIS:
    case CONF_CHECK_POSTGRES:
    case CONF_CHECK_MYSQL:
    case CONF_CHECK_EXEC:
        break;
    }
    return false;
}

static uint64_t jitter_ns(const struct conf_check *check)
{
    uint64_t interval_ns = check->interval_ms * CLOCK_NS_PER_MS;

    return check->has_jitter ? interval_ns / 100 * check->jitter : interval_ns / CHECK_JITTER_PART;
}

struct service_check *check_new(const struct conf_service *from)
{
    struct service_check *check = calloc(1, sizeof(*check));

    if (!check)
        return NULL;
    *check = (struct service_check){
        .is_probed = conf_is_checked(from),
        .kind = from->check.kind,
        .is_udp = speaks_udp(from),
        .status_min = from->check.status_min,
        .status_max = from->check.status_max,
        .role = from->check.role,
        .fall = from->check.fall,
        .rise = from->check.rise,
        .interval_ns = from->check.interval_ms * CLOCK_NS_PER_MS,
        .timeout_ns = from->check.timeout_ms * CLOCK_NS_PER_MS,
        .fast_ns = from->check.fast_ms * CLOCK_NS_PER_MS,
        .jitter_ns = jitter_ns(&from->check),
        .address = from->check.address,
        .source = from->check.source,
        .port = from->check.port,
        .default_port = from->n_listens > 0 ? addr_port(&from->listens[0].addr) : 0,
    };
    if (copy_texts(&from->check, check) && compile_regex(&from->check, check))
        return check;
    check_free(check);
    return NULL;
}

static bool texts_are_equal(const uint8_t *a, size_t n_a, const uint8_t *b, size_t n_b)
{
    return !a == !b && n_a == n_b && (!a || memcmp(a, b, n_a) == 0);
}

static bool addrs_are_equal(const struct addr *a, const struct addr *b)
{
    return a->sa.sa_family == b->sa.sa_family && (a->sa.sa_family == AF_UNSPEC || addr_equal(a, b));
}

/* The same questions, judged in the same way. */
static bool dialogues_are_equal(const struct service_check *a, const struct service_check *b)
{
    return a->kind == b->kind && a->is_udp == b->is_udp && a->role == b->role &&
           a->status_min == b->status_min && a->status_max == b->status_max &&
           !a->regex == !b->regex && texts_are_equal(a->send, a->n_send, b->send, b->n_send) &&
           texts_are_equal(a->expect, a->n_expect, b->expect, b->n_expect) &&
           texts_are_equal(a->host, a->n_host, b->host, b->n_host);
}

bool check_equal(const struct service_check *a, const struct service_check *b)
{
    return a->is_probed == b->is_probed && a->fall == b->fall && a->rise == b->rise &&
           a->interval_ns == b->interval_ns && a->timeout_ns == b->timeout_ns &&
           a->fast_ns == b->fast_ns && a->jitter_ns == b->jitter_ns && a->port == b->port &&
           a->default_port == b->default_port && addrs_are_equal(&a->address, &b->address) &&
           addrs_are_equal(&a->source, &b->source) && dialogues_are_equal(a, b);
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
        .all_down = from->all_down,
        .hold_ns = from->hold_ms * CLOCK_NS_PER_MS,
        .hold_max = from->hold_max,
        .has_limits = conf_has_limits(from),
        .queue_ns = from->queue.timeout_ms * CLOCK_NS_PER_MS,
        .queue_max = from->queue.max,
        .on_down = from->on_down,
        .on_up = from->on_up,
        .evict = from->evict,
        .slow_start_ns = from->slow_start_ms * CLOCK_NS_PER_MS,
        .guard = guard_plan_from(&from->guard),
        .logs_access = from->access.state == CONF_ACCESS_ON,
        .access_ns = from->access.interval_ms * CLOCK_NS_PER_MS,
        .access = from->rules.map,
        .refuse = from->rules.refuse,
        .affinity = {.lasts_ns = from->affinity.ms * CLOCK_NS_PER_MS,
                     .prefix4 = from->affinity.prefix4,
                     .prefix6 = from->affinity.prefix6},
    };
}
