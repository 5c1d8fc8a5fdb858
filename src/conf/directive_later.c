/* Directives of later versions: judged as if they were built, then refused. */
#include "lb4/conf/directive.h"
#include "lb4/conf/value.h"

static const struct value_range count_range = {1, CONF_MAXCONN_MAX};

void directive_later_number(struct reader *reader, const struct lex_line *line)
{
    uint64_t n;

    if (value_number(reader, line, line->n_words - 1, count_range, &n))
        reader_refuse(reader, line, 0);
}

void directive_later_duration(struct reader *reader, const struct lex_line *line)
{
    uint64_t ms;

    if (value_duration(reader, line, line->n_words - 1, &ms))
        reader_refuse(reader, line, 0);
}

void directive_later_network(struct reader *reader, const struct lex_line *line)
{
    if (value_network(reader, line, 1))
        reader_refuse(reader, line, 0);
}

/* Word 2 is there exactly if the choice takes a duration. */
static bool judge_duration(struct reader *reader, const struct lex_line *line, bool is_wanted)
{
    uint64_t ms;

    if (is_wanted && line->n_words < 3)
        reader_error(reader, line, 1, "%s %s: an argument is missing: 1ms..365d",
                     line->words[0].text, line->words[1].text);
    else if (!is_wanted && line->n_words > 2)
        reader_error(reader, line, 2, "%s %s takes no argument", line->words[0].text,
                     line->words[1].text);
    else
        return !is_wanted || value_duration(reader, line, 2, &ms);
    return false;
}

void directive_on_down(struct reader *reader, const struct lex_line *line)
{
    static const char *const choices[] = {"keep", "reset", "drain", NULL};
    size_t choice;

    if (value_choice(reader, line, 1, choices, &choice) &&
        judge_duration(reader, line, choice == 2))
        reader_refuse(reader, line, 0);
}

void directive_all_down(struct reader *reader, const struct lex_line *line)
{
    static const char *const choices[] = {"refuse", "hold", "any", NULL};
    static const struct value_option options[] = {
        {.word = "max", .kind = VALUE_NUMBER, .range = {1, CONF_MAXCONN_MAX}},
        {.word = NULL},
    };
    uint64_t values[VALUE_OPTIONS_MAX];
    size_t choice;

    if (value_choice(reader, line, 1, choices, &choice) &&
        judge_duration(reader, line, choice == 1) &&
        value_options(reader, line, 3, options, values))
        reader_refuse(reader, line, 0);
}
