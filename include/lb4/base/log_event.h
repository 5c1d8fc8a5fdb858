/* What an event of the log is made of: named values, said once, and written by the log as text
 * ("access client=10.0.0.9:51234 ...") or as JSON.
 *
 * A form is constant and lives as long as the process. A producer packs its values behind a pointer
 * to the form, at the cost of some copies; the writer of the log reads them back. Behind the values
 * there may be a sentence, which the text form shows in place of the values. Pure. */
#ifndef LB4_BASE_LOG_EVENT_H
#define LB4_BASE_LOG_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/addr.h"

enum log_kind {
    LOG_TEXT, /* NULL: there is none, "-" and null; beyond LOG_VALUE_MAX it is cut */
    LOG_NUMBER,
    LOG_MS,  /* nanoseconds, written in milliseconds: 0.4, 12.3, 532 */
    LOG_ADDR /* "10.0.0.9:51234"; NULL: there is none */
};

struct log_key {
    const char *name; /* [a-z_]+ */
    enum log_kind kind;
};

struct log_form {
    const char *event; /* [a-z_]+ */
    const struct log_key *keys;
    size_t n_keys; /* at most LOG_KEYS_MAX */
};

union log_value {
    const char *text;
    uint64_t number;
    const struct addr *addr;
};

enum {
    LOG_KEYS_MAX = 16,
    LOG_VALUE_MAX = 120,                                 /* bytes of a text */
    LOG_EVENT_PACKED_MAX = 16 + 16 * (LOG_VALUE_MAX + 1) /* bytes of all values */
};

/* `values` in the order of the form's keys. Returns how many bytes of `out` are used. */
size_t log_event_pack(const struct log_form *form, const union log_value *values,
                      char out[static LOG_EVENT_PACKED_MAX]);

/* Reading back. */
struct log_event {
    const struct log_form *form;
    size_t index; /* of the next key */
    const char *at;
    size_t n_left; /* bytes; when all values were read: the sentence, at `at` */
};

struct log_cell {
    const struct log_key *key;
    bool is_none;
    const char *text;
    size_t n_text;
    uint64_t number;
    struct addr addr;
};

/* `bytes`: what log_event_pack() has made, and the sentence. */
void log_event_begin(struct log_event *event, const char *bytes, size_t n_bytes);
/* false: there is no further value. */
bool log_event_next(struct log_event *event, struct log_cell *ret);

#endif
