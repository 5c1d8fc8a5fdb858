#include "lb4/shared/histogram.h"

#define MS(n) ((n)*1000000ull)
#define S(n) ((n)*1000000000ull)

/* From a server in the same rack to one that answers the third SYN. */
const struct histogram_scale histogram_connect = {
    {500000, MS(1), MS(2), MS(5), MS(10), MS(50), MS(100), MS(500), S(1), S(10)},
    {"0.0005", "0.001", "0.002", "0.005", "0.01", "0.05", "0.1", "0.5", "1", "10"},
    S(1),
};

const struct histogram_scale histogram_session = {
    {MS(10), MS(100), S(1), S(10), S(60), S(300), S(1800), S(3600), S(21600), S(86400)},
    {"0.01", "0.1", "1", "10", "60", "300", "1800", "3600", "21600", "86400"},
    S(1),
};

const struct histogram_scale histogram_bytes = {
    {100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000, 10000000000, 100000000000},
    {"100", "1000", "10000", "100000", "1e+06", "1e+07", "1e+08", "1e+09", "1e+10", "1e+11"},
    1,
};

void histogram_add(struct histogram *histogram, const struct histogram_scale *scale, uint64_t value)
{
    size_t range = 0;

    while (range < HISTOGRAM_BOUNDS && value > scale->bounds[range])
        range++;
    stats_add(&histogram->counts[range], 1);
    stats_add(&histogram->sum, value);
}

void histogram_read(const struct histogram *histogram, struct histogram_sum *sum)
{
    for (size_t i = 0; i < HISTOGRAM_RANGES; i++)
        sum->counts[i] += stats_read(&histogram->counts[i]);
    sum->sum += stats_read(&histogram->sum);
}

void histogram_carry(struct histogram_sum *to, const struct histogram_sum *from)
{
    for (size_t i = 0; i < HISTOGRAM_RANGES; i++)
        to->counts[i] += from->counts[i];
    to->sum += from->sum;
}

uint64_t histogram_count(const struct histogram_sum *sum)
{
    uint64_t n = 0;

    for (size_t i = 0; i < HISTOGRAM_RANGES; i++)
        n += sum->counts[i];
    return n;
}
