/* A foresight in words: pure text, part of control/why. */
#ifndef LB4_CONTROL_WHY_WORDS_H
#define LB4_CONTROL_WHY_WORDS_H

#include <stddef.h>

#include "lb4/shared/foresee.h"

/* Each with its NUL. */
enum { WHY_SCORE_MAX = 64, WHY_CHANCE_MAX = 16, WHY_TEXT_MAX = 512, WHY_AFFINITY_MAX = 320 };

/* How a server stands by the policy: "2.50", its load (active + 1) / weight; "turn 2, 3 of 7", next
 * but one, and how many turns it has; "place 1", on the way of this client; "3 of 7 turns, load
 * 2.50". "-" if the policy has no tables yet. Returns `text`. */
const char *why_score(const struct foresight *foresight, size_t index,
                      char text[static WHY_SCORE_MAX]);

/* "yes", "no", "33 %", "below 1 %". Returns `text`. */
const char *why_chance(const struct foreseen *server, char text[static WHY_CHANCE_MAX]);

/* Why it would be taken, or would not. `note` is the last word about its state; `taken` the name of
 * one that would be, NULL = nobody. Returns `text`. */
const char *why_reason(const struct foresight *foresight, size_t index, const char *note,
                       const char *taken, char text[static WHY_TEXT_MAX]);

/* Of a service with affinity: what of the client is known, and whether that decides. `server` is
 * the name of the one at affinity.place. Returns `text`. */
const char *why_affinity(const struct foresight *foresight, const char *server,
                         char text[static WHY_AFFINITY_MAX]);

#endif
