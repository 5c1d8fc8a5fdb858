#include "lb4/control/line.h"

#include <stdbool.h>
#include <string.h>

void line_reader_init(struct line_reader *reader)
{
    reader->n_bytes = 0;
}

char *line_room(struct line_reader *reader, size_t *ret_room)
{
    *ret_room = sizeof(reader->bytes) - reader->n_bytes;
    return reader->bytes + reader->n_bytes;
}

void line_came(struct line_reader *reader, size_t n_bytes)
{
    reader->n_bytes += n_bytes;
}

static bool is_good(const char *bytes, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++) {
        unsigned char byte = (unsigned char)bytes[i];

        if ((byte < 0x20 && byte != '\t') || byte >= 0x7f)
            return false;
    }
    return true;
}

/* The first `n_line` bytes are a line, `n_end` more its end. */
static enum line_result take(struct line_reader *reader, size_t n_line, size_t n_end,
                             char text[static LINE_MAX_BYTES + 1])
{
    size_t n_taken = n_line + n_end;

    if (n_line > 0 && reader->bytes[n_line - 1] == '\r')
        n_line--;
    if (n_line > LINE_MAX_BYTES)
        return LINE_TOO_LONG;
    if (!is_good(reader->bytes, n_line))
        return LINE_BAD_BYTE;
    memcpy(text, reader->bytes, n_line);
    text[n_line] = '\0';
    reader->n_bytes -= n_taken;
    memmove(reader->bytes, reader->bytes + n_taken, reader->n_bytes);
    return LINE_READY;
}

/* Noise is told before its line has ended; a \r may still be half of its end. */
enum line_result line_take(struct line_reader *reader, char text[static LINE_MAX_BYTES + 1])
{
    const char *end = memchr(reader->bytes, '\n', reader->n_bytes);
    size_t n = reader->n_bytes;

    if (end)
        return take(reader, (size_t)(end - reader->bytes), 1, text);
    if (n > 0 && reader->bytes[n - 1] == '\r')
        n--;
    if (!is_good(reader->bytes, n))
        return LINE_BAD_BYTE;
    return n > LINE_MAX_BYTES || reader->n_bytes == sizeof(reader->bytes) ? LINE_TOO_LONG
                                                                          : LINE_NONE;
}

enum line_result line_take_rest(struct line_reader *reader, char text[static LINE_MAX_BYTES + 1])
{
    return reader->n_bytes == 0 ? LINE_NONE : take(reader, reader->n_bytes, 0, text);
}
