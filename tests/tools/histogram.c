#include "histogram.h"

/* Values below 64 have a bucket each; every power of two above is cut into 64. */
static unsigned bucket_of(uint64_t value)
{
    if (value >> HISTOGRAM_SUB_BITS == 0)
        return (unsigned)value;
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    unsigned sub = (unsigned)(value >> shift) - (1u << HISTOGRAM_SUB_BITS);
    return ((shift + 1) << HISTOGRAM_SUB_BITS) + sub;
}

static uint64_t upper_edge(unsigned bucket)
{
    unsigned group = bucket >> HISTOGRAM_SUB_BITS;
    uint64_t sub = bucket & ((1u << HISTOGRAM_SUB_BITS) - 1);

    if (group == 0)
        return sub;
    return ((sub + (1u << HISTOGRAM_SUB_BITS) + 1) << (group - 1)) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t value_ns)
{
    histogram->n++;
    histogram->buckets[bucket_of(value_ns)]++;
    if (value_ns > histogram->max_ns)
        histogram->max_ns = value_ns;
}

uint64_t histogram_quantile(const struct histogram *histogram, double share)
{
    uint64_t wanted = (uint64_t)((double)histogram->n * share), seen = 0;

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen > wanted || (seen == histogram->n && seen > 0))
            return upper_edge(i) < histogram->max_ns ? upper_edge(i) : histogram->max_ns;
    }
    return 0;
}
