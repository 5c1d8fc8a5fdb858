/* Clients of one service that wait, over all workers: for a server, as none is usable (`all-down
 * hold`), or for a place on one, as all have as many connections as they may (`maxconn`).
 *
 * Each worker keeps its clients to itself, in order; here is how many wait, where, and whom to
 * wake. Nobody is missed:
 *
 *    who waits            marks its worker; counts itself; then looks for a server once more,
 * unless others wait already who frees a place    frees it; reads the count; wakes the worker whose
 * client waits longest whose last one goes  takes off its mark; counts it off; wakes the next if
 * others wait
 *
 * The count is one word, each of these steps a read-modify-write of it (acquire and release): one
 * of two threads comes second there, and sees all that the other did before. So while a place is
 * free and somebody waits, a wake is on its way to a worker that is marked. Workers wake others
 * only by mailboxes. */
#ifndef LB4_SHARED_WAITING_H
#define LB4_SHARED_WAITING_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/conf/bounds.h"
#include "lb4/shared/mailbox.h"
#include "lb4/shared/stats_waiting.h"

struct service;

enum waiting_for { WAITING_SERVER, WAITING_PLACE };

/* Since when the oldest client of one service waits at one worker, which alone writes it; 0 =
 * nobody does. */
struct waiting_mark {
    _Atomic uint64_t since_ns;
};

/* Release: who sees the mark finds the client in the count, or comes before it. */
static inline void waiting_mark_since(struct waiting_mark *mark, uint64_t since_ns)
{
    atomic_store_explicit(&mark->since_ns, since_ns, memory_order_release);
}

/* Whom to wake. Written before threads run. */
struct waiting_crew {
    size_t n;
    struct {
        struct mailbox *mailbox;          /* gets MAILBOX_WAITING */
        const struct waiting_mark *marks; /* by service->index */
    } members[CONF_WORKERS_MAX];
};

void waiting_crew_join(struct waiting_crew *crew, struct mailbox *mailbox,
                       const struct waiting_mark *marks);

/* Part of a service; all zero but for the crew = nobody waits. */
struct waiting {
    alignas(64) _Atomic uint64_t counts; /* 32 bits for each enum waiting_for */
    _Atomic uint32_t era;                /* how often servers have changed their standing */
    const struct waiting_crew *crew;     /* NULL in tests that wake nobody */

    /* What is told of a hold when it is over; relaxed. */
    _Atomic uint64_t held_since_ns; /* 0 = no hold */
    _Atomic uint32_t n_held[WAITING_ENDS];
};

/* How many wait now; of one kind, or any. */
uint32_t waiting_count(const struct waiting *waiting, enum waiting_for what);
static inline bool waiting_is_any(const struct waiting *waiting)
{
    return atomic_load_explicit(&waiting->counts, memory_order_relaxed) != 0;
}

enum waiting_entry {
    WAITING_REFUSED, /* `max` of this kind wait already; exact over all workers */
    WAITING_FIRST,   /* look for a server once more */
    WAITING_BEHIND   /* others wait; whoever wakes them will come to this one */
};

/* One more waits. The worker is marked. */
enum waiting_entry waiting_enter(struct waiting *waiting, enum waiting_for what, uint32_t max);
/* It waits no more. Returns how many others do. */
uint64_t waiting_leave(struct waiting *waiting, enum waiting_for what);
/* One that waits for a place waits for a server from now on. false: `max` of them do. */
bool waiting_move_to_server(struct waiting *waiting, uint32_t max);

/* Changes of standing so far. One that read it before it began to try servers, and finds another
 * number after waiting_enter(), tries all of them anew. */
static inline uint32_t waiting_era(const struct waiting *waiting)
{
    return atomic_load_explicit(&waiting->era, memory_order_acquire);
}

/* A place is free, or a worker that was woken has nobody left: wake the one whose client waits
 * longest; under `source`, where each waits for a server of its own, wake all. Any thread. */
void waiting_wake_next(struct service *service);

/* A server has another standing, or the service another plan: all look anew. Any thread. */
void waiting_wake_all(struct service *service);

/* Is there no server that is usable and above suspicion? */
bool waiting_is_lost(const struct service *service);
/* Has the service left the configuration? One that has no servers may get some, by its names. */
bool waiting_is_deserted(const struct service *service);

/* A hold begins with the first client that waits for a server while none is usable, and is over
 * when one is and nobody waits: each is told once. */
void waiting_tell_begin(struct service *service, uint64_t now_ns, uint64_t hold_ns);
void waiting_note_end(struct waiting *waiting, enum waiting_end end);
void waiting_tell_end(struct service *service, uint64_t now_ns);

#endif
