/* Why a client was not let in. Its close reason (shared/stats.h) is one of two words, `denied` or
 * `limit`; these tell them apart. */
#ifndef LB4_SHARED_REFUSAL_H
#define LB4_SHARED_REFUSAL_H

#include "lb4/shared/counter.h"

enum refusal {
    REFUSAL_DENIED,      /* deny, or no allow */
    REFUSAL_BANNED,      /* for too many refusals before */
    REFUSAL_PEER,        /* an accept-proxy listener, and the peer is not of its networks */
    REFUSAL_HEADER,      /* its PROXY header is wrong */
    REFUSAL_HEADER_LATE, /* ... has not come in time */
    REFUSAL_HEADER_FULL, /* ... is waited for by too many others already */
    REFUSAL_PER_SOURCE,  /* limit per-source */
    REFUSAL_RATE_SOURCE, /* rate per-source */
    REFUSAL_RATE,        /* rate */
    REFUSAL_MAXCONN,     /* maxconn of the service */
    REFUSALS,
    REFUSAL_NONE = REFUSALS /* let in */
};

/* "denied", "banned" ...: the vocabulary of log, counters and tests. "none" for REFUSAL_NONE. */
const char *refusal_word(enum refusal refusal);

struct stats_refusal {
    stats_counter clients[REFUSALS]; /* connections, and first datagrams of UDP sessions */
};

struct stats_refusal_sum {
    uint64_t clients[REFUSALS];
};

/* Add one worker's to the sum. */
void stats_add_refusal(const struct stats_refusal *from, struct stats_refusal_sum *sum);
void stats_carry_refusal(struct stats_refusal_sum *to, const struct stats_refusal_sum *from);
uint64_t stats_refusal_total(const struct stats_refusal_sum *sum);

#endif
