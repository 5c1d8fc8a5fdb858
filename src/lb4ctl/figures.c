#include "lb4/lb4ctl/figures.h"

#include <inttypes.h>
#include <stdio.h>

/* What is rounded up must not get a digit more, hence the limits below 10, 100 and 1,000. */
const char *figures_short(uint64_t n, char text[static FIGURES_MAX])
{
    static const char units[] = "kMGTPE";
    double value = (double)n / 1000;
    size_t unit = 0;

    if (n < 1000) {
        snprintf(text, FIGURES_MAX, "%" PRIu64, n);
        return text;
    }
    for (; value >= 999.5; unit++)
        value /= 1000;
    snprintf(text, FIGURES_MAX, "%.*f%c",
             value < 9.995   ? 2
             : value < 99.95 ? 1
                             : 0,
             value, units[unit]);
    return text;
}

const char *figures_count(uint64_t n, char text[static FIGURES_MAX])
{
    if (n > 99999)
        return figures_short(n, text);
    snprintf(text, FIGURES_MAX, "%" PRIu64, n);
    return text;
}

const char *figures_rate(double per_s, char text[static FIGURES_MAX])
{
    if (per_s >= 9.95)
        return figures_short((uint64_t)(per_s + 0.5), text);
    snprintf(text, FIGURES_MAX, "%.*f", per_s > 0 ? 1 : 0, per_s > 0 ? per_s : 0.0);
    return text;
}

const char *figures_span(uint64_t seconds, char text[static FIGURES_MAX])
{
    if (seconds < 60)
        snprintf(text, FIGURES_MAX, "%" PRIu64 "s", seconds);
    else if (seconds < 3600)
        snprintf(text, FIGURES_MAX, "%" PRIu64 "m", seconds / 60);
    else if (seconds < 86400)
        snprintf(text, FIGURES_MAX, "%" PRIu64 "h", seconds / 3600);
    else
        snprintf(text, FIGURES_MAX, "%" PRIu64 "d", seconds / 86400);
    return text;
}

const char *figures_us(uint64_t us, char text[static FIGURES_MAX])
{
    if (us < 1000)
        snprintf(text, FIGURES_MAX, "%" PRIu64 "us", us);
    else if (us < 9950)
        snprintf(text, FIGURES_MAX, "%.1fms", (double)us / 1000);
    else if (us < 999500)
        snprintf(text, FIGURES_MAX, "%.0fms", (double)us / 1000);
    else if (us < 9950000)
        snprintf(text, FIGURES_MAX, "%.1fs", (double)us / 1000000);
    else
        snprintf(text, FIGURES_MAX, "%.0fs", (double)us / 1000000);
    return text;
}
