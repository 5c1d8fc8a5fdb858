/* The word that says how a server stands, for all threads. Pure; shared/backend.h has the atomics.
 */
#ifndef LB4_SHARED_STANDING_H
#define LB4_SHARED_STANDING_H

#include <stdint.h>

/* A server's standing, one word: its weight, its priority, what keeps clients away from it, and in
 * the upper five bits its ramp (pick_part()). No flag = a primary in good health. */
enum pick_standing {
    PICK_WEIGHT_MASK = 0x1ff,
    PICK_PRIORITY_SHIFT = 9, /* configured: its priority less 1, 4 bits */
    PICK_PRIORITY_MASK = 0xf << PICK_PRIORITY_SHIFT,
    PICK_LEVEL = 1 << 13,   /* its ramp is over, but it holds less than its part still */
    PICK_FULL = 1 << 14,    /* has as many connections as it may; for TCP clients only, place.h */
    PICK_BACKUP = 1 << 16,  /* configured: serves when no primary is up */
    PICK_DOWN = 1 << 17,    /* by probes: not usable */
    PICK_SUSPECT = 1 << 18, /* a client's connect failed, no probe has answered since */
    PICK_FRESH = 1 << 19,   /* came back a moment ago, see PICK_SPARES_FRESH */
    PICK_DRAIN = 1 << 20,   /* the operator's wish: no new connections */
    PICK_MAINT = 1 << 21,   /* the operator's wish: no new connections, no probes */
    PICK_DOUBT = 1 << 22,   /* a client's connection ended oddly: a wish for a probe, no more */
    PICK_TRIAL = 1 << 23,   /* a suspect that the next client may have as if it were none */
    PICK_PROVEN = 1 << 24,  /* a suspect that has taken a client's connect */
    PICK_NEW = 1 << 25,     /* added while others serve, or back from maintenance: waits for its
                               first probe */
    PICK_GONE = 1 << 26,    /* not in the configuration any more, or nobody is in this place */
    PICK_TIER_MASK = PICK_PRIORITY_MASK | PICK_BACKUP,
    PICK_REFUSED = PICK_DRAIN | PICK_MAINT | PICK_GONE, /* not even as the last resort */
    PICK_UNUSABLE = PICK_DOWN | PICK_NEW | PICK_REFUSED
};

/* Servers of one tier serve together; 0 = priority 1 .. 15 = priority 16, 16 = backup. */
enum { PICK_TIERS = 17 };

static inline uint32_t pick_tier(uint32_t standing)
{
    return standing & PICK_BACKUP
               ? PICK_TIERS - 1
               : (standing & PICK_PRIORITY_MASK) >> (unsigned)PICK_PRIORITY_SHIFT;
}

/* Of one that came back and has not its full share yet (slow-start): how many 32nds of its fair
 * part of the choices may be its, 1..31; 64 = it catches up. 0 = there is no bound. */
enum { PICK_RAMP_SHIFT = 27, PICK_PART_WHOLE = 32, PICK_PART_LEVEL = 64 };

static inline uint32_t pick_part(uint32_t standing)
{
    return standing & PICK_LEVEL ? PICK_PART_LEVEL : standing >> (unsigned)PICK_RAMP_SHIFT;
}

#endif
