/* A rate with a burst, over all threads, in one word (the generic cell rate algorithm, ITU-T I.371,
 * as a virtual schedule).
 *
 * The word is the time at which all that was let in is paid off, each for one interval; what lies
 * in the future is a debt, of at most `burst` intervals. All zero: nothing is owed, which is also
 * what remains after a silence, however long. Who is refused owes nothing for it. Lock-free. */
#ifndef LB4_SHARED_RATE_H
#define LB4_SHARED_RATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lb4/conf/guard.h"

typedef _Atomic uint64_t rate_debt; /* ns of the monotonic clock */

struct rate {
    uint64_t interval_ns; /* that one pays for; 0 = no limit */
    uint64_t burst_ns;    /* the most that may be owed: burst * interval_ns */
};

struct rate rate_from(const struct conf_rate *conf);

/* Let in up to `n`; returns how many, 0 = none. Any thread; `now_ns` may be that of its turn. */
uint32_t rate_take(const struct rate *rate, rate_debt *debt, uint64_t now_ns, uint32_t n);
/* They are in already: they are owed for, up to the burst. */
void rate_charge(const struct rate *rate, rate_debt *debt, uint64_t now_ns, uint32_t n);

/* How many would be let in now. */
uint32_t rate_room(const struct rate *rate, const rate_debt *debt, uint64_t now_ns);
/* The same of a debt that was read before. */
uint32_t rate_room_at(const struct rate *rate, uint64_t debt_ns, uint64_t now_ns);

#endif
