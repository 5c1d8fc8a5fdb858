/* What is wrong with a configuration: errors and warnings with their places, to be shown together.
 *
 * The caller's storage (some 20 KiB); texts are copied in, places point to names that the struct
 * conf owns. No I/O except conf_report_write(). */
#ifndef LB4_CONF_REPORT_H
#define LB4_CONF_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "lb4/conf/model.h"

enum {
    CONF_ERRORS_MAX = 20,   /* kept; further ones only set has_more_errors */
    CONF_MESSAGE_MAX = 512, /* bytes with the NUL; longer text is cut */
    CONF_QUOTE_MAX = 64     /* bytes of conf_quote()'s result with the NUL */
};

struct conf_message {
    struct conf_place place; /* line 0: the file as a whole */
    char text[CONF_MESSAGE_MAX];
};

struct conf_report {
    struct conf_message errors[CONF_ERRORS_MAX]; /* by line and column within a file */
    size_t n_errors;
    bool has_more_errors;
    struct conf_message warnings[CONF_ERRORS_MAX]; /* further ones are dropped */
    size_t n_warnings;
};

void conf_report_init(struct conf_report *report);

void conf_report_error(struct conf_report *report, const struct conf_place *place,
                       const char *format, ...) __attribute__((format(printf, 3, 4)));
void conf_report_warn(struct conf_report *report, const struct conf_place *place,
                      const char *format, ...) __attribute__((format(printf, 3, 4)));

/* "FILE:LINE:COLUMN: message" lines, warnings first and marked "warning: ", and at the end "too
 * many errors" where some were not kept. Control bytes of file names are escaped. */
void conf_report_write(const struct conf_report *report, FILE *stream);

/* Input as it is shown in messages: in 'single quotes', escaped (\xHH), long input shortened with
 * "...". Returns `out`. */
const char *conf_quote(const char *text, size_t n_bytes, char out[static CONF_QUOTE_MAX]);

#endif
