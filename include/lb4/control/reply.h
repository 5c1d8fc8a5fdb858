/* A reply under construction: bytes that are only appended, as text or as JSON, bounded.
 *
 * Whoever appends need not look whether there was room: a reply that would be too long, or for
 * which there is no memory, is over, and takes nothing any more. Thread: control. */
#ifndef LB4_CONTROL_REPLY_H
#define LB4_CONTROL_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct reply {
    char *bytes; /* malloc */
    size_t n_bytes;
    size_t cap;
    size_t most;  /* bytes that it may have */
    bool is_over; /* too long, or no memory */
    bool is_json; /* what the handlers are to write */
};

/* Empty, holds no memory. */
void reply_init(struct reply *reply, size_t most);
void reply_fini(struct reply *reply);

/* Empty again, text; gives memory beyond 64 KiB back. */
void reply_clear(struct reply *reply);

void reply_append(struct reply *reply, const char *bytes, size_t n_bytes);
void reply_text(struct reply *reply, const char *text);
void reply_format(struct reply *reply, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

enum reply_result {
    REPLY_SENT,    /* all of it */
    REPLY_BLOCKED, /* the socket takes no more now */
    REPLY_UNWANTED /* nobody reads any more */
};

/* Send what follows the first *n_sent bytes, and count on; a non-blocking socket. */
enum reply_result reply_send(const struct reply *reply, size_t *n_sent, int fd);

/* A JSON string (RFC 8259, section 7) with its quotes. What is not UTF-8 becomes U+FFFD. */
void reply_json_string(struct reply *reply, const char *text);

#endif
