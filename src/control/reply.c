#include "lb4/control/reply.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    REPLY_FIRST_CAP = 1024,
    REPLY_KEPT_CAP = 64 * 1024, /* chosen: most replies fit, 8 clients hold 512 KiB at most */
    REPLY_FORMAT_MAX = 1024     /* of one reply_format() */
};

void reply_init(struct reply *reply, size_t most)
{
    *reply = (struct reply){.most = most};
}

void reply_fini(struct reply *reply)
{
    free(reply->bytes);
    reply_init(reply, reply->most);
}

void reply_clear(struct reply *reply)
{
    if (reply->cap > REPLY_KEPT_CAP)
        reply_fini(reply);
    reply->n_bytes = 0;
    reply->is_over = false;
    reply->is_json = false;
}

static bool reserve(struct reply *reply, size_t n_bytes)
{
    size_t needed = reply->n_bytes + n_bytes;
    size_t cap = reply->cap ? reply->cap : REPLY_FIRST_CAP;
    char *bytes;

    if (needed > reply->most)
        return false;
    if (needed <= reply->cap)
        return true;
    while (cap < needed)
        cap *= 2;
    bytes = realloc(reply->bytes, cap);
    if (!bytes)
        return false;
    reply->bytes = bytes;
    reply->cap = cap;
    return true;
}

void reply_append(struct reply *reply, const char *bytes, size_t n_bytes)
{
    if (!reply->is_over && !reserve(reply, n_bytes))
        reply->is_over = true;
    if (reply->is_over || n_bytes == 0)
        return;
    memcpy(reply->bytes + reply->n_bytes, bytes, n_bytes);
    reply->n_bytes += n_bytes;
}

void reply_text(struct reply *reply, const char *text)
{
    reply_append(reply, text, strlen(text));
}

void reply_format(struct reply *reply, const char *format, ...)
{
    char text[REPLY_FORMAT_MAX];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (n > 0)
        reply_append(reply, text, n < REPLY_FORMAT_MAX ? (size_t)n : REPLY_FORMAT_MAX - 1);
}

enum reply_result reply_send(const struct reply *reply, size_t *n_sent, int fd)
{
    while (*n_sent < reply->n_bytes) {
        ssize_t n =
            send(fd, reply->bytes + *n_sent, reply->n_bytes - *n_sent, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK ? REPLY_BLOCKED : REPLY_UNWANTED;
        *n_sent += (size_t)n;
    }
    return REPLY_SENT;
}

/* The length of the UTF-8 sequence at `text` (RFC 3629, section 4), 0 = it is none. */
static size_t utf8_length(const unsigned char *text)
{
    size_t n = text[0] < 0xc2   ? 0
               : text[0] < 0xe0 ? 2
               : text[0] < 0xf0 ? 3
               : text[0] < 0xf5 ? 4
                                : 0;

    for (size_t i = 1; i < n; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    }
    if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] > 0x9f) ||
        (text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] > 0x8f))
        return 0;
    return n;
}

static size_t append_json_ascii(struct reply *reply, unsigned char byte)
{
    if (byte == '"' || byte == '\\')
        reply_format(reply, "\\%c", byte);
    else if (byte == '\n')
        reply_text(reply, "\\n");
    else if (byte == '\t')
        reply_text(reply, "\\t");
    else if (byte < 0x20 || byte == 0x7f)
        reply_format(reply, "\\u%04x", byte);
    else
        reply_append(reply, (const char[]){(char)byte}, 1);
    return 1;
}

static size_t append_json_utf8(struct reply *reply, const char *text)
{
    size_t n = utf8_length((const unsigned char *)text);

    if (n == 0) {
        reply_text(reply, "\\ufffd");
        return 1;
    }
    reply_append(reply, text, n);
    return n;
}

void reply_json_string(struct reply *reply, const char *text)
{
    reply_text(reply, "\"");
    while (*text) {
        unsigned char byte = (unsigned char)*text;

        text += byte < 0x80 ? append_json_ascii(reply, byte) : append_json_utf8(reply, text);
    }
    reply_text(reply, "\"");
}
