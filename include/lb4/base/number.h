/* Text to number: the only number parser of lb4. Whole text only, no sign, no blanks, no octal or
 * hex, no prefix match. */
#ifndef LB4_BASE_NUMBER_H
#define LB4_BASE_NUMBER_H

#include <stdint.h>

/* A decimal integer in min..max. Returns 0, -EINVAL: not a number, -ERANGE: outside min..max. On
 * error *ret is untouched. So for all three. */
int number_parse(const char *text, uint64_t min, uint64_t max, uint64_t *ret);

/* A duration with a unit, "200ms" "3s" "5m" "1h" "2d", into milliseconds; -EINVAL also when the
 * unit is missing. */
int number_parse_duration(const char *text, uint64_t min_ms, uint64_t max_ms, uint64_t *ret_ms);

/* A size in bytes, "512", "64k", "1m", "1g" (powers of 1,024). */
int number_parse_size(const char *text, uint64_t min_bytes, uint64_t max_bytes,
                      uint64_t *ret_bytes);

enum { NUMBER_TEXT_MAX = 32 };

/* The shortest text that number_parse_duration() reads back to the same value ("90s", "1h");
 * returns `text`. */
const char *number_format_duration(uint64_t ms, char text[static NUMBER_TEXT_MAX]);

#endif
