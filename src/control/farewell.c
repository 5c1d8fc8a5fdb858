#include "lb4/control/farewell.h"

#include "lb4/base/clock.h"
#include "lb4/base/log.h"
#include "lb4/shared/backend_write.h"

static const uint64_t AGAIN_NS = 1 * 1000000ull; /* another sweep has the workers' ear; chosen: the
                                                    time of one of its pieces */

void farewell_init(struct farewell *farewell, struct runtime *runtime,
                   const struct sweeper *operators)
{
    *farewell = (struct farewell){.runtime = runtime, .due_ns = UINT64_MAX};
    sweeper_init(&farewell->sweeper, runtime);
    farewell->sweeper.other = operators;
}

void farewell_fini(struct farewell *farewell)
{
    sweeper_fini(&farewell->sweeper);
}

/* --- who is next ------------------------------------------------------------------------------ */

/* Is its time over? Else due_ns is not later than it. */
static bool is_due(struct farewell *farewell, const struct backend *backend, uint64_t now_ns)
{
    uint64_t word = backend_farewell(backend);

    if (word == 0)
        return false;
    if (farewell_at_ns(word) <= now_ns)
        return true;
    if (farewell_at_ns(word) < farewell->due_ns)
        farewell->due_ns = farewell_at_ns(word);
    return false;
}

static bool find_in(struct farewell *farewell, struct service *service, uint64_t now_ns)
{
    for (size_t i = 0; service->is_used && i < service->n_places; i++) {
        struct backend *backend = &service->backends[i];

        if (backend->state == BACKEND_NONE || !is_due(farewell, backend, now_ns))
            continue;
        farewell->service = service;
        farewell->backend = backend;
        farewell->word = backend_farewell(backend);
        return true;
    }
    return false;
}

static bool find_next(struct farewell *farewell, uint64_t now_ns)
{
    const struct service_table *table = &farewell->runtime->services;

    farewell->due_ns = UINT64_MAX;
    for (size_t i = 0; i < table->n_services; i++)
        if (find_in(farewell, &table->services[i], now_ns))
            return true;
    return false;
}

/* --- the sweep -------------------------------------------------------------------------------- */

static void begin(struct farewell *farewell, uint64_t now_ns)
{
    bool is_down = farewell_why(farewell->word) == FAREWELL_DOWN;

    farewell->sweep = sweeper_end(&farewell->sweeper, farewell->backend,
                                  is_down ? CLOSE_SERVER_DOWN : CLOSE_ADMIN);
    if (farewell->sweep == 0)
        farewell->due_ns = now_ns + AGAIN_NS;
    if (farewell->sweep >= 0)
        return;
    log_warn("server %s/%s: no memory for the end of its connections; they stay",
             farewell->service->name, farewell->backend->name);
    backend_end_farewell(farewell->backend, farewell->word);
    farewell->sweep = 0;
    farewell->due_ns = now_ns;
}

static void tell(const struct farewell *farewell, size_t n_ended, uint64_t now_ns)
{
    bool is_down = farewell_why(farewell->word) == FAREWELL_DOWN;

    log_info("server %s/%s: %s: %zu connections were reset, the last %.1f ms after their time",
             farewell->service->name, farewell->backend->name,
             is_down ? "it is down (on-down)" : "better ones are back (on-up)", n_ended,
             (double)(now_ns - farewell_at_ns(farewell->word)) / (double)CLOCK_NS_PER_MS);
}

static void finish(struct farewell *farewell, uint64_t now_ns)
{
    size_t n_ended = sweeper_n_ended(&farewell->sweeper);

    if (n_ended > 0)
        tell(farewell, n_ended, now_ns);
    backend_end_farewell(farewell->backend, farewell->word);
    sweeper_release(&farewell->sweeper);
    farewell->sweep = 0;
    farewell->due_ns = now_ns;
}

/* The prober may take its word back between two pieces: what is left by then stays. */
static bool is_taken_back(const struct farewell *farewell)
{
    return backend_farewell(farewell->backend) != farewell->word &&
           runtime_has_answered(farewell->runtime, farewell->sweeper.asked);
}

static void go_on(struct farewell *farewell, uint64_t now_ns)
{
    if (is_taken_back(farewell)) {
        finish(farewell, now_ns);
        return;
    }
    sweeper_go_on(&farewell->sweeper, farewell->sweep, now_ns);
    if (sweeper_is_over(&farewell->sweeper, farewell->sweep))
        finish(farewell, now_ns);
}

void farewell_step(struct farewell *farewell, uint64_t now_ns)
{
    uint64_t n_told = service_table_farewells(&farewell->runtime->services);

    if (farewell->sweep > 0)
        go_on(farewell, now_ns);
    if (farewell->sweep > 0)
        return;
    if (n_told == farewell->n_told && now_ns < farewell->due_ns)
        return;
    farewell->n_told = n_told;
    if (find_next(farewell, now_ns))
        begin(farewell, now_ns);
}

/* While a sweep is under way the workers' answers are what control waits for. */
uint64_t farewell_due_ns(const struct farewell *farewell)
{
    return farewell->sweep > 0 ? UINT64_MAX : farewell->due_ns;
}
