/* Bytes of an HTTP client into a request (RFC 9112): its head, bounded; no body is accepted. Pure:
 * whoever owns it reads the socket into the room there is. */
#ifndef LB4_CONTROL_HTTP_REQUEST_H
#define LB4_CONTROL_HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

enum {
    HTTP_HEAD_MAX = 8192, /* bytes of the whole head; chosen */
    HTTP_LINE_MAX = 2048  /* of the request line; chosen */
};

/* What a request asks for, or why it gets no answer but that. */
struct http_request {
    unsigned status;  /* 200; else 400 malformed, 405 neither GET nor HEAD, 413 with a body, 414
                         line too long, 431 head too long, 505 neither HTTP/1.0 nor 1.1 */
    bool is_head;     /* HEAD */
    bool is_by_name;  /* Host is a name with a dot, as of the public DNS: neither an address nor of
                         this  machine's own making */
    const char *path; /* without the query, in the reader's bytes; "" unless status is 200 */
};

struct http_reader {
    size_t n_bytes;
    size_t first; /* where the request line begins: empty lines before it do not count */
    size_t line;  /* where the present line begins */
    size_t seen;  /* bytes in which an end of line was looked for */
    char bytes[HTTP_HEAD_MAX];
};

void http_reader_init(struct http_reader *reader);

/* Where the next bytes go, and how many there is room for; at least 1 while http_came() is false.
 */
char *http_room(struct http_reader *reader, size_t *ret_room);

/* So many bytes have been put there. True: the head is complete, or refused, and *ret says what it
 * is; what follows it does not count. */
bool http_came(struct http_reader *reader, size_t n_bytes, struct http_request *ret);

#endif
