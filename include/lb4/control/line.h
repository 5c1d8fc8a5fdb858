/* Bytes of an operator's client into lines. Pure: whoever owns it reads the socket into the room
 * there is. */
#ifndef LB4_CONTROL_LINE_H
#define LB4_CONTROL_LINE_H

#include <stddef.h>

enum { LINE_MAX_BYTES = 4096 }; /* of a line, without its end; chosen */

enum line_result {
    LINE_NONE,     /* more bytes are needed */
    LINE_READY,    /* a line was taken */
    LINE_TOO_LONG, /* longer than LINE_MAX_BYTES: nothing that follows can be trusted */
    LINE_BAD_BYTE  /* neither printable ASCII nor a tab: the same */
};

struct line_reader {
    size_t n_bytes;
    char bytes[LINE_MAX_BYTES + 2]; /* and \r\n */
};

void line_reader_init(struct line_reader *reader);

/* Where the next bytes go, and how many there is room for; at least 1 after LINE_NONE. */
char *line_room(struct line_reader *reader, size_t *ret_room);
/* So many bytes have been put there. */
void line_came(struct line_reader *reader, size_t n_bytes);

/* Take the first line off, without its \n or \r\n, into `text`. */
enum line_result line_take(struct line_reader *reader, char text[static LINE_MAX_BYTES + 1]);

/* No more bytes will come: what is left counts as a line. LINE_NONE if nothing is. */
enum line_result line_take_rest(struct line_reader *reader, char text[static LINE_MAX_BYTES + 1]);

#endif
