/* How fast the bytes of a connection or a UDP session move: what has moved since it was last looked
 * at. Looks may come from several who do not know of each other: one that follows another within
 * METER_LEAST_MS gets what that one found.
 *
 * Most are never looked at: the memory comes with the first look, to a pointer of the owner, who
 * frees it with meter_free(). Thread: the worker. */
#ifndef LB4_RELAY_METER_H
#define LB4_RELAY_METER_H

#include <stdint.h>

enum { METER_LEAST_MS = 250 }; /* chosen: two who look once a second are both told well */

/* In = from the client. */
struct meter {
    uint64_t looked_ns;
    uint64_t bytes_in; /* there were then */
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

/* Of the first METER_LEAST_MS of its life a connection is told what it has moved over that time.
 * *meter: NULL at the begin. No memory: it has not been looked at, for whoever looks next. */
struct meter_rate meter_look(struct meter **meter, const struct meter_count *count,
                             uint64_t now_ns);

/* Its owner ends, or begins anew. */
void meter_free(struct meter **meter);

#endif
