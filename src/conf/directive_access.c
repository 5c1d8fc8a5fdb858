/* Who may come in. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/conf/access.h"
#include "lb4/conf/handlers.h"
#include "lb4/conf/prefix_list.h"
#include "lb4/conf/value.h"

static const char file_word[] = "file:";

static struct conf_access_rules *rules_of(struct reader *reader)
{
    return reader->accepts & SECTION_SERVICE ? &reader_service(reader)->rules
                                             : &reader->conf->default_rules;
}

/* A relative one is relative to the folder of the file that names it; on the command line to the
 * present one. false: it is too long. */
static bool resolve(const char *from, const char *path, char ret[static CONF_FILE_MAX + 1])
{
    const char *slash = path[0] == '/' ? NULL : strrchr(from, '/');
    int n_folder = slash ? (int)(slash - from) + 1 : 0;

    return snprintf(ret, CONF_FILE_MAX + 1, "%.*s%s", n_folder, from, path) <= CONF_FILE_MAX;
}

static void take_file(struct reader *reader, const struct lex_line *line,
                      struct conf_access_rule *rule)
{
    const char *word = line->words[1].text;
    const char *path = word + sizeof(file_word) - 1;
    char resolved[CONF_FILE_MAX + 1];

    if (path[0] == '\0' || !resolve(reader->file, path, resolved)) {
        reader_error(reader, line, 1, "%s: %s needs a path of 1..%d bytes", line->words[0].text,
                     file_word, CONF_FILE_MAX);
        return;
    }
    rule->word = strdup(word);
    if (!rule->word)
        reader_error(reader, line, 1, "out of memory");
    else
        rule->list = prefix_list_read(reader->conf, resolved, &rule->place, reader->report);
}

static void take_network(struct reader *reader, const struct lex_line *line,
                         struct conf_access_rule *rule)
{
    const struct lex_word *word = &line->words[1];
    char reason[PREFIX_ERROR_MAX];
    char quote[CONF_QUOTE_MAX];
    char text[PREFIX_TEXT_MAX];
    bool is_exact = true;

    if (strcmp(word->text, "all") == 0)
        rule->is_all = true;
    else if (!prefix_parse(word->text, word->n_bytes, &rule->prefix, &is_exact, reason))
        reader_error(reader, line, 1, "%s: %s: %s, all, file:PATH", line->words[0].text,
                     conf_quote(word->text, word->n_bytes, quote), reason);
    else if (!is_exact)
        conf_report_warn(reader->report, &rule->place, "%s: %s is taken for %s",
                         line->words[0].text, conf_quote(word->text, word->n_bytes, quote),
                         prefix_format(&rule->prefix, text));
}

void directive_access(struct reader *reader, const struct lex_line *line)
{
    struct conf_access_rules *rules = rules_of(reader);
    struct conf_access_rule *rule;

    if (rules->n == CONF_RULES_MAX) {
        reader_error(reader, line, 0,
                     "more than %d lines of allow and deny; put networks into a "
                     "file: %s file:PATH",
                     CONF_RULES_MAX, line->words[0].text);
        return;
    }
    rule = conf_access_add(rules);
    if (!rule) {
        reader_error(reader, line, 0, "out of memory");
        return;
    }
    rule->place = reader_place(reader, line, 1);
    rule->allows = strcmp(line->words[0].text, "allow") == 0;
    if (strncmp(line->words[1].text, file_word, sizeof(file_word) - 1) == 0)
        take_file(reader, line, rule);
    else
        take_network(reader, line, rule);
}

void directive_refuse(struct reader *reader, const struct lex_line *line)
{
    static const char *const ways[] = {"reset", "close", "silent", NULL};
    static const enum conf_refuse refusals[] = {CONF_REFUSE_RESET, CONF_REFUSE_CLOSE,
                                                CONF_REFUSE_SILENT};
    size_t choice;

    if (value_choice(reader, line, 1, ways, &choice))
        rules_of(reader)->refuse = refusals[choice];
}
