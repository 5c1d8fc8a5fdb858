#include "lb4/relay/meter.h"

#include <stdlib.h>

#include "lb4/base/clock.h"

static uint64_t per_second(uint64_t before, uint64_t now, uint64_t span_ns)
{
    return now > before ? (uint64_t)((double)(now - before) * 1e9 / (double)span_ns) : 0;
}

static void note(struct meter **meter, const struct meter *now)
{
    if (!*meter)
        *meter = malloc(sizeof(**meter));
    if (*meter)
        **meter = *now;
}

struct meter_rate meter_look(struct meter **meter, const struct meter_count *count, uint64_t now_ns)
{
    const struct meter never = {.looked_ns = count->began_ns};
    const struct meter *last = *meter ? *meter : &never;
    const uint64_t least_ns = METER_LEAST_MS * CLOCK_NS_PER_MS;
    uint64_t passed_ns = now_ns > last->looked_ns ? now_ns - last->looked_ns : 0;
    uint64_t span_ns = passed_ns > least_ns ? passed_ns : least_ns;
    struct meter now = {now_ns, count->bytes_in, count->bytes_out, last->in_per_s, last->out_per_s};

    if (!*meter || passed_ns >= least_ns) {
        now.in_per_s = per_second(last->bytes_in, count->bytes_in, span_ns);
        now.out_per_s = per_second(last->bytes_out, count->bytes_out, span_ns);
    }
    if (passed_ns >= least_ns)
        note(meter, &now);
    return (struct meter_rate){now.in_per_s, now.out_per_s};
}

void meter_free(struct meter **meter)
{
    free(*meter);
    *meter = NULL;
}
