#include "lb4/base/log_ring.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct log_ring *log_ring_new(const char *name)
{
    struct log_ring *ring = malloc(sizeof(*ring));

    if (!ring)
        return NULL;
    ring->next = NULL;
    snprintf(ring->name, sizeof(ring->name), "%s", name);
    atomic_init(&ring->head, 0);
    atomic_init(&ring->tail, 0);
    atomic_init(&ring->dropped, 0);
    ring->dropped_told = 0;
    atomic_init(&ring->mark, 0);
    return ring;
}

static size_t copy_in(struct log_ring *ring, size_t at, const void *from, size_t n)
{
    size_t start = at % LOG_RING_BYTES;
    size_t first = n < LOG_RING_BYTES - start ? n : LOG_RING_BYTES - start;

    memcpy(ring->bytes + start, from, first);
    memcpy(ring->bytes, (const char *)from + first, n - first);
    return at + n;
}

static size_t copy_out(const struct log_ring *ring, size_t at, void *to, size_t n)
{
    size_t start = at % LOG_RING_BYTES;
    size_t first = n < LOG_RING_BYTES - start ? n : LOG_RING_BYTES - start;

    memcpy(to, ring->bytes + start, first);
    memcpy((char *)to + first, ring->bytes, n - first);
    return at + n;
}

/* How much a record finds free: debug lines leave half, as a flood of them must not push out what
 * is told at any level. */
static size_t room_for(const struct log_record *record, size_t used)
{
    size_t kept = record->level == LOG_LEVEL_DEBUG ? LOG_RING_BYTES / 2 : 0;

    return used + kept < LOG_RING_BYTES ? LOG_RING_BYTES - used - kept : 0;
}

/* Head and the count are sequentially consistent for log_writer_wake(). */
void log_ring_put(struct log_ring *ring, const struct log_record *record, const char *bytes,
                  const char *rest, size_t n_rest)
{
    size_t at = atomic_load_explicit(&ring->head, memory_order_relaxed);
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);

    assert(record->n_bytes <= LOG_PAYLOAD_MAX && n_rest <= record->n_bytes);
    if (room_for(record, at - tail) < sizeof(*record) + record->n_bytes) {
        atomic_fetch_add(&ring->dropped, 1);
        return;
    }
    at = copy_in(ring, at, record, sizeof(*record));
    at = copy_in(ring, at, bytes, record->n_bytes - n_rest);
    if (n_rest > 0)
        at = copy_in(ring, at, rest, n_rest);
    atomic_store(&ring->head, at);
}

bool log_ring_has_room(const struct log_ring *ring)
{
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);

    return atomic_load_explicit(&ring->head, memory_order_relaxed) - tail < LOG_RING_BYTES / 4;
}

bool log_ring_take(struct log_ring *ring, size_t head, struct log_record *ret,
                   char bytes[static LOG_PAYLOAD_MAX])
{
    size_t at = atomic_load_explicit(&ring->tail, memory_order_relaxed);

    if (head - at - 1 >= LOG_RING_BYTES) /* equal, or passed */
        return false;
    at = copy_out(ring, at, ret, sizeof(*ret));
    at = copy_out(ring, at, bytes, ret->n_bytes);
    atomic_store_explicit(&ring->tail, at, memory_order_release);
    return true;
}

void log_rings_add(struct log_rings *rings, struct log_ring *ring)
{
    ring->next = atomic_load(&rings->first);
    while (!atomic_compare_exchange_weak(&rings->first, &ring->next, ring))
        continue;
}

void log_rings_free(struct log_rings *rings)
{
    struct log_ring *ring;

    while ((ring = atomic_load(&rings->first))) {
        atomic_store(&rings->first, ring->next);
        free(ring);
    }
}

bool log_rings_have_records(struct log_rings *rings)
{
    for (struct log_ring *ring = atomic_load(&rings->first); ring; ring = ring->next)
        if (atomic_load(&ring->head) != atomic_load(&ring->tail))
            return true;
    return false;
}

bool log_rings_have_untold(struct log_rings *rings)
{
    for (struct log_ring *ring = atomic_load(&rings->first); ring; ring = ring->next)
        if (atomic_load(&ring->dropped) != ring->dropped_told)
            return true;
    return false;
}

uint64_t log_rings_dropped(struct log_rings *rings)
{
    uint64_t n = 0;

    for (struct log_ring *ring = atomic_load(&rings->first); ring; ring = ring->next)
        n += atomic_load_explicit(&ring->dropped, memory_order_relaxed);
    return n;
}

void log_rings_mark(struct log_rings *rings)
{
    for (struct log_ring *ring = atomic_load(&rings->first); ring; ring = ring->next)
        atomic_store(&ring->mark, atomic_load(&ring->head));
}
