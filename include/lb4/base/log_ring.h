/* The records that one thread has for the log: bounded, one producer, one consumer (the writer). A
 * full ring drops the record and counts it; one half full does so with debug lines. */
#ifndef LB4_BASE_LOG_RING_H
#define LB4_BASE_LOG_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/log_format.h"

enum {
    LOG_RING_BYTES = 128 * 1024, /* a power of two; chosen: some 1,000 ends of connections, or 1,000
                                    servers that go down together */
    LOG_NAME_BYTES = 16,         /* pthread_setname_np(3) */
    LOG_PAYLOAD_MAX = 2560       /* a packed event and its sentence */
};

struct log_ring {
    struct log_ring *next; /* constant once the ring is on the writer's list */
    char name[LOG_NAME_BYTES];
    _Atomic size_t head;      /* producer; counts bytes for ever, as tail does */
    _Atomic size_t tail;      /* writer; release, so that the producer may overwrite */
    _Atomic uint64_t dropped; /* producer: records for which there was no room */
    uint64_t dropped_told;    /* writer */
    _Atomic size_t mark;      /* a head, see log_rings_mark() */
    char bytes[LOG_RING_BYTES];
};

/* NULL: no memory. free(3) it. */
struct log_ring *log_ring_new(const char *name);

/* The producer. `rest` goes behind `bytes`; together they are record->n_bytes. */
void log_ring_put(struct log_ring *ring, const struct log_record *record, const char *bytes,
                  const char *rest, size_t n_rest);
/* Is less than a quarter of it taken? While debug lines alone come, no more than half ever is. */
bool log_ring_has_room(const struct log_ring *ring);

/* The writer: the next record before `head`, which is what the ring's head once was, and may be
 * passed already; false: there is none. */
bool log_ring_take(struct log_ring *ring, size_t head, struct log_record *ret,
                   char bytes[static LOG_PAYLOAD_MAX]);

/* The rings of all threads: any thread adds one, none is taken away before the end. */
struct log_rings {
    _Atomic(struct log_ring *) first;
};

void log_rings_add(struct log_rings *rings, struct log_ring *ring);
/* All threads have ended. */
void log_rings_free(struct log_rings *rings);
uint64_t log_rings_dropped(struct log_rings *rings);
/* From now on each mark is where its ring's head is. One thread at a time. */
void log_rings_mark(struct log_rings *rings);
/* The writer. Sequentially consistent, see log_writer_wake(). */
bool log_rings_have_records(struct log_rings *rings);
bool log_rings_have_untold(struct log_rings *rings);

#endif
