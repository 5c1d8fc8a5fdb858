/* The words behind `lb4ctl top`. */
#ifndef LB4_LB4CTL_TOP_OPTIONS_H
#define LB4_LB4CTL_TOP_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TOP_INTERVAL_LEAST_MS = 200, /* chosen: below, lb4's rates get coarse (METER_LEAST_MS) */
    TOP_INTERVAL_MOST_MS = 60 * 60 * 1000,
    TOP_MESSAGE_MAX = 200 /* with the NUL */
};

struct top_options {
    const char *service; /* "" = all */
    const char *sort;    /* NULL = nothing was said */
    uint64_t interval_ms;
    uint64_t n_readings; /* 0 = nothing was said */
};

/* [SERVICE] [--interval TIME] [--sort COLUMN] [-n N]; NULL behind the last word. false: a sentence
 * in `message`. */
bool top_options_read(struct top_options *options, char *const *words,
                      char message[static TOP_MESSAGE_MAX]);

#endif
