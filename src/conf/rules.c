#include "lb4/conf/rules.h"

#include <stdio.h>
#include <string.h>

#include "lb4/conf/read.h"

static const char command_line[] = "command line";

/* The rules so far. */
struct rules {
    struct reader reader;
    unsigned n_rules;
    unsigned n_unnamed; /* servers of this rule that were called s1, s2 ... */
};

static void error_at(struct rules *rules, const struct flags_option *option, uint32_t column,
                     const char *text)
{
    struct conf_place place = {command_line, option->argument, option->column + column - 1};

    conf_report_error(rules->reader.report, &place, "%s", text);
}

/* What is wrong with an argument as a line, or NULL. */
static const char *judge_argument(struct lex *lex, struct lex_line *line, uint32_t *ret_column)
{
    enum lex_result result = lex_next(lex, line);

    *ret_column = 1;
    if (result == LEX_BAD) {
        *ret_column = line->error_column;
        return line->error;
    }
    if (result == LEX_LINE && (line->opens_block || line->closes_block)) {
        *ret_column = line->brace_column;
        return "blocks are for the file only";
    }
    if (result == LEX_END || line->n_words == 0)
        return "empty argument";
    return lex->at != lex->end ? "one line is accepted, give the option twice" : NULL;
}

/* One option's argument as the words of a line; false = reported. */
static bool lex_option(struct rules *rules, const struct flags_option *option,
                       struct lex_line *line)
{
    uint32_t column;
    struct lex lex;
    const char *wrong;

    lex_init(&lex, option->text, strlen(option->text));
    wrong = judge_argument(&lex, line, &column);
    line->number = option->argument;
    if (wrong) {
        error_at(rules, option, column, wrong);
        return false;
    }
    for (size_t i = 0; i < line->n_words; i++)
        line->words[i].column += option->column - 1;
    return true;
}

/* "tcp/:5432": the transport may be left out, then it is tcp. */
static void take_listen(struct rules *rules, const struct flags_option *option,
                        struct lex_line *line)
{
    const char *text = line->words[0].text;
    size_t n_prefix = strcspn(text, "/:[");
    char name[CONF_NAME_MAX + 1];

    if (text[n_prefix] == '/')
        lex_split_word(line, 0, n_prefix);
    else
        lex_insert_word(line, 0, "tcp", line->words[0].column);
    lex_insert_word(line, 0, "listen", option->column);
    snprintf(name, sizeof(name), "rule%u", ++rules->n_rules);
    rules->n_unnamed = 0;
    reader_open_service(&rules->reader, line, 0, name);
}

static void take_server(struct rules *rules, const struct flags_option *option,
                        struct lex_line *line, char name[static CONF_NAME_MAX + 1])
{
    size_t n_name = strcspn(line->words[0].text, "=");

    if (n_name < line->words[0].n_bytes && strncmp(line->words[0].text, "unix:", 5) != 0) {
        lex_split_word(line, 0, n_name);
    } else {
        snprintf(name, CONF_NAME_MAX + 1, "s%u", ++rules->n_unnamed);
        lex_insert_word(line, 0, name, option->column);
    }
    lex_insert_word(line, 0, "server", option->column);
}

/* A rule opens even if its address cannot be read: what follows belongs to it. */
static void open_broken_rule(struct rules *rules, const struct flags_option *option,
                             struct lex_line *line)
{
    line->n_words = 0;
    lex_insert_word(line, 0, "", option->column);
    reader_open_service(&rules->reader, line, 0, "");
    rules->n_rules++;
}

static void take_option(struct rules *rules, const struct flags_option *option)
{
    struct lex_line line;
    char name[CONF_NAME_MAX + 1];

    if (!lex_option(rules, option, &line)) {
        if (option->code == 'l')
            open_broken_rule(rules, option, &line);
        return;
    }
    switch (option->code) {
    case 'l':
        take_listen(rules, option, &line);
        break;
    case 's':
        take_server(rules, option, &line, name);
        break;
    case 'b':
        lex_insert_word(&line, 0, "balance", option->column);
        break;
    case 'w':
        lex_insert_word(&line, 0, "workers", option->column);
        break;
    case 'u':
        lex_insert_word(&line, 0, "user", option->column);
        break;
    case FLAGS_NO_SPLICE:
        lex_insert_word(&line, 0, "splice", option->column);
        break;
    default: /* 'o': a whole directive */
        break;
    }
    if (rules->reader.skip_depth == 0)
        reader_take_directive(&rules->reader, &line);
}

/* -w, -u and --no-splice may also stand behind a -l. */
static bool is_global(const struct flags_option *option)
{
    return option->code == 'w' || option->code == 'u' || option->code == FLAGS_NO_SPLICE;
}

void rules_read(const struct flags *flags, struct conf *conf, struct conf_report *report)
{
    const unsigned outside = SECTION_GLOBAL | SECTION_DEFAULTS;
    struct rules rules = {0};

    reader_init(&rules.reader, conf, report, command_line);
    rules.reader.accepts = outside;
    for (size_t i = 0; i < flags->n_options && !report->has_more_errors; i++) {
        const struct flags_option *option = &flags->options[i];
        unsigned inside = rules.reader.accepts;

        if (is_global(option))
            rules.reader.accepts = outside;
        take_option(&rules, option);
        if (is_global(option))
            rules.reader.accepts = inside;
    }
    if (rules.reader.accepts & SECTION_SERVICE)
        reader_close_block(&rules.reader);
}
