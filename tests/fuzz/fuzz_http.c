/* Any bytes from an HTTP client: into a request, in pieces of a length that the first byte says, as
 * the HTTP listener reads them. Whatever came, what is found stays within its bounds, and what is
 * answered does not depend on the pieces. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/control/http_request.h"

static bool is_known(unsigned status)
{
    static const unsigned known[] = {200, 400, 405, 413, 414, 431, 505};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i] == status)
            return true;
    return false;
}

static void check(const struct http_reader *reader, const struct http_request *request)
{
    const char *path = request->path;

    if (!is_known(request->status))
        abort();
    if (request->status != 200) {
        if (*path)
            abort();
        return;
    }
    if (path < reader->bytes || path >= reader->bytes + HTTP_HEAD_MAX || *path != '/' ||
        strlen(path) > HTTP_LINE_MAX)
        abort();
    for (; *path; path++)
        if (*path <= 0x20 || *path >= 0x7f || *path == '?')
            abort();
}

/* The status; 0: it ended before its head did. */
static unsigned read_all(struct http_reader *reader, const uint8_t *data, size_t n_bytes,
                         size_t piece)
{
    struct http_request request;

    http_reader_init(reader);
    while (n_bytes > 0) {
        size_t n = n_bytes < piece ? n_bytes : piece;
        size_t room;
        char *to = http_room(reader, &room);

        if (room == 0)
            abort();
        n = n < room ? n : room;
        memcpy(to, data, n);
        data += n;
        n_bytes -= n;
        if (http_came(reader, n, &request)) {
            check(reader, &request);
            return request.status;
        }
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static struct http_reader reader;
    unsigned whole;
    unsigned parts;

    if (n_bytes == 0)
        return 0;
    whole = read_all(&reader, data + 1, n_bytes - 1, HTTP_HEAD_MAX);
    parts = read_all(&reader, data + 1, n_bytes - 1, 1u + data[0]);
    /* What cannot become a request may be refused before all of it is there. */
    if ((whole == 200) != (parts == 200))
        abort();
    return 0;
}
