/* The first few of many rows, in order, in bounded memory: what `show sources` and the like tell of
 * tables with a million entries, and how they are asked for it. Part of control/command. */
#ifndef LB4_CONTROL_TOPMOST_H
#define LB4_CONTROL_TOPMOST_H

#include <stdbool.h>
#include <stddef.h>

#include "lb4/control/command.h"

enum { TOPMOST_USUAL = 100, TOPMOST_MAX = 1000 }; /* rows; chosen */

struct topmost {
    char *rows; /* malloc */
    size_t row_bytes;
    size_t n;
    size_t most;
    int (*compare)(const void *a, const void *b); /* below 0: a comes before b */
};

/* false: no memory. topmost_fini() is due in any case. */
bool topmost_init(struct topmost *top, size_t most, size_t row_bytes,
                  int (*compare)(const void *a, const void *b));
void topmost_fini(struct topmost *top);

/* One more row; it is copied, if it is among the first of all so far. */
void topmost_offer(struct topmost *top, const void *row);
/* There are no more: bring rows in order. */
void topmost_sort(struct topmost *top);
const void *topmost_row(const struct topmost *top, size_t i);

/* The words behind the first two: "SERVICE", and "--busiest N" before or behind it. NULL: they are
 * something else, and call->error says what is accepted. */
struct service *topmost_read(struct command_call *call, size_t *ret_n);

#endif
