#include "lb4/shared/rate.h"

#include "lb4/base/clock.h"

/* Turns of threads are apart by less. A debt that is larger than can be owed by more than this is
 * from a time of another rate: so much of it counts that one is let in, whose payment replaces it.
 * Would none be, it stayed: who only looks at the room, and finds none, does not ask further. */
static const uint64_t STALE_NS = 1000 * 1000000ull;

struct rate rate_from(const struct conf_rate *conf)
{
    uint64_t interval_ns = conf->n > 0 ? conf->unit_ms * CLOCK_NS_PER_MS / conf->n : 0;

    return (struct rate){interval_ns, interval_ns * conf->burst};
}

/* From when on the next one has to pay. */
static uint64_t begin_ns(const struct rate *rate, uint64_t debt_ns, uint64_t now_ns)
{
    if (debt_ns < now_ns)
        return now_ns;
    if (debt_ns - now_ns > rate->burst_ns + STALE_NS)
        return now_ns + rate->burst_ns - rate->interval_ns;
    return debt_ns;
}

static uint64_t room(const struct rate *rate, uint64_t from_ns, uint64_t now_ns)
{
    uint64_t owed_ns = from_ns - now_ns;

    return owed_ns < rate->burst_ns ? (rate->burst_ns - owed_ns) / rate->interval_ns : 0;
}

uint32_t rate_take(const struct rate *rate, rate_debt *debt, uint64_t now_ns, uint32_t n)
{
    uint64_t before = atomic_load_explicit(debt, memory_order_relaxed);
    uint64_t from_ns;
    uint64_t n_in;

    if (rate->interval_ns == 0)
        return n;
    do {
        from_ns = begin_ns(rate, before, now_ns);
        n_in = room(rate, from_ns, now_ns);
        if (n_in > n)
            n_in = n;
        if (n_in == 0 && from_ns == before)
            return 0;
    } while (!atomic_compare_exchange_weak_explicit(debt, &before,
                                                    from_ns + n_in * rate->interval_ns,
                                                    memory_order_relaxed, memory_order_relaxed));
    return (uint32_t)n_in;
}

void rate_charge(const struct rate *rate, rate_debt *debt, uint64_t now_ns, uint32_t n)
{
    uint64_t before = atomic_load_explicit(debt, memory_order_relaxed);
    uint64_t after;

    do {
        after = begin_ns(rate, before, now_ns) + n * rate->interval_ns;
        if (after - now_ns > rate->burst_ns)
            after = now_ns + rate->burst_ns;
        if (after <= before)
            return;
    } while (!atomic_compare_exchange_weak_explicit(debt, &before, after, memory_order_relaxed,
                                                    memory_order_relaxed));
}

uint32_t rate_room_at(const struct rate *rate, uint64_t debt_ns, uint64_t now_ns)
{
    if (rate->interval_ns == 0)
        return UINT32_MAX;
    return (uint32_t)room(rate, begin_ns(rate, debt_ns, now_ns), now_ns);
}

uint32_t rate_room(const struct rate *rate, const rate_debt *debt, uint64_t now_ns)
{
    return rate_room_at(rate, atomic_load_explicit(debt, memory_order_relaxed), now_ns);
}
