#include "lb4/conf/value.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lb4/base/number.h"

enum { LABEL_MAX = 64, CHOICES_TEXT_MAX = 256 };

/* How messages call word i: by what precedes it, "tries", "timeout idle", "weight". */
static const char *value_label(const struct lex_line *line, size_t i, char out[static LABEL_MAX])
{
    if (i == 2)
        snprintf(out, LABEL_MAX, "%.30s %.30s", line->words[0].text, line->words[1].text);
    else
        snprintf(out, LABEL_MAX, "%.60s", i > 0 ? line->words[i - 1].text : "");
    return out;
}

static const char *word_quote(const struct lex_line *line, size_t i,
                              char out[static CONF_QUOTE_MAX])
{
    return conf_quote(line->words[i].text, line->words[i].n_bytes, out);
}

static bool number_error(struct reader *reader, const struct lex_line *line, size_t i, int error,
                         struct value_range range)
{
    char label[LABEL_MAX];
    char quote[CONF_QUOTE_MAX];

    value_label(line, i, label);
    if (error == -ERANGE)
        reader_error(reader, line, i, "%s: %.40s is outside %" PRIu64 "..%" PRIu64, label,
                     line->words[i].text, range.min, range.max);
    else
        reader_error(reader, line, i, "%s: %s is not a number in %" PRIu64 "..%" PRIu64, label,
                     word_quote(line, i, quote), range.min, range.max);
    return false;
}

bool value_number(struct reader *reader, const struct lex_line *line, size_t i,
                  struct value_range range, uint64_t *ret)
{
    int error = number_parse(line->words[i].text, range.min, range.max, ret);

    return error == 0 || number_error(reader, line, i, error, range);
}

bool value_auto(struct reader *reader, const struct lex_line *line, size_t i,
                struct value_range range, uint64_t *ret)
{
    char label[LABEL_MAX];
    char quote[CONF_QUOTE_MAX];
    int error;

    if (strcmp(line->words[i].text, "auto") == 0) {
        *ret = 0;
        return true;
    }
    error = number_parse(line->words[i].text, range.min, range.max, ret);
    if (error == -EINVAL)
        reader_error(reader, line, i,
                     "%s: %s is neither 'auto' nor a number in %" PRIu64 "..%" PRIu64,
                     value_label(line, i, label), word_quote(line, i, quote), range.min, range.max);
    return error == 0 || (error == -ERANGE && number_error(reader, line, i, error, range));
}

bool value_duration(struct reader *reader, const struct lex_line *line, size_t i, uint64_t *ret_ms)
{
    const char *text = line->words[i].text;
    int error = number_parse_duration(text, 1, CONF_DURATION_MAX_MS, ret_ms);
    char label[LABEL_MAX];
    char quote[CONF_QUOTE_MAX];

    if (error == 0)
        return true;
    value_label(line, i, label);
    if (error == -ERANGE)
        reader_error(reader, line, i, "%s: %.40s is outside 1ms..365d", label, text);
    else
        reader_error(reader, line, i,
                     "%s: %s is not a duration in 1ms..365d; the unit is needed: ms s m h d", label,
                     word_quote(line, i, quote));
    return false;
}

const char *value_join(const char *const *words, char *out, size_t n_bytes)
{
    size_t at = 0;

    out[0] = '\0';
    for (size_t i = 0; words[i] && at < n_bytes; i++)
        at += (size_t)snprintf(out + at, n_bytes - at, "%s%s", i > 0 ? ", " : "", words[i]);
    return out;
}

bool value_choice(struct reader *reader, const struct lex_line *line, size_t i,
                  const char *const *choices, size_t *ret)
{
    char label[LABEL_MAX];
    char quote[CONF_QUOTE_MAX];
    char accepted[CHOICES_TEXT_MAX];

    for (size_t k = 0; choices[k]; k++) {
        if (strcmp(choices[k], line->words[i].text) == 0) {
            *ret = k;
            return true;
        }
    }
    reader_error(reader, line, i, "%s: %s is not one of: %s", value_label(line, i, label),
                 word_quote(line, i, quote), value_join(choices, accepted, sizeof(accepted)));
    return false;
}

static bool is_name(const struct lex_word *word)
{
    if (word->n_bytes < 1 || word->n_bytes > CONF_NAME_MAX)
        return false;
    for (size_t i = 0; i < word->n_bytes; i++) {
        char byte = word->text[i];

        if (!isascii(byte) || (!isalnum(byte) && !strchr("._-", byte)))
            return false;
    }
    return true;
}

bool value_name(struct reader *reader, const struct lex_line *line, size_t i,
                char ret[static CONF_NAME_MAX + 1])
{
    const struct lex_word *word = &line->words[i];
    char label[LABEL_MAX];
    char quote[CONF_QUOTE_MAX];

    if (!is_name(word)) {
        reader_error(reader, line, i, "%s: %s is not a name: 1..%d of A-Z a-z 0-9 . _ -",
                     value_label(line, i, label), word_quote(line, i, quote), CONF_NAME_MAX);
        return false;
    }
    memcpy(ret, word->text, word->n_bytes + 1);
    return true;
}

bool value_endpoint(struct reader *reader, const struct lex_line *line, size_t i,
                    const char *accepted, struct endpoint *ret)
{
    char reason[ENDPOINT_ERROR_MAX];
    char quote[CONF_QUOTE_MAX];

    if (endpoint_parse(line->words[i].text, ret, reason))
        return true;
    reader_error(reader, line, i, "%s: %s: %s; accepted: %s", line->words[0].text,
                 word_quote(line, i, quote), reason, accepted);
    return false;
}

bool value_network(struct reader *reader, const struct lex_line *line, size_t i)
{
    char reason[ENDPOINT_ERROR_MAX];
    char quote[CONF_QUOTE_MAX];

    if (endpoint_check_cidr(line->words[i].text, reason))
        return true;
    reader_error(reader, line, i, "%s: %s: %s", line->words[0].text, word_quote(line, i, quote),
                 reason);
    return false;
}

static bool option_value(struct reader *reader, const struct lex_line *line, size_t i,
                         const struct value_option *option, uint64_t *ret)
{
    char range[LABEL_MAX] = "1ms..365d";
    size_t choice = 0;

    if (i >= line->n_words) {
        if (option->kind == VALUE_NUMBER)
            snprintf(range, sizeof(range), "%" PRIu64 "..%" PRIu64, option->range.min,
                     option->range.max);
        else if (option->kind == VALUE_CHOICE || option->kind == VALUE_WORD)
            value_join(option->choices, range, sizeof(range));
        reader_error(reader, line, i - 1, "%s: a value is missing: %s", option->word, range);
        return false;
    }
    switch (option->kind) {
    case VALUE_FLAG:
        break;
    case VALUE_NUMBER:
        return value_number(reader, line, i, option->range, ret);
    case VALUE_DURATION:
        return value_duration(reader, line, i, ret);
    case VALUE_CHOICE:
        if (!value_choice(reader, line, i, option->choices, &choice))
            return false;
        *ret = choice;
        break;
    case VALUE_WORD:
        *ret = i;
        break;
    }
    return true;
}

static const struct value_option *option_find(struct reader *reader, const struct lex_line *line,
                                              size_t i, const struct value_option *options)
{
    const char *words[VALUE_OPTIONS_MAX + 1] = {NULL};
    char accepted[CHOICES_TEXT_MAX];
    char quote[CONF_QUOTE_MAX];
    size_t n_words = 0;

    for (size_t k = 0; options[k].word; k++) {
        if (strcmp(options[k].word, line->words[i].text) == 0)
            return &options[k];
        if (!options[k].is_later)
            words[n_words++] = options[k].word;
    }
    reader_error(reader, line, i, "%s: unknown word %s, accepted here: %s", line->words[0].text,
                 word_quote(line, i, quote), value_join(words, accepted, sizeof(accepted)));
    return NULL;
}

bool value_options(struct reader *reader, const struct lex_line *line, size_t first,
                   const struct value_option *options, uint64_t values[static VALUE_OPTIONS_MAX])
{
    size_t later = 0;
    unsigned seen = 0;

    for (size_t i = first; i < line->n_words; i++) {
        const struct value_option *option = option_find(reader, line, i, options);
        size_t at = i;

        if (!option)
            return false;
        if (seen & 1u << (option - options)) {
            reader_error(reader, line, i, "%s: '%s' is given twice", line->words[0].text,
                         option->word);
            return false;
        }
        seen |= 1u << (option - options);
        if (option->kind == VALUE_FLAG)
            values[option - options] = 1;
        else if (!option_value(reader, line, ++i, option, &values[option - options]))
            return false;
        if (option->is_later && later == 0)
            later = at;
    }
    if (later > 0)
        reader_refuse(reader, line, later);
    return later == 0;
}
