#include "lb4/shared/capacity.h"

void capacity_init(struct capacity *capacity, uint32_t limit)
{
    atomic_init(&capacity->used, 0);
    atomic_init(&capacity->limit, limit);
}

void capacity_set_limit(struct capacity *capacity, uint32_t limit)
{
    atomic_store_explicit(&capacity->limit, limit, memory_order_relaxed);
}

uint32_t capacity_limit(const struct capacity *capacity)
{
    return atomic_load_explicit(&capacity->limit, memory_order_relaxed);
}

/* Add first and take back when it was too much: one locked instruction on the usual path. Two
 * workers that collide at the limit may both be refused for an instant; neither gets beyond it. */
bool capacity_acquire(struct capacity *capacity)
{
    uint32_t before = atomic_fetch_add_explicit(&capacity->used, 1, memory_order_relaxed);

    if (before < capacity_limit(capacity))
        return true;
    capacity_release(capacity);
    return false;
}

void capacity_release(struct capacity *capacity)
{
    atomic_fetch_sub_explicit(&capacity->used, 1, memory_order_relaxed);
}

uint32_t capacity_used(const struct capacity *capacity)
{
    return atomic_load_explicit(&capacity->used, memory_order_relaxed);
}
