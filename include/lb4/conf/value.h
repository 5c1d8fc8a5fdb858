/* Words of a line into values, for the handlers of directives.
 *
 * Each returns true and stores the value, or returns false after it has reported the word with the
 * range or the words that are accepted; nothing is stored then. `i` is the index of the word in the
 * line. The message names the value by the words before it ("timeout idle"). Internal to conf/. */
#ifndef LB4_CONF_VALUE_H
#define LB4_CONF_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/conf/directive.h"
#include "lb4/conf/endpoint.h"

struct value_range {
    uint64_t min;
    uint64_t max;
};

enum value_kind {
    VALUE_FLAG,
    VALUE_NUMBER,
    VALUE_DURATION,
    VALUE_CHOICE,
    VALUE_WORD /* any word: the value is its index in the line, which is never 0 */
};

/* A word that may follow in any order, with its value: "weight 2", "backup". */
struct value_option {
    const char *word;
    enum value_kind kind;
    struct value_range range;   /* VALUE_NUMBER */
    const char *const *choices; /* VALUE_CHOICE, NULL-terminated; of VALUE_WORD what is accepted,
                                   for messages */
    bool is_later;              /* judged, then refused: not in this version */
};

enum { VALUE_OPTIONS_MAX = 12 };

bool value_number(struct reader *reader, const struct lex_line *line, size_t i,
                  struct value_range range, uint64_t *ret);
/* "auto", stored as 0, or a number. */
bool value_auto(struct reader *reader, const struct lex_line *line, size_t i,
                struct value_range range, uint64_t *ret);
/* 1ms..365d */
bool value_duration(struct reader *reader, const struct lex_line *line, size_t i, uint64_t *ret_ms);
/* One of the words of a NULL-terminated list: *ret is its index. */
bool value_choice(struct reader *reader, const struct lex_line *line, size_t i,
                  const char *const *choices, size_t *ret);
/* [A-Za-z0-9._-]{1,64} */
bool value_name(struct reader *reader, const struct lex_line *line, size_t i,
                char ret[static CONF_NAME_MAX + 1]);
/* `accepted`: the forms that are accepted here, as examples for the message. */
bool value_endpoint(struct reader *reader, const struct lex_line *line, size_t i,
                    const char *accepted, struct endpoint *ret);
bool value_network(struct reader *reader, const struct lex_line *line, size_t i);

/* The words from `first` to the end as options; `options` ends with an empty row. Values go to
 * `values` at the option's index; those of options that were not given stay. Options of later
 * versions are refused here, after all were judged. */
bool value_options(struct reader *reader, const struct lex_line *line, size_t first,
                   const struct value_option *options, uint64_t values[static VALUE_OPTIONS_MAX]);

/* "a, b, c" of a NULL-terminated list. Returns `out`. */
const char *value_join(const char *const *words, char *out, size_t n_bytes);

#endif
