/* What the log is told about a server's changes, and about the loss of a whole service. Part of the
 * prober's thread. */
#ifndef LB4_PROBE_BULLETIN_H
#define LB4_PROBE_BULLETIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/probe/prober.h"
#include "lb4/shared/state_event.h"

/* What a change is told with. */
struct bulletin {
    enum health_outcome outcome;
    bool was_usable;
    bool is_first; /* the first probe, before which nothing was known */
    const char *reason;
    const char *hint;
    uint64_t before_ns;  /* since when the state before had lasted */
    uint64_t flapped_ns; /* since when it was flapping; 0 = it was not */
    uint64_t now_ns;
};

/* Nothing for HEALTH_NOTHING. */
void bulletin_report(const struct probe *probe, enum health_report report,
                     const struct bulletin *change);

/* Of the whole service, if it has become lost, or is so no more. Servers that flap would fill the
 * log here, too: the loss of all is told once in a hold. */
void bulletin_service(struct prober *prober, const struct probe *probe, uint64_t hold_ns,
                      uint64_t now_ns);

/* Of a server: what it is now, and since when it was what it was before. */
struct state_event bulletin_event(const struct probe *probe, const char *state, const char *why,
                                  uint64_t lasted_ns);

/* Servers of the service: those that are usable, and all. */
size_t bulletin_count_up(const struct service *service);
size_t bulletin_count_all(const struct service *service);

#endif
