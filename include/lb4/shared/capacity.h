/* How many connections the process may hold at once, over all workers: maxconn.
 *
 * A place is taken before accept4(2) and given back when the connection object ends, so that the
 * limit is exact. */
#ifndef LB4_SHARED_CAPACITY_H
#define LB4_SHARED_CAPACITY_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct capacity {
    alignas(64) _Atomic uint32_t used;
    uint32_t limit; /* constant once workers run */
};

void capacity_init(struct capacity *capacity, uint32_t limit);

/* Any worker. false: full; nothing was taken. */
bool capacity_acquire(struct capacity *capacity);
void capacity_release(struct capacity *capacity);

uint32_t capacity_used(const struct capacity *capacity);

#endif
