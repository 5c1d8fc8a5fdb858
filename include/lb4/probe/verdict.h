/* What an outcome means: it goes into the server's health, from there into the standing that
 * workers read, and changes are logged with their reason and how long the state before had lasted.
 *
 * Of the prober's thread, and part of it: split off for size. */
#ifndef LB4_PROBE_VERDICT_H
#define LB4_PROBE_VERDICT_H

#include <stddef.h>
#include <stdint.h>

#include "lb4/probe/prober.h"

enum { VERDICT_DURATION_MAX = 32 }; /* bytes, with the NUL */

/* "340ms", "12.3s", "4m5s", "3h2m", "12d3h", cut, not rounded, into `text`; returns `text`. */
const char *verdict_duration(uint64_t duration_ns, char text[static VERDICT_DURATION_MAX]);

/* The probe's attempt, begun at started_ns, has this outcome. Sets and clears PICK_DOWN, sets
 * PICK_FRESH (and unmark_ns, its end), clears PICK_SUSPECT if it was noticed before the attempt
 * began, and PICK_NEW; counts, logs, and writes the server's note. */
void verdict_take(struct prober *prober, struct probe *probe, enum health_outcome outcome,
                  uint64_t now_ns);

/* What clients have met has decided (probe/evict.h): told like an outcome, with this reason. The
 * standing, and the note, are the caller's. */
void verdict_decide(struct prober *prober, struct probe *probe, bool is_usable, const char *reason,
                    uint64_t now_ns);

/* It takes no clients from now on: marks that say in which order it does go. */
void verdict_clear_marks(struct probe *probe);

/* Of the probe's service: rise, fall, interval. */
struct health_rules verdict_rules(const struct probe *probe);

/* Its first probe is over, or there will be none. */
void verdict_note_judged(struct prober *prober, struct probe *probe);

/* It is looked at from now on: what there is to say about a server that nobody has looked at. */
void verdict_begin(struct probe *probe, uint64_t now_ns);

/* It comes out of maintenance: what was known of it does not count, and the next outcome decides
 * alone. */
void verdict_begin_anew(struct probe *probe);

#endif
