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
    _Atomic uint32_t limit; /* control sets it */
};

void capacity_init(struct capacity *capacity, uint32_t limit);

/* Control. A lower limit than what is in use takes nothing away. */
void capacity_set_limit(struct capacity *capacity, uint32_t limit);
uint32_t capacity_limit(const struct capacity *capacity);

/* Any worker. false: full; nothing was taken. */
bool capacity_acquire(struct capacity *capacity);
void capacity_release(struct capacity *capacity);

uint32_t capacity_used(const struct capacity *capacity);

#endif
