#include "lb4/conf/report.h"

#include <stdarg.h>
#include <string.h>

void conf_report_init(struct conf_report *report)
{
    report->n_errors = 0;
    report->n_warnings = 0;
    report->has_more_errors = false;
}

static bool place_is_after(const struct conf_place *a, const struct conf_place *b)
{
    if (strcmp(a->file, b->file) != 0)
        return false;
    return a->line > b->line || (a->line == b->line && a->column > b->column);
}

/* Cross checks find errors after the lines were read; people fix a file from top to bottom. */
static void sort_last(struct conf_message *messages, size_t n_messages)
{
    for (size_t i = n_messages - 1; i > 0; i--) {
        struct conf_message moved = messages[i];

        if (!place_is_after(&messages[i - 1].place, &moved.place))
            return;
        messages[i] = messages[i - 1];
        messages[i - 1] = moved;
    }
}

void conf_report_error(struct conf_report *report, const struct conf_place *place,
                       const char *format, ...)
{
    struct conf_message *message = &report->errors[report->n_errors];
    va_list args;

    if (report->n_errors == CONF_ERRORS_MAX) {
        report->has_more_errors = true;
        return;
    }
    message->place = *place;
    va_start(args, format);
    vsnprintf(message->text, sizeof(message->text), format, args);
    va_end(args);
    sort_last(report->errors, ++report->n_errors);
}

void conf_report_warn(struct conf_report *report, const struct conf_place *place,
                      const char *format, ...)
{
    struct conf_message *message = &report->warnings[report->n_warnings];
    va_list args;

    if (report->n_warnings == CONF_ERRORS_MAX)
        return;
    message->place = *place;
    va_start(args, format);
    vsnprintf(message->text, sizeof(message->text), format, args);
    va_end(args);
    sort_last(report->warnings, ++report->n_warnings);
}

static void write_file_name(const char *name, FILE *stream)
{
    for (; *name; name++) {
        unsigned char byte = (unsigned char)*name;

        if (byte < 0x20 || byte == 0x7f)
            fprintf(stream, "\\x%02x", byte);
        else
            fputc(byte, stream);
    }
}

static void write_message(const struct conf_message *message, const char *kind, FILE *stream)
{
    write_file_name(message->place.file, stream);
    if (message->place.line > 0)
        fprintf(stream, ":%u:%u", message->place.line, message->place.column);
    fprintf(stream, ": %s%s\n", kind, message->text);
}

void conf_report_write(const struct conf_report *report, FILE *stream)
{
    for (size_t i = 0; i < report->n_warnings; i++)
        write_message(&report->warnings[i], "warning: ", stream);
    for (size_t i = 0; i < report->n_errors; i++)
        write_message(&report->errors[i], "", stream);
    if (report->has_more_errors)
        fputs("too many errors, the rest is not shown\n", stream);
}

const char *conf_quote(const char *text, size_t n_bytes, char out[static CONF_QUOTE_MAX])
{
    const size_t room = CONF_QUOTE_MAX - sizeof("\\xHH...'");
    size_t at = 0;
    size_t i = 0;

    out[at++] = '\'';
    for (; i < n_bytes && at <= room; i++) {
        unsigned char byte = (unsigned char)text[i];

        if (byte < 0x20 || byte >= 0x7f || byte == '\\')
            at += (size_t)snprintf(out + at, CONF_QUOTE_MAX - at, "\\x%02x", byte);
        else
            out[at++] = (char)byte;
    }
    snprintf(out + at, CONF_QUOTE_MAX - at, "%s'", i < n_bytes ? "..." : "");
    return out;
}
