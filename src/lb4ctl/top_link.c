#include "lb4/lb4ctl/top_link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE_S = 1, CHUNK = 64 * 1024, MOST = 64 * 1024 * 1024 };

void top_link_clear(struct top_link *link)
{
    *link = (struct top_link){.fd = -1};
}

void top_link_close(struct top_link *link)
{
    if (link->fd >= 0)
        close(link->fd);
    free(link->bytes);
    top_link_clear(link);
}

enum client_result top_link_open(struct top_link *link, const char *path,
                                 char message[static CLIENT_MESSAGE_MAX])
{
    enum client_result result;

    top_link_close(link);
    link->fd = client_open(path, PATIENCE_S, &result, message);
    return result;
}

/* Some hundred bytes: an lb4 that reads has room for them. */
bool top_link_ask(const struct top_link *link, const char *lines)
{
    size_t n = strlen(lines);

    return send(link->fd, lines, n, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)n;
}

static bool has_room(struct top_link *link)
{
    size_t cap = link->cap ? link->cap * 2 : (size_t)2 * CHUNK;
    char *grown;

    if (link->cap - link->n_bytes > CHUNK)
        return true;
    grown = cap <= MOST ? realloc(link->bytes, cap) : NULL;
    if (!grown)
        return false;
    link->bytes = grown;
    link->cap = cap;
    return true;
}

bool top_link_read(struct top_link *link)
{
    for (;;) {
        ssize_t n;

        if (!has_room(link))
            return false;
        n = recv(link->fd, link->bytes + link->n_bytes, CHUNK, MSG_DONTWAIT);
        if (n > 0)
            link->n_bytes += (size_t)n;
        else if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return true;
        else
            return false;
    }
}

static bool is_last_line(const char *line, size_t n)
{
    return (n == 2 && memcmp(line, "ok", 2) == 0) || (n >= 6 && memcmp(line, "error ", 6) == 0);
}

/* Bytes up to the end of the line that ends an answer; 0 = it is not there yet. */
static size_t find_end(const struct top_link *link)
{
    size_t at = 0;

    while (at < link->n_bytes) {
        const char *line = link->bytes + at;
        const char *end = memchr(line, '\n', link->n_bytes - at);

        if (!end)
            return 0;
        at += (size_t)(end - line) + 1;
        if (is_last_line(line, (size_t)(end - line)))
            return at;
    }
    return 0;
}

char *top_link_take(struct top_link *link)
{
    size_t n = find_end(link);
    char *answer = n ? malloc(n + 1) : NULL;

    if (!answer)
        return NULL;
    memcpy(answer, link->bytes, n);
    answer[n] = '\0';
    link->n_bytes -= n;
    memmove(link->bytes, link->bytes + n, link->n_bytes);
    return answer;
}
