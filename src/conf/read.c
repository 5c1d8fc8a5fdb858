/* Blocks do not nest: the reader is at the top level, in `defaults`, in a service, or skips the
 * content of a block that was wrong from its first line (skip_depth). */
#include "lb4/conf/read.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lb4/conf/value.h"

struct conf_place reader_place(const struct reader *reader, const struct lex_line *line, size_t i)
{
    return (struct conf_place){reader->file, line->number, line->words[i].column};
}

void reader_error(struct reader *reader, const struct lex_line *line, size_t i, const char *format,
                  ...)
{
    struct conf_place place = reader_place(reader, line, i);
    char text[CONF_MESSAGE_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    conf_report_error(reader->report, &place, "%s", text);
}

void reader_refuse(struct reader *reader, const struct lex_line *line, size_t i)
{
    const char *word = line->words[0].text;

    if (i == 0)
        reader_error(reader, line, i, "%s: not in this version", word);
    else
        reader_error(reader, line, i, "%s: '%.40s' is not in this version", word,
                     line->words[i].text);
}

struct conf_service *reader_service(struct reader *reader)
{
    return &reader->conf->services[reader->conf->n_services - 1];
}

void reader_init(struct reader *reader, struct conf *conf, struct conf_report *report,
                 const char *file)
{
    *reader = (struct reader){
        .conf = conf,
        .report = report,
        .file = file,
        .accepts = SECTION_GLOBAL,
    };
}

static void brace_error(struct reader *reader, const struct lex_line *line, const char *text)
{
    struct conf_place place = {reader->file, line->number, line->brace_column};

    conf_report_error(reader->report, &place, "%s", text);
}

/* What only the listeners of the whole service can tell. */
static void judge_claims(struct reader *reader, const struct conf_service *service)
{
    unsigned transports = conf_transports(service);

    if (transports == 0)
        return;
    for (size_t i = 0; i < reader->n_udp_words && !(transports & CONF_UDP); i++)
        conf_report_error(reader->report, &reader->udp_words[i].place,
                          "%s: the service has no UDP listener; add: listen udp ADDRESS:PORT",
                          reader->udp_words[i].word);
    if (reader->tcp_check.word && !(transports & CONF_TCP))
        conf_report_error(
            reader->report, &reader->tcp_check.place,
            "%s: a text of 0 bytes is no datagram, accepted in a service that listens "
            "on UDP only: 1..%d",
            reader->tcp_check.word, CONF_TEXT_MAX);
}

void reader_close_block(struct reader *reader)
{
    const struct conf_service *service;
    bool is_whole = reader->report->n_errors == reader->n_errors_before_block;

    if ((reader->accepts & SECTION_SERVICE) && is_whole && reader_service(reader)->name[0]) {
        service = reader_service(reader);
        if (service->n_listens == 0)
            conf_report_error(reader->report, &service->place,
                              "service '%s' has no listener, add: listen tcp ADDRESS:PORT",
                              service->name);
        judge_claims(reader, service);
        if (service->n_servers == 0)
            conf_report_error(reader->report, &service->place,
                              "service '%s' has no server, add: server NAME HOST:PORT (-s "
                              "HOST:PORT on the command line)",
                              service->name);
    }
    reader->accepts = SECTION_GLOBAL;
}

void reader_open_service(struct reader *reader, const struct lex_line *line, size_t i,
                         const char *name)
{
    struct conf_service *service;

    if (reader->accepts & SECTION_SERVICE)
        reader_close_block(reader);
    reader->n_errors_before_block = reader->report->n_errors;
    if (reader->conf->n_services == CONF_SERVICES_MAX)
        reader_error(reader, line, i, "more than %d services", CONF_SERVICES_MAX);
    service = reader->conf->n_services < CONF_SERVICES_MAX ? conf_add_service(reader->conf) : NULL;
    if (!service) {
        reader->skip_depth = 1;
        return;
    }
    snprintf(service->name, sizeof(service->name), "%s", name);
    service->place = reader_place(reader, line, i);
    reader->accepts = SECTION_SERVICE;
    reader->seen_in_service = 0;
    reader->n_udp_words = 0;
    reader->tcp_check.word = NULL;
}

/* Bit of a directive in seen_outside for the block `defaults`, which may come once: rows are fewer
 * than 63 (directive.c). */
static const uint64_t seen_defaults = 1ull << 63;

static void open_defaults(struct reader *reader, const struct lex_line *line)
{
    if (line->n_words > 1)
        reader_error(reader, line, 1, "'defaults' takes no argument");
    if (reader->seen_outside & seen_defaults)
        reader_error(reader, line, 0, "'defaults' is given twice");
    reader->seen_outside |= seen_defaults;
    reader->accepts = SECTION_DEFAULTS;
}

static void open_named_service(struct reader *reader, const struct lex_line *line)
{
    char name[CONF_NAME_MAX + 1] = ""; /* a service with a wrong name is read on, for its errors */

    if (line->n_words < 2)
        reader_error(reader, line, 0, "a service needs a name: service NAME {");
    else if (line->n_words > 2)
        reader_error(reader, line, 2, "one name is enough: service NAME {");
    else
        value_name(reader, line, 1, name);
    reader_open_service(reader, line, line->n_words < 2 ? 0 : 1, name);
}

static void open_block(struct reader *reader, const struct lex_line *line)
{
    const char *word = line->n_words > 0 ? line->words[0].text : "";
    bool is_defaults = strcmp(word, "defaults") == 0;
    bool is_service = strcmp(word, "service") == 0;

    if (reader->accepts != SECTION_GLOBAL && (is_defaults || is_service)) {
        reader_error(reader, line, 0,
                     "'%s' belongs at the top level; the block of line %u is not closed", word,
                     reader->opened_at.line);
        reader->accepts = SECTION_GLOBAL;
    }
    reader->opened_at = (struct conf_place){reader->file, line->number, line->brace_column};
    if (is_defaults) {
        open_defaults(reader, line);
    } else if (is_service) {
        open_named_service(reader, line);
    } else {
        brace_error(reader, line, "'{' opens a block only behind: defaults, service NAME");
        reader->skip_depth = 1;
    }
}

/* "service x" where '{' was forgotten, or stands on the next line. */
static bool is_block_word(const struct lex_line *line)
{
    return strcmp(line->words[0].text, "defaults") == 0 ||
           strcmp(line->words[0].text, "service") == 0;
}

static bool check_words(struct reader *reader, const struct lex_line *line,
                        const struct directive *row)
{
    size_t n_args = line->n_words - (row->sub ? 2 : 1);

    if (n_args < row->min_args)
        reader_error(reader, line, 0, "%s: an argument is missing: %s", row->word, row->form);
    else if (n_args > row->max_args)
        reader_error(reader, line, line->n_words - n_args + row->max_args,
                     "%s: one argument too many: %s", row->word, row->form);
    else
        return true;
    return false;
}

static bool check_bytes(struct reader *reader, const struct lex_line *line)
{
    for (size_t i = 0; i < line->n_words; i++) {
        if (strlen(line->words[i].text) != line->words[i].n_bytes) {
            reader_error(reader, line, i, "a NUL byte is accepted only in: check send, expect");
            return false;
        }
    }
    return true;
}

static bool check_once(struct reader *reader, const struct lex_line *line,
                       const struct directive *row, unsigned index)
{
    uint64_t *seen =
        reader->accepts & SECTION_SERVICE ? &reader->seen_in_service : &reader->seen_outside;
    bool is_second = *seen & 1ull << index;

    *seen |= 1ull << index;
    if (!is_second || row->is_repeatable)
        return true;
    reader_error(reader, line, 0, "'%s%s%s' is given twice", row->word, row->sub ? " " : "",
                 row->sub ? row->sub : "");
    return false;
}

void reader_take_directive(struct reader *reader, const struct lex_line *line)
{
    const struct directive *row;
    unsigned index;

    if (is_block_word(line)) {
        reader_error(reader, line, 0, "'%s' opens a block, '{' must end its line",
                     line->words[0].text);
        return;
    }
    row = directive_find(reader, line, &index);
    if (row && check_words(reader, line, row) && (row->takes_bytes || check_bytes(reader, line)) &&
        check_once(reader, line, row, index))
        row->apply(reader, line);
}

static void skip_line(struct reader *reader, const struct lex_line *line)
{
    if (line->opens_block)
        reader->skip_depth++;
    else if (line->closes_block)
        reader->skip_depth--;
}

static void take_bad_line(struct reader *reader, const struct lex_line *line)
{
    struct conf_place place = {reader->file, line->number, line->error_column};

    conf_report_error(reader->report, &place, "%s", line->error);
    if (!line->opens_block)
        return;
    if (reader->skip_depth++ == 0)
        reader->opened_at = place;
}

static void take_line(struct reader *reader, const struct lex_line *line)
{
    if (reader->skip_depth > 0)
        skip_line(reader, line);
    else if (line->opens_block)
        open_block(reader, line);
    else if (line->closes_block && reader->accepts == SECTION_GLOBAL)
        brace_error(reader, line, "'}' without a block");
    else if (line->closes_block)
        reader_close_block(reader);
    else if (line->n_words > 0)
        reader_take_directive(reader, line);
}

int conf_read_text(const char *name, const char *text, size_t n_bytes, struct conf *conf,
                   struct conf_report *report)
{
    const char *file = conf_add_file(conf, name);
    struct reader reader;
    struct lex_line line;
    enum lex_result result;
    struct lex lex;

    if (!file) {
        conf_report_error(report, &(struct conf_place){"lb4", 0, 0}, "out of memory");
        return -EINVAL;
    }
    reader_init(&reader, conf, report, file);
    lex_init(&lex, text, n_bytes);
    while ((result = lex_next(&lex, &line)) != LEX_END && !report->has_more_errors) {
        if (result == LEX_BAD)
            take_bad_line(&reader, &line);
        else
            take_line(&reader, &line);
    }
    if (result == LEX_END && (reader.accepts != SECTION_GLOBAL || reader.skip_depth > 0))
        conf_report_error(report, &reader.opened_at, "the block that opens here is never closed");
    return report->n_errors > 0 ? -EINVAL : 0;
}
