/* Times in nanoseconds, counted in buckets that are at most 1/64 wide. Pure; zero-initialised is
 * empty. */
#ifndef LB4_TESTS_TOOLS_HISTOGRAM_H
#define LB4_TESTS_TOOLS_HISTOGRAM_H

#include <stdint.h>

enum {
    HISTOGRAM_SUB_BITS = 6,
    HISTOGRAM_BUCKETS = (64 - HISTOGRAM_SUB_BITS + 1) << HISTOGRAM_SUB_BITS
};

struct histogram {
    uint64_t n;
    uint64_t max_ns;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t value_ns);

/* Upper edge of the bucket below which @share (0..1) of the values lie; 0 if there are none. */
uint64_t histogram_quantile(const struct histogram *histogram, double share);

#endif
