/* What becomes of clients and connections when servers go down and come back. */
#include <string.h>

#include "lb4/conf/handlers.h"
#include "lb4/conf/value.h"

enum { HOLD_MAX_DEFAULT = 1000, EVICT_FOR_DEFAULT_MS = 30000 };

/* Word 2 is there exactly if the choice takes a duration. */
static bool read_duration(struct reader *reader, const struct lex_line *line, bool is_wanted,
                          uint64_t *ret_ms)
{
    if (is_wanted && line->n_words < 3)
        reader_error(reader, line, 1, "%s %s: an argument is missing: 1ms..365d",
                     line->words[0].text, line->words[1].text);
    else if (!is_wanted && line->n_words > 2)
        reader_error(reader, line, 2, "%s %s takes no argument", line->words[0].text,
                     line->words[1].text);
    else
        return !is_wanted || value_duration(reader, line, 2, ret_ms);
    return false;
}

static void read_farewell(struct reader *reader, const struct lex_line *line,
                          struct conf_farewell *farewell)
{
    static const char *const choices[] = {
        [CONF_FAREWELL_KEEP] = "keep",
        [CONF_FAREWELL_RESET] = "reset",
        [CONF_FAREWELL_DRAIN] = "drain",
        NULL,
    };
    uint64_t ms = 0;
    size_t kind;

    if (value_choice(reader, line, 1, choices, &kind) &&
        read_duration(reader, line, kind == CONF_FAREWELL_DRAIN, &ms))
        *farewell = (struct conf_farewell){(enum conf_farewell_kind)kind, ms};
}

void directive_on_down(struct reader *reader, const struct lex_line *line)
{
    read_farewell(reader, line, &reader_service(reader)->on_down);
}

void directive_on_up(struct reader *reader, const struct lex_line *line)
{
    read_farewell(reader, line, &reader_service(reader)->on_up);
}

void directive_all_down(struct reader *reader, const struct lex_line *line)
{
    static const char *const choices[] = {
        [CONF_ALL_DOWN_REFUSE] = "refuse",
        [CONF_ALL_DOWN_ANY] = "any",
        [CONF_ALL_DOWN_HOLD] = "hold",
        NULL,
    };
    static const struct value_option options[] = {
        {.word = "max", .kind = VALUE_NUMBER, .range = {1, CONF_MAXCONN_MAX}},
        {.word = NULL},
    };
    uint64_t values[VALUE_OPTIONS_MAX] = {HOLD_MAX_DEFAULT};
    struct conf_service *service = reader_service(reader);
    uint64_t ms = 0;
    size_t choice;

    if (!value_choice(reader, line, 1, choices, &choice) ||
        !read_duration(reader, line, choice == CONF_ALL_DOWN_HOLD, &ms) ||
        !value_options(reader, line, 3, options, values))
        return;
    service->all_down = (enum conf_all_down)choice;
    service->hold_ms = ms;
    service->hold_max = (uint32_t)values[0];
}

void directive_slow_start(struct reader *reader, const struct lex_line *line)
{
    value_duration(reader, line, 1, &reader_service(reader)->slow_start_ms);
}

/* "after N failures in T [for T]" */
void directive_evict(struct reader *reader, const struct lex_line *line)
{
    static const char *const words[] = {"after", "failures", "in"};
    static const size_t places[] = {1, 3, 4};
    static const struct value_option options[] = {
        {.word = "for", .kind = VALUE_DURATION},
        {.word = NULL},
    };
    uint64_t values[VALUE_OPTIONS_MAX] = {EVICT_FOR_DEFAULT_MS};
    const struct value_range range = {1, CONF_EVICT_MAX};
    uint64_t n_failures;
    uint64_t within_ms;

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        const struct lex_word *word = &line->words[places[i]];
        char quote[CONF_QUOTE_MAX];

        if (strcmp(word->text, words[i]) == 0)
            continue;
        reader_error(reader, line, places[i],
                     "evict: %s stands where '%s' is wanted: evict after 5 failures in 10s",
                     conf_quote(word->text, word->n_bytes, quote), words[i]);
        return;
    }
    if (value_number(reader, line, 2, range, &n_failures) &&
        value_duration(reader, line, 5, &within_ms) &&
        value_options(reader, line, 6, options, values))
        reader_service(reader)->evict =
            (struct conf_evict){(uint32_t)n_failures, within_ms, values[0]};
}
