/* What is written to a server now and then: several bits of its standing at once, clients' trouble
 * with it, and that its connections are to leave. */
#ifndef LB4_SHARED_BACKEND_WRITE_H
#define LB4_SHARED_BACKEND_WRITE_H

#include "lb4/shared/service.h"
#include "lb4/shared/service_table.h"

/* Put other bits in the place of those of the mask; the others stay. */
static inline void backend_replace(struct backend *backend, uint32_t mask, uint32_t bits)
{
    uint32_t before = backend_standing(backend);

    while (
        !atomic_compare_exchange_weak(&backend->slot->standing, &before, (before & ~mask) | bits))
        continue;
}

static inline void backend_configure(struct backend *backend, uint32_t weight_and_tier)
{
    backend_replace(backend, PICK_WEIGHT_MASK | PICK_TIER_MASK, weight_and_tier);
}

/* The prober's: 1..31 as pick_part() tells, PICK_PART_LEVEL, or 0. */
static inline void backend_set_part(struct backend *backend, uint32_t part)
{
    backend_replace(backend, PICK_LEVEL | UINT32_MAX << PICK_RAMP_SHIFT,
                    part == PICK_PART_LEVEL ? PICK_LEVEL : part << PICK_RAMP_SHIFT);
}

/* --- trouble: a client could not reach it, or was reset without an answer. Workers count each, the
 * prober decides what that means (evict). One that was begun before the server came back, at
 * back_ns, speaks of the time before. */

static inline void backend_note_trouble(struct backend *backend, uint64_t begun_ns)
{
    if (begun_ns >= atomic_load_explicit(&backend->back_ns, memory_order_relaxed))
        atomic_fetch_add_explicit(&backend->n_troubles, 1, memory_order_relaxed);
}

static inline uint32_t backend_troubles(const struct backend *backend)
{
    return atomic_load_explicit(&backend->n_troubles, memory_order_relaxed);
}

/* The prober: it is back. */
static inline void backend_note_back(struct backend *backend, uint64_t now_ns)
{
    atomic_store_explicit(&backend->back_ns, now_ns, memory_order_relaxed);
}

/* --- farewell: from some time on control resets what connections it has. The prober says so, and
 * may take it back; control ends it. One word: the time, and why. */

enum backend_farewell { FAREWELL_DOWN, FAREWELL_RELIEVED };

static inline uint64_t backend_farewell(const struct backend *backend)
{
    return atomic_load_explicit(&backend->farewell, memory_order_acquire);
}

static inline uint64_t farewell_word(uint64_t at_ns, enum backend_farewell why)
{
    return at_ns << 1 | (uint64_t)why;
}

static inline uint64_t farewell_at_ns(uint64_t word)
{
    return word >> 1;
}

static inline enum backend_farewell farewell_why(uint64_t word)
{
    return (enum backend_farewell)(word & 1);
}

/* 0 = it may keep its connections. */
static inline void backend_set_farewell(struct backend *backend, uint64_t word)
{
    atomic_store_explicit(&backend->farewell, word, memory_order_release);
}

/* Control: done, unless the prober has said something else since. */
static inline void backend_end_farewell(struct backend *backend, uint64_t word)
{
    atomic_compare_exchange_strong(&backend->farewell, &word, 0);
}

/* The number grows with each farewell of any server. */
static inline uint64_t service_table_farewells(const struct service_table *table)
{
    return atomic_load_explicit(&table->n_farewells, memory_order_acquire);
}

static inline void service_table_note_farewell(struct service_table *table)
{
    atomic_fetch_add_explicit(&table->n_farewells, 1, memory_order_release);
}

#endif
