/* What is known of each source of one service's clients, shared by all workers: how many of it are
 * in, what it owes to its rates, its refusals, whether it is banned.
 *
 * A table of fixed size, hashed with a secret: sets of SOURCES_WAYS sources each. Memory comes with
 * use, and never more than sizeof(struct source_set) for each set: 640 bytes. Lock-free: whoever is
 * stopped in the middle of anything holds up nobody (sources.c).
 *
 * What says something is never forgotten for a stranger: a source that has clients, a debt, or a
 * ban keeps its place, so that a flood of sources disarms no limit. Counts of refusals that led to
 * no ban yet are forgotten if nothing else can be. When all of a set say something, its strangers
 * share one more entry as if they were one source, and are never banned together. Until the last
 * one of these has left, further strangers of the set join them: nobody has two allowances. */
#ifndef LB4_SHARED_SOURCES_H
#define LB4_SHARED_SOURCES_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/siphash.h"
#include "lb4/shared/rate.h"
#include "lb4/shared/source_key.h"

enum {
    SOURCES_WAYS = 8,
    SOURCES_SETS_MIN = 1024,      /* 8,192 sources, 640 KiB; chosen */
    SOURCES_SETS_MAX = 131072,    /* 1,048,576 sources, 80 MiB; chosen */
    SOURCES_CLIENTS_AUTO = 131072 /* where maxconn is auto: 524,288 sources, 40 MiB; chosen */
};

struct source_entry {
    alignas(64) _Atomic uint64_t state; /* sources.c */
    _Atomic uint64_t net[2];
    _Atomic uint64_t kind;
    rate_debt arrivals;
    rate_debt datagrams;
    _Atomic uint64_t banned_ns; /* until then; what has passed is none */
    _Atomic uint64_t refused;   /* how many, and until when they count; sources.c */
};

struct source_set {
    alignas(64) _Atomic uint64_t header; /* sources.c */
    _Atomic uint64_t banned_ns;          /* none of it is banned longer */
    struct source_entry shared;
    struct source_entry ways[SOURCES_WAYS];
};

struct sources {
    struct siphash_key key;
    struct source_set *sets;
    size_t n_sets;
    _Atomic uint64_t n_tracked; /* places in use */
    _Atomic uint64_t n_evicted; /* sources that were forgotten for others */
    _Atomic uint64_t n_shared;  /* times that a stranger found no place */
    _Atomic uint64_t banned_ns; /* nobody is banned longer */
};

/* For so many clients at once: with each from another source hardly a set is full. NULL: no memory,
 * no randomness. Thread: control. */
struct sources *sources_new(uint64_t n_clients);
void sources_free(struct sources *sources); /* NULL is fine */

/* The source, or the shared entry of its set; pinned, so that it stays until source_unpin() or
 * source_take(). Any thread, and at most 1,000 of them. */
struct source_entry *sources_enter(struct sources *sources, const struct source_key *key,
                                   uint64_t now_ns);
/* The same without making one; NULL: nothing is known of it. */
struct source_entry *sources_find(struct sources *sources, const struct source_key *key);
void source_unpin(struct source_entry *source);

/* One more of its clients is in, and the pin is off; or false, and still pinned: `limit` are in.
 * 0 = no limit. */
bool source_take(struct source_entry *source, uint32_t limit);
/* ... and out. */
void source_give(struct source_entry *source);
uint32_t source_live(const struct source_entry *source);
bool source_is_shared(const struct sources *sources, const struct source_entry *source);

/* Of one that is pinned. One more refusal within a time from the first: returns how many. */
uint32_t source_note_refusal(struct source_entry *source, uint64_t now_ns, uint64_t within_ns);
uint32_t source_refusals(const struct source_entry *source, uint64_t now_ns);
void sources_ban(struct sources *sources, struct source_entry *source, uint64_t until_ns);
/* For operators, behind a ban: after so many refusals, and the last one's cause, below 16. */
void source_blame(struct source_entry *source, uint32_t n_refused, unsigned cause);
/* The ban, and the refusals. false: it was not banned. */
bool source_pardon(struct source_entry *source, uint64_t now_ns);
static inline bool source_is_banned(const struct source_entry *source, uint64_t now_ns)
{
    return atomic_load_explicit(&source->banned_ns, memory_order_relaxed) > now_ns;
}

/* Those that are banned; a look at each set, if there can be any. */
size_t sources_count_bans(const struct sources *sources, uint64_t now_ns);
/* All bans and refusals; returns how many were banned. */
size_t sources_pardon_all(struct sources *sources, uint64_t now_ns);

/* One of the table, as it is. */
struct source_view {
    struct source_key key;
    uint32_t n_live;
    uint32_t n_refused;   /* that count towards a ban; or, banned, that led to it */
    unsigned cause;       /* banned: see source_blame() */
    uint64_t banned_ns;   /* for so much longer; 0 = not banned */
    uint64_t arrivals_ns; /* a rate_debt, as the next */
    uint64_t datagrams_ns;
};
/* From *at, which begins with 0, the next one of which something is known. false: that was all. */
bool sources_next(const struct sources *sources, uint64_t now_ns, size_t *at,
                  struct source_view *ret);

size_t sources_bytes(const struct sources *sources); /* the most it takes */

#endif
