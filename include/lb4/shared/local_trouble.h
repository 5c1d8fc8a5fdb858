/* Connects to servers that came to nothing for reasons of this machine's own: they say nothing
 * about the server. */
#ifndef LB4_SHARED_LOCAL_TROUBLE_H
#define LB4_SHARED_LOCAL_TROUBLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lb4/base/origin.h"
#include "lb4/shared/counter.h"

enum local_cause {
    LOCAL_PORTS,       /* no local port is left towards the server */
    LOCAL_SOURCE,      /* no source is this machine's, of the server's family, or on a way to it */
    LOCAL_INTERFACE,   /* the interface is not there */
    LOCAL_DESCRIPTORS, /* none is left */
    LOCAL_MEMORY,
    LOCAL_FORBIDDEN, /* a packet filter, a security module; a mark without the capability */
    LOCAL_OTHER,
    LOCAL_CAUSES
};

/* "ports", "source" ...: the vocabulary of counters and tests. */
const char *local_cause_word(enum local_cause cause);

/* Of an errno of either sign that sock_connect_error_is_local() is true for. */
enum local_cause local_cause_of(int error, enum origin_step step);

struct stats_local {
    stats_counter errors[LOCAL_CAUSES];
};

struct stats_local_sum {
    uint64_t errors[LOCAL_CAUSES];
};

/* Add one worker's to the sum. */
void stats_add_local(const struct stats_local *from, struct stats_local_sum *sum);
void stats_carry_local(struct stats_local_sum *to, const struct stats_local_sum *from);

/* A line of the log about it is due once in LOCAL_SAY_NS, of all workers together. Zero: none was
 * said. */
struct local_say {
    _Atomic uint64_t said_ns;
};

static const uint64_t LOCAL_SAY_NS = 10 * 1000000000ull; /* chosen, as of pauses in accepting */

/* true: it is this thread's to say. */
bool local_say_is_due(struct local_say *say, uint64_t now_ns);

#endif
