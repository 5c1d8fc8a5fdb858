/* How values are spread: a counter for each of a few fixed ranges, and one for their sum. The
 * writer is one thread (shared/counter.h), readers any. */
#ifndef LB4_SHARED_HISTOGRAM_H
#define LB4_SHARED_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#include "lb4/shared/counter.h"

enum { HISTOGRAM_BOUNDS = 10, HISTOGRAM_RANGES = HISTOGRAM_BOUNDS + 1 };

/* Upper bounds, each included, and as Prometheus writes them; the last range has none. */
struct histogram_scale {
    uint64_t bounds[HISTOGRAM_BOUNDS];
    const char *words[HISTOGRAM_BOUNDS];
    uint64_t unit; /* so many are 1 in the words: 1, or 10^9 */
};

extern const struct histogram_scale histogram_connect; /* ns: 0.5 ms to 10 s */
extern const struct histogram_scale histogram_session; /* ns: 10 ms to a day */
extern const struct histogram_scale histogram_bytes;   /* 100 to 100 G */

struct histogram {
    stats_counter counts[HISTOGRAM_RANGES];
    stats_counter sum;
};

struct histogram_sum {
    uint64_t counts[HISTOGRAM_RANGES];
    uint64_t sum;
};

/* Thread: the writer. */
void histogram_add(struct histogram *histogram, const struct histogram_scale *scale,
                   uint64_t value);

/* Add what is in it to *sum. */
void histogram_read(const struct histogram *histogram, struct histogram_sum *sum);
void histogram_carry(struct histogram_sum *to, const struct histogram_sum *from);

uint64_t histogram_count(const struct histogram_sum *sum);

#endif
