/* What the log says of clients that are not let in, at a bounded rate: for each service and cause
 * the first one at once, then, for as long as there are more, one line each ten seconds that sums
 * up. Workers share a note, so that the rate does not grow with them.
 *
 * No worker waits: one that meets another at the same note leaves the address of its client out. */
#ifndef LB4_SHARED_REFUSAL_NOTE_H
#define LB4_SHARED_REFUSAL_NOTE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lb4/base/addr.h"

static const uint64_t REFUSAL_NOTE_NS = 10 * 1000000000ull; /* between two lines; chosen */

struct refusal_note {
    _Atomic uint64_t until_ns; /* nothing is said before; 0 = nothing was ever said */
    _Atomic uint32_t n;        /* clients that nothing was said of */
    _Atomic bool is_busy;      /* `last` is being read or written */
    struct addr last;          /* of them */
};

/* What is to be said. */
struct refusal_told {
    uint32_t n;
    uint64_t over_ns; /* in so much time; 0: it is the first after a quiet time */
    bool has_last;
    struct addr last;
};

/* One more. true: say *ret. */
bool refusal_note_add(struct refusal_note *note, const struct addr *client, uint64_t now_ns,
                      struct refusal_told *ret);
/* Time has passed. true: say *ret. */
bool refusal_note_look(struct refusal_note *note, uint64_t now_ns, struct refusal_told *ret);
/* When to look again; UINT64_MAX: all is said. */
uint64_t refusal_note_due_ns(const struct refusal_note *note);
/* Another service has the place. */
void refusal_note_clear(struct refusal_note *note);

#endif
