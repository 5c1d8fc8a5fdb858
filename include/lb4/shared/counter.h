/* One counter: a single thread adds, any thread reads. No locked instruction. */
#ifndef LB4_SHARED_COUNTER_H
#define LB4_SHARED_COUNTER_H

#include <stdatomic.h>
#include <stdint.h>

typedef _Atomic uint64_t stats_counter;

/* Thread: the counter's writer. */
static inline void stats_add(stats_counter *counter, uint64_t n)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);

    /* Release, so that a reader who sees a close has seen the opening before it. */
    atomic_store_explicit(counter, value + n, memory_order_release);
}

/* Where it is no count, but how many there are now. Thread: the writer. */
static inline void stats_set(stats_counter *counter, uint64_t n)
{
    atomic_store_explicit(counter, n, memory_order_relaxed);
}

/* Its counting begins anew. Thread: the writer, or another when there is no writer any more. */
static inline void stats_zero(stats_counter *counter)
{
    atomic_store_explicit(counter, 0, memory_order_relaxed);
}

static inline uint64_t stats_read(const stats_counter *counter)
{
    return atomic_load_explicit(counter, memory_order_acquire);
}

#endif
