/* How fast the bytes of a connection or a UDP session move: what has moved since it was last looked
 * at. Looks may come from several who do not know of each other: one that follows another within
 * METER_LEAST_MS gets what that one found. Pure. Thread: the worker. */
#ifndef LB4_RELAY_METER_H
#define LB4_RELAY_METER_H

#include <stdint.h>

enum { METER_LEAST_MS = 250 }; /* chosen: two who look once a second are both told well */

/* All zero at the begin. In = from the client. */
struct meter {
    uint64_t looked_ns; /* 0 = never */
    uint64_t bytes_in;  /* there were then */
    uint64_t bytes_out;
    uint64_t in_per_s; /* bytes, before that */
    uint64_t out_per_s;
};

/* What there is to measure now. */
struct meter_count {
    uint64_t began_ns; /* the connection */
    uint64_t bytes_in; /* since it began */
    uint64_t bytes_out;
};

struct meter_rate {
    uint64_t in_per_s;
    uint64_t out_per_s;
};

/* Of the first METER_LEAST_MS of its life a connection is told what it has moved over that time. */
struct meter_rate meter_look(struct meter *meter, const struct meter_count *count, uint64_t now_ns);

#endif
