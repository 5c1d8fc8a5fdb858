/* Regular expressions of the configuration: POSIX extended (regex(7)), in bytes, without what would
 * make them take long or much memory: references back to a group, and repetitions of repetitions
 * that multiply beyond PATTERN_REPEATS_MAX. */
#ifndef LB4_BASE_PATTERN_H
#define LB4_BASE_PATTERN_H

#include <regex.h>
#include <stdbool.h>

enum {
    PATTERN_REPEATS_MAX =
        4096, /* all upper bounds of {n,m}, and 2 for each ")+", multiplied; chosen: a few MiB */
    PATTERN_ERROR_MAX = 128
};

/* true: *ret is compiled, to tell whether there is a match, not where (REG_NOSUB), and regfree(3)
 * is due. false: `reterr` says what is wrong. */
bool pattern_compile(regex_t *ret, const char *text, char reterr[static PATTERN_ERROR_MAX]);

#endif
