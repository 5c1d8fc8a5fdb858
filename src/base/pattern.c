#include "lb4/base/pattern.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Behind a bracket expression, in which nothing else has its meaning: "[]x]", "[^]x]". */
static const char *skip_bracket(const char *at)
{
    at += at[1] == '^' ? 2 : 1;
    if (*at == ']')
        at++;
    while (*at && *at != ']')
        at++;
    return *at ? at + 1 : at;
}

/* The larger bound of "{3}", "{3,}" or "{3,9}"; 1 for anything else, which regcomp(3) judges. */
static uint64_t bound_of(const char *at)
{
    char *end;
    unsigned long low = strtoul(at + 1, &end, 10);
    unsigned long high = *end == ',' ? strtoul(end + 1, &end, 10) : low;
    unsigned long bound = high > low ? high : low;

    if (*end != '}' || bound == 0)
        return 1;
    return bound <= PATTERN_REPEATS_MAX ? bound : PATTERN_REPEATS_MAX + 1;
}

static bool is_bounded(const char *text, char reterr[static PATTERN_ERROR_MAX])
{
    uint64_t n_repeats = 1;

    for (const char *at = text; *at;) {
        if (*at == '[') {
            at = skip_bracket(at);
            continue;
        }
        if (*at == '\\' && isdigit((unsigned char)at[1])) {
            snprintf(reterr, PATTERN_ERROR_MAX,
                     "\\%c refers back to a group: not accepted, it can "
                     "take very long",
                     at[1]);
            return false;
        }
        if (*at == '{')
            n_repeats *= bound_of(at);
        if (*at == ')' && at[1] == '+')
            n_repeats *= 2; /* regcomp(3) makes a copy of the group: nested ones double each time */
        if (n_repeats > PATTERN_REPEATS_MAX) {
            snprintf(reterr, PATTERN_ERROR_MAX, "its repetitions {n} multiply to more than %d",
                     PATTERN_REPEATS_MAX);
            return false;
        }
        at += *at == '\\' && at[1] ? 2 : 1;
    }
    return true;
}

bool pattern_compile(regex_t *ret, const char *text, char reterr[static PATTERN_ERROR_MAX])
{
    int error;

    if (!is_bounded(text, reterr))
        return false;
    error = regcomp(ret, text, REG_EXTENDED | REG_NOSUB);
    if (error)
        regerror(error, ret, reterr, PATTERN_ERROR_MAX);
    return error == 0;
}
