/* The last changes of state of servers, as one thread saw or made them: a ring that one thread
 * writes and any thread reads. Entries hold names by copy, since servers may leave.
 *
 * A sequence lock for each cell, as in shared/note.h: the writer never waits. */
#ifndef LB4_SHARED_HISTORY_H
#define LB4_SHARED_HISTORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lb4/conf/bounds.h"
#include "lb4/shared/note.h"

enum { HISTORY_ENTRIES = 512 }; /* kept; chosen: a night of a flapping server */

struct history_entry {
    uint64_t at_ns;     /* clock_now_ns() */
    uint64_t at_ms;     /* the same by the clock on the wall, since 1970 */
    uint64_t lasted_ns; /* the state before it */
    uint32_t standing;  /* its flags (shared/pick.h) that tell the state from now on */
    char service[CONF_NAME_MAX + 1];
    char server[CONF_NAME_MAX + 1];
    char why[NOTE_TEXT_MAX];
};

enum { HISTORY_WORDS = (sizeof(struct history_entry) + 7) / 8 };

struct history_cell {
    _Atomic uint32_t sequence; /* odd while it is being written */
    _Atomic uint64_t words[HISTORY_WORDS];
};

struct history {
    _Atomic uint64_t n_ever; /* entries that were ever appended */
    uint64_t last_ns;        /* at_ns of the last; the writer's own */
    struct history_cell cells[HISTORY_ENTRIES];
};

/* Empty; memory comes with use. NULL: none. */
struct history *history_new(void);
void history_free(struct history *history);

/* The entry's at_ms is filled in from at_ns, which is not less than that of the one before. Thread:
 * the one writer. */
void history_append(struct history *history, const struct history_entry *entry);

/* Thread: any. The entries that are there have the numbers *ret_first .. *ret_end - 1. */
void history_range(const struct history *history, uint64_t *ret_first, uint64_t *ret_end);
/* false: it has been overwritten since. */
bool history_read(const struct history *history, uint64_t number, struct history_entry *ret);

#endif
