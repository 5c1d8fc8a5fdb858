#include "lb4/relay/meter.h"

#include "lb4/base/clock.h"

static uint64_t per_second(uint64_t before, uint64_t now, uint64_t span_ns)
{
    return now > before ? (uint64_t)((double)(now - before) * 1e9 / (double)span_ns) : 0;
}

struct meter_rate meter_look(struct meter *meter, const struct meter_count *count, uint64_t now_ns)
{
    const uint64_t least_ns = METER_LEAST_MS * CLOCK_NS_PER_MS;
    uint64_t since_ns = meter->looked_ns ? meter->looked_ns : count->began_ns;
    uint64_t passed_ns = now_ns > since_ns ? now_ns - since_ns : 0;
    uint64_t span_ns = passed_ns > least_ns ? passed_ns : least_ns;
    struct meter_rate rate = {meter->in_per_s, meter->out_per_s};

    if (meter->looked_ns && passed_ns < least_ns)
        return rate;
    rate.in_per_s = per_second(meter->bytes_in, count->bytes_in, span_ns);
    rate.out_per_s = per_second(meter->bytes_out, count->bytes_out, span_ns);
    if (passed_ns >= least_ns)
        *meter = (struct meter){.looked_ns = now_ns,
                                .bytes_in = count->bytes_in,
                                .bytes_out = count->bytes_out,
                                .in_per_s = rate.in_per_s,
                                .out_per_s = rate.out_per_s};
    return rate;
}
