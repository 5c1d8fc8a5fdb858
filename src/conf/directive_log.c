/* The log and the access lines. */
#include <stdio.h>
#include <string.h>

#include "lb4/base/log_sink.h"
#include "lb4/conf/handlers.h"
#include "lb4/conf/value.h"

static bool takes_no_more(struct reader *reader, const struct lex_line *line)
{
    if (line->n_words <= 2)
        return true;
    reader_error(reader, line, 2, "%s %s takes no argument", line->words[0].text,
                 line->words[1].text);
    return false;
}

static void log_to_file(struct reader *reader, const struct lex_line *line)
{
    struct conf_log *log = &reader->conf->log;
    char quote[CONF_QUOTE_MAX];

    if (line->n_words < 3)
        reader_error(reader, line, 1, "log file: an argument is missing: an absolute path");
    else if (line->words[2].text[0] != '/' || line->words[2].n_bytes > CONF_FILE_MAX)
        reader_error(reader, line, 2, "log file: %s is not an absolute path of at most %d bytes",
                     conf_quote(line->words[2].text, line->words[2].n_bytes, quote), CONF_FILE_MAX);
    else {
        log->kind = CONF_LOG_FILE;
        snprintf(log->path, sizeof(log->path), "%s", line->words[2].text);
    }
}

static void log_to_syslog(struct reader *reader, const struct lex_line *line)
{
    const char *words[32] = {NULL};
    int facilities[32];
    size_t n = 0;
    size_t choice = 0;

    for (int i = 0; log_facility_word(i); i++) {
        if (log_facility_word(i)[0] == '\0')
            continue;
        facilities[n] = i;
        words[n++] = log_facility_word(i);
    }
    if (line->n_words > 2 && !value_choice(reader, line, 2, words, &choice))
        return;
    reader->conf->log.kind = CONF_LOG_SYSLOG;
    reader->conf->log.facility = line->n_words > 2 ? facilities[choice] : CONF_FACILITY_DAEMON;
}

void directive_log(struct reader *reader, const struct lex_line *line)
{
    static const char *const kinds[] = {"stderr", "file", "syslog", NULL};
    size_t choice;

    if (!value_choice(reader, line, 1, kinds, &choice))
        return;
    if (choice == 1)
        log_to_file(reader, line);
    else if (choice == 2)
        log_to_syslog(reader, line);
    else if (takes_no_more(reader, line))
        reader->conf->log.kind = CONF_LOG_STDERR;
}

void directive_log_format(struct reader *reader, const struct lex_line *line)
{
    static const char *const formats[] = {"text", "json", NULL};
    size_t choice;

    if (value_choice(reader, line, 1, formats, &choice))
        reader->conf->log.is_json = choice == 1;
}

void directive_access_log(struct reader *reader, const struct lex_line *line)
{
    static const char *const on_off[] = {"on", "off", NULL};
    static const struct value_option options[] = {
        {.word = "interval", .kind = VALUE_DURATION},
        {.word = NULL},
    };
    bool is_service = reader->accepts & SECTION_SERVICE;
    struct conf_access *access =
        is_service ? &reader_service(reader)->access : &reader->conf->default_access;
    uint64_t values[VALUE_OPTIONS_MAX] = {0};
    size_t choice;

    if (!value_choice(reader, line, 1, on_off, &choice) ||
        (choice == 1 && !takes_no_more(reader, line)) ||
        !value_options(reader, line, 2, options, values))
        return;
    access->state = choice == 0 ? CONF_ACCESS_ON : CONF_ACCESS_OFF;
    access->interval_ms = values[0];
}
