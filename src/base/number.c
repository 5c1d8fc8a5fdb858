#include "lb4/base/number.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* From the largest down: number_format_duration() takes the first that divides. */
static const struct unit UNITS_DURATION[] = {
    {"d", 24ull * 3600 * 1000}, {"h", 3600 * 1000}, {"m", 60 * 1000}, {"s", 1000}, {"ms", 1},
};
static const struct unit UNITS_SIZE[] = {{"g", 1 << 30}, {"m", 1 << 20}, {"k", 1 << 10}, {"", 1}};
static const struct unit UNITS_NONE[] = {{"", 1}};

enum {
    N_UNITS_DURATION = sizeof(UNITS_DURATION) / sizeof(UNITS_DURATION[0]),
    N_UNITS_SIZE = sizeof(UNITS_SIZE) / sizeof(UNITS_SIZE[0])
};

/* Read the digits at *text and move behind them. A value beyond 64 bits is scanned to its end all
 * the same, so that "too large" and "not a number" stay apart. Returns false without a digit. */
static bool scan_digits(const char **text, uint64_t *ret_value, bool *ret_overflow)
{
    const char *start = *text;
    const char *at = start;

    *ret_value = 0;
    *ret_overflow = false;
    for (; *at >= '0' && *at <= '9'; at++) {
        *ret_overflow |= __builtin_mul_overflow(*ret_value, 10, ret_value);
        *ret_overflow |= __builtin_add_overflow(*ret_value, (uint64_t)(*at - '0'), ret_value);
    }
    *text = at;
    return at != start;
}

static int parse_units(const char *text, const struct unit *units, size_t n_units,
                       uint64_t *ret_value)
{
    uint64_t value;
    bool overflow;

    if (!scan_digits(&text, &value, &overflow))
        return -EINVAL;
    for (size_t i = 0; i < n_units; i++) {
        if (strcmp(text, units[i].name) != 0)
            continue;
        overflow |= __builtin_mul_overflow(value, units[i].factor, &value);
        if (overflow)
            return -ERANGE;
        *ret_value = value;
        return 0;
    }
    return -EINVAL;
}

static int store_in_range(uint64_t value, uint64_t min, uint64_t max, uint64_t *ret)
{
    if (value < min || value > max)
        return -ERANGE;
    *ret = value;
    return 0;
}

int number_parse(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
    uint64_t value;
    int rc = parse_units(text, UNITS_NONE, 1, &value);

    return rc < 0 ? rc : store_in_range(value, min, max, ret);
}

int number_parse_duration(const char *text, uint64_t min_ms, uint64_t max_ms, uint64_t *ret_ms)
{
    uint64_t ms;
    int rc = parse_units(text, UNITS_DURATION, N_UNITS_DURATION, &ms);

    return rc < 0 ? rc : store_in_range(ms, min_ms, max_ms, ret_ms);
}

int number_parse_size(const char *text, uint64_t min_bytes, uint64_t max_bytes, uint64_t *ret_bytes)
{
    uint64_t bytes;
    int rc = parse_units(text, UNITS_SIZE, N_UNITS_SIZE, &bytes);

    return rc < 0 ? rc : store_in_range(bytes, min_bytes, max_bytes, ret_bytes);
}

const char *number_format_duration(uint64_t ms, char text[static NUMBER_TEXT_MAX])
{
    const struct unit *unit = UNITS_DURATION;

    while (ms % unit->factor != 0)
        unit++;
    snprintf(text, NUMBER_TEXT_MAX, "%" PRIu64 "%s", ms / unit->factor, unit->name);
    return text;
}
