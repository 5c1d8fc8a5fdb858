/* Time inside lb4: CLOCK_MONOTONIC in nanoseconds (clock_gettime(2)); wall-clock jumps do not touch
 * it. */
#ifndef LB4_BASE_CLOCK_H
#define LB4_BASE_CLOCK_H

#include <stdint.h>

static const uint64_t CLOCK_NS_PER_MS = 1000000;
static const uint64_t CLOCK_NS_PER_S = 1000000000;

/* Now. A thread with a loop reads it once a turn (loop->now_ns) and not for each connection. */
uint64_t clock_now_ns(void);

/* CLOCK_REALTIME, for people to read. */
uint64_t clock_wall_ns(void);

/* Until then, rounded up; 0 = it has passed. At most 24 days away. */
int clock_remaining_ms(uint64_t deadline_ns);

#endif
