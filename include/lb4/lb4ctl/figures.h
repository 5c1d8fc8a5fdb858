/* Numbers for a narrow column. Each returns `text`. Thousands are 1,000: 1.23k = 1,230. */
#ifndef LB4_LB4CTL_FIGURES_H
#define LB4_LB4CTL_FIGURES_H

#include <stdint.h>

enum { FIGURES_MAX = 32 }; /* with the NUL */

/* At most five columns: "999", "1.23k", "12.3k", "123k", "1.23M" ... */
const char *figures_short(uint64_t n, char text[static FIGURES_MAX]);
/* The same, but whole numbers up to 99999. */
const char *figures_count(uint64_t n, char text[static FIGURES_MAX]);
/* The same, with one decimal below 10: "0", "0.5", "9.9", "10". */
const char *figures_rate(double per_s, char text[static FIGURES_MAX]);
/* One unit, the largest: "59s", "59m", "23h", "99d". */
const char *figures_span(uint64_t seconds, char text[static FIGURES_MAX]);
/* "999us", "9.9ms", "999ms", "9.9s", "999s". */
const char *figures_us(uint64_t us, char text[static FIGURES_MAX]);

#endif
