#include "lb4/control/exposition.h"

#include <stdio.h>
#include <string.h>

enum { SUFFIXED_MAX = 80, BOUND_MAX = 32 };

void exposition_family(struct reply *reply, const char *name, const char *type, const char *help)
{
    reply_format(reply, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Returns the bytes that the escaped value takes. */
static size_t escape(const char *value, char *text, size_t cap)
{
    size_t n = 0;

    for (; *value; value++) {
        char byte = *value == '\n' ? 'n' : *value;

        if (strchr("\\\"\n", *value) && n++ < cap)
            text[n - 1] = '\\';
        if (n++ < cap)
            text[n - 1] = byte;
    }
    return n;
}

void exposition_label(char *labels, size_t cap, const char *name, const char *value)
{
    size_t before = strlen(labels);
    size_t at = before + (size_t)snprintf(labels + before, cap - before, "%s%s=\"",
                                          before > 0 ? "," : "", name);

    if (at < cap)
        at += escape(value, labels + at, cap - at);
    if (at + 2 > cap) {
        labels[before] = '\0';
        return;
    }
    memcpy(labels + at, "\"", 2);
}

static void append_number(struct reply *reply, uint64_t value)
{
    char digits[24];
    size_t at = sizeof(digits);

    do
        digits[--at] = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    reply_append(reply, digits + at, sizeof(digits) - at);
}

/* Tens of thousands are written in one scrape, hence without a format. */
static void append_series(struct reply *reply, const char *name, const char *labels,
                          const char *more)
{
    reply_text(reply, name);
    if (*labels || *more) {
        reply_text(reply, "{");
        reply_text(reply, labels);
        reply_text(reply, *labels && *more ? "," : "");
        reply_text(reply, more);
        reply_text(reply, "}");
    }
    reply_text(reply, " ");
}

void exposition_sample(struct reply *reply, const char *name, const char *labels, const char *more,
                       uint64_t value)
{
    append_series(reply, name, labels, more);
    append_number(reply, value);
    reply_text(reply, "\n");
}

static const char *suffixed(const char *name, const char *suffix, char text[static SUFFIXED_MAX])
{
    snprintf(text, SUFFIXED_MAX, "%s%s", name, suffix);
    return text;
}

void exposition_histogram(struct reply *reply, const char *name, const char *labels,
                          const struct histogram_scale *scale, const struct histogram_sum *sum)
{
    char text[SUFFIXED_MAX];
    char bound[BOUND_MAX];
    uint64_t n = 0;

    suffixed(name, "_bucket", text);
    for (size_t i = 0; i < HISTOGRAM_RANGES; i++) {
        n += sum->counts[i];
        snprintf(bound, sizeof(bound), "le=\"%s\"",
                 i < HISTOGRAM_BOUNDS ? scale->words[i] : "+Inf");
        exposition_sample(reply, text, labels, bound, n);
    }
    append_series(reply, suffixed(name, "_sum", text), labels, "");
    append_number(reply, sum->sum / scale->unit);
    if (scale->unit > 1)
        reply_format(reply, ".%09llu", (unsigned long long)(sum->sum % scale->unit));
    reply_text(reply, "\n");
    exposition_sample(reply, suffixed(name, "_count", text), labels, "", n);
}
