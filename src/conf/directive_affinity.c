/* `affinity`: a client's next connection goes where its last one went. */
#include "lb4/conf/handlers.h"
#include "lb4/conf/value.h"

enum { CHOICE_SOURCE, CHOICE_OFF };

static void turn_off(struct reader *reader, const struct lex_line *line, struct conf_affinity *ret)
{
    if (line->n_words > 2)
        reader_error(reader, line, 2, "affinity off takes no argument");
    else
        *ret = (struct conf_affinity){.state = CONF_AFFINITY_OFF};
}

void directive_affinity(struct reader *reader, const struct lex_line *line)
{
    static const char *const choices[] = {
        [CHOICE_SOURCE] = "source",
        [CHOICE_OFF] = "off",
        NULL,
    };
    static const struct value_option options[] = {
        {.word = "prefix4", .kind = VALUE_NUMBER, .range = {1, 32}},
        {.word = "prefix6", .kind = VALUE_NUMBER, .range = {1, 128}},
        {.word = NULL},
    };
    uint64_t values[VALUE_OPTIONS_MAX] = {32, 128};
    struct conf_affinity *affinity = reader->accepts & SECTION_SERVICE
                                         ? &reader_service(reader)->affinity
                                         : &reader->conf->default_affinity;
    uint64_t ms = 0;
    size_t choice;

    if (!value_choice(reader, line, 1, choices, &choice))
        return;
    if (choice == CHOICE_OFF)
        turn_off(reader, line, affinity);
    else if (line->n_words < 3)
        reader_error(reader, line, 1, "affinity source: an argument is missing: 1ms..365d");
    else if (value_duration(reader, line, 2, &ms) &&
             value_options(reader, line, 3, options, values))
        *affinity =
            (struct conf_affinity){CONF_AFFINITY_ON, ms, (uint32_t)values[0], (uint32_t)values[1]};
}
