/* A record of the log as a line: text, or JSON (RFC 8259), with what its reader wants in front.
 *
 *    2026-11-22T18:07:07.123Z WARN worker 1: text                  text
 *    <4>WARN worker 1: text                                        to the journal, sd-daemon(3)
 *    <28>Nov 22 18:07:07 lb4[123]: WARN worker 1: text             to syslog, RFC 3164, local time
 *    {"time":"...","level":"WARN","thread":"worker 1","message":"text"}
 *
 * Bytes below 0x20 and from 0x7f on are written as \xHH, in JSON as the text \xHH, so that a value
 * reads the same in both; in a named value of the text form blanks, quotes, '=' and '\', too: a
 * peer's bytes cannot forge a line or a value. What is too long is cut and ends in "..."; JSON is
 * whole all the same. Pure, but for the name of an IPv6 scope and the time zone of syslog. */
#ifndef LB4_BASE_LOG_FORMAT_H
#define LB4_BASE_LOG_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

enum {
    LOG_LINE_MAX = 512, /* bytes of a line of text, with the newline */
    LOG_EVENT_LINE_MAX =
        1024 /* of an event, and of JSON; what is in front for syslog comes on top */
};

enum log_front { LOG_FRONT_NONE, LOG_FRONT_JOURNAL, LOG_FRONT_SYSLOG };

struct log_style {
    enum log_front front;
    bool is_json;
    int facility; /* of LOG_FRONT_SYSLOG: 0..23, RFC 3164 4.1.1 */
    int pid;
};

struct log_record {
    uint64_t time_ns; /* CLOCK_REALTIME */
    uint16_t n_bytes; /* of the text, or of a packed event with its sentence (base/log_event.h) */
    uint8_t level;    /* enum log_level */
    bool is_event;
};

struct log_text {
    char bytes[LOG_EVENT_LINE_MAX + 64];
    size_t used;
    size_t limit; /* with the newline */
};

/* `thread`: the name of who said it. A line of syslog has no newline. */
void log_format(struct log_text *line, const struct log_style *style,
                const struct log_record *record, const char *thread, const char *bytes);

#endif
