#include "lb4/base/log_format.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lb4/base/clock.h"
#include "lb4/base/log_event.h"

static const char *const level_words[] = {"ERROR", "WARN", "INFO", "DEBUG"};
/* RFC 3164 4.1.1, the same in sd-daemon(3): err, warning, info, debug. */
static const int severities[] = {3, 4, 6, 7};

/* What is escaped beside control bytes and those from 0x7f on. */
enum escaping {
    ESCAPE_TEXT,  /* nothing */
    ESCAPE_VALUE, /* what could end a value, or begin one */
    ESCAPE_JSON   /* what RFC 8259 wants; the escapes of the text form are escaped themselves */
};

enum { ESCAPE_MAX = 5, DOTS = 3, SCALAR_MAX = 80 /* an address in quotes, the longest */ };

static size_t escape(enum escaping escaping, unsigned char byte, char out[static ESCAPE_MAX])
{
    static const char HEX[] = "0123456789abcdef";
    bool is_mark = byte == '"' || byte == '\\';
    size_t n = 0;

    if (byte >= 0x20 && byte < 0x7f &&
        (escaping == ESCAPE_TEXT ||
         (!is_mark && (escaping == ESCAPE_JSON || (byte != ' ' && byte != '='))))) {
        out[n++] = (char)byte;
        return n;
    }
    if (escaping == ESCAPE_JSON)
        out[n++] = '\\';
    if (escaping == ESCAPE_JSON && is_mark) {
        out[n++] = (char)byte;
        return n;
    }
    out[n++] = '\\';
    out[n++] = 'x';
    out[n++] = HEX[byte >> 4];
    out[n++] = HEX[byte & 15];
    return n;
}

/* Append the bytes, cut at a whole byte or escape, so that `after` bytes still fit behind. */
static void put_escaped(struct log_text *line, enum escaping escaping, const char *bytes, size_t n,
                        size_t after)
{
    size_t room = line->limit - after;
    size_t cut = line->used; /* the last place where "..." still fits */

    for (size_t i = 0; i < n; i++) {
        char out[ESCAPE_MAX];
        size_t n_out = escape(escaping, (unsigned char)bytes[i], out);

        if (line->used + n_out > room) {
            memcpy(line->bytes + cut, "...", DOTS);
            line->used = cut + DOTS;
            return;
        }
        memcpy(line->bytes + line->used, out, n_out);
        line->used += n_out;
        if (line->used + DOTS <= room)
            cut = line->used;
    }
}

/* For what is known to fit; printf(3) is most of what a line costs, and left to its front. */
static void put(struct log_text *line, const char *text)
{
    size_t n = strnlen(text, sizeof(line->bytes) - line->used);

    memcpy(line->bytes + line->used, text, n);
    line->used += n;
}

static void put_number(struct log_text *line, uint64_t number)
{
    char digits[24];
    size_t at = sizeof(digits) - 1;

    digits[at] = '\0';
    do
        digits[--at] = (char)('0' + number % 10);
    while (number /= 10);
    put(line, digits + at);
}

static void put_front_text(struct log_text *line, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void put_front_text(struct log_text *line, const char *format, ...)
{
    char text[64];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    put(line, text);
}

static void put_time(struct log_text *line, uint64_t time_ns)
{
    time_t seconds = (time_t)(time_ns / CLOCK_NS_PER_S);
    unsigned ms = (unsigned)(time_ns % CLOCK_NS_PER_S / CLOCK_NS_PER_MS);
    struct tm utc;

    gmtime_r(&seconds, &utc);
    put_front_text(line, "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ", utc.tm_year + 1900, utc.tm_mon + 1,
                   utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, ms);
}

/* As syslog(3) of glibc writes it. */
static void put_syslog_front(struct log_text *line, const struct log_style *style,
                             const struct log_record *record)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t seconds = (time_t)(record->time_ns / CLOCK_NS_PER_S);
    struct tm local;

    localtime_r(&seconds, &local);
    put_front_text(line, "<%d>%.3s %2d %02d:%02d:%02d lb4[%d]: ",
                   style->facility * 8 + severities[record->level], months + 3 * local.tm_mon,
                   local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec, style->pid);
}

static void put_front(struct log_text *line, const struct log_style *style,
                      const struct log_record *record)
{
    switch (style->front) {
    case LOG_FRONT_NONE:
        break;
    case LOG_FRONT_JOURNAL:
        put_front_text(line, "<%d>", severities[record->level]);
        break;
    case LOG_FRONT_SYSLOG:
        put_syslog_front(line, style, record);
        line->limit += line->used;
        break;
    }
}

/* Milliseconds, with tenths where they tell something. */
static void put_ms(struct log_text *line, uint64_t ns)
{
    uint64_t tenths = (ns + CLOCK_NS_PER_MS / 20) / (CLOCK_NS_PER_MS / 10);

    if (tenths < 1000 && tenths % 10 != 0) {
        put_number(line, tenths / 10);
        put(line, ".");
        put_number(line, tenths % 10);
    } else {
        put_number(line, (ns + CLOCK_NS_PER_MS / 2) / CLOCK_NS_PER_MS);
    }
}

static void put_cell(struct log_text *line, const struct log_cell *cell, enum escaping escaping,
                     size_t after)
{
    char text[ADDR_TEXT_MAX];

    switch (cell->key->kind) {
    case LOG_TEXT:
        put_escaped(line, escaping, cell->text, cell->n_text, after);
        break;
    case LOG_NUMBER:
        put_number(line, cell->number);
        break;
    case LOG_MS:
        put_ms(line, cell->number);
        break;
    case LOG_ADDR:
        addr_format(&cell->addr, text);
        put_escaped(line, escaping, text, strlen(text), after);
        break;
    }
}

static bool is_quoted(const struct log_cell *cell)
{
    return cell->key->kind == LOG_TEXT || cell->key->kind == LOG_ADDR;
}

/* --- text --- */

static void put_text_values(struct log_text *line, struct log_event *event)
{
    struct log_cell cell;

    put(line, event->form->event);
    while (log_event_next(event, &cell)) {
        if (line->used + strlen(cell.key->name) + SCALAR_MAX > line->limit)
            continue;
        put(line, " ");
        put(line, cell.key->name);
        put(line, "=");
        if (cell.is_none || (is_quoted(&cell) && cell.key->kind == LOG_TEXT && cell.n_text == 0))
            put(line, "-");
        else
            put_cell(line, &cell, ESCAPE_VALUE, 1);
    }
}

static void put_text_event(struct log_text *line, const char *bytes, size_t n)
{
    struct log_event event;
    struct log_event values;
    struct log_cell cell;

    log_event_begin(&event, bytes, n);
    values = event;
    while (log_event_next(&event, &cell))
        continue;
    if (event.n_left > 0)
        put_escaped(line, ESCAPE_TEXT, event.at, event.n_left, 1);
    else
        put_text_values(line, &values);
}

static void format_text(struct log_text *line, const struct log_style *style,
                        const struct log_record *record, const char *thread, const char *bytes)
{
    if (style->front == LOG_FRONT_NONE) {
        put_time(line, record->time_ns);
        put(line, " ");
    }
    put(line, level_words[record->level]);
    put(line, " ");
    put(line, thread);
    put(line, ": ");
    if (record->is_event)
        put_text_event(line, bytes, record->n_bytes);
    else
        put_escaped(line, ESCAPE_TEXT, bytes, record->n_bytes, 1);
}

/* --- JSON --- */

enum { JSON_END = 3 }; /* quote, brace, newline */

static void put_message(struct log_text *line, const char *bytes, size_t n)
{
    static const char key[] = ",\"message\":\"";

    if (line->used + sizeof(key) + DOTS + JSON_END > line->limit)
        return;
    put(line, key);
    put_escaped(line, ESCAPE_JSON, bytes, n, JSON_END);
    put(line, "\"");
}

static void put_json_event(struct log_text *line, const char *bytes, size_t n)
{
    struct log_event event;
    struct log_cell cell;

    log_event_begin(&event, bytes, n);
    put(line, ",\"event\":\"");
    put(line, event.form->event);
    put(line, "\"");
    while (log_event_next(&event, &cell)) {
        const char *quote = !cell.is_none && is_quoted(&cell) ? "\"" : "";

        if (line->used + strlen(cell.key->name) + SCALAR_MAX + JSON_END > line->limit)
            continue;
        put(line, ",\"");
        put(line, cell.key->name);
        put(line, "\":");
        put(line, quote);
        if (cell.is_none)
            put(line, "null");
        else
            put_cell(line, &cell, ESCAPE_JSON, JSON_END);
        put(line, quote);
    }
    if (event.n_left > 0)
        put_message(line, event.at, event.n_left);
}

static void format_json(struct log_text *line, const struct log_record *record, const char *thread,
                        const char *bytes)
{
    put(line, "{\"time\":\"");
    put_time(line, record->time_ns);
    put(line, "\",\"level\":\"");
    put(line, level_words[record->level]);
    put(line, "\",\"thread\":\"");
    put_escaped(line, ESCAPE_JSON, thread, strlen(thread), JSON_END);
    put(line, "\"");
    if (record->is_event)
        put_json_event(line, bytes, record->n_bytes);
    else
        put_message(line, bytes, record->n_bytes);
    put(line, "}");
}

void log_format(struct log_text *line, const struct log_style *style,
                const struct log_record *record, const char *thread, const char *bytes)
{
    bool is_long = style->is_json || record->is_event;

    line->used = 0;
    line->limit = is_long ? LOG_EVENT_LINE_MAX : LOG_LINE_MAX;
    put_front(line, style, record);
    if (style->is_json)
        format_json(line, record, thread, bytes);
    else
        format_text(line, style, record, thread, bytes);
    if (style->front != LOG_FRONT_SYSLOG)
        line->bytes[line->used++] = '\n';
}
