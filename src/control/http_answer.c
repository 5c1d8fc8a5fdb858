#include "lb4/control/http_answer.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lb4/control/metrics.h"
#include "lb4/control/page.h"
#include "lb4/control/status.h"

static const char plain[] = "text/plain; charset=utf-8";

/* --- the head --------------------------------------------------------------------------------- */

static const char *status_words(unsigned status)
{
    static const struct {
        unsigned status;
        const char *words;
    } known[] = {
        {200, "OK"},
        {400, "Bad Request"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {413, "Content Too Large"},
        {421, "Misdirected Request: on the loopback ask for an address, or for localhost"},
        {414, "URI Too Long"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].status == status)
            return known[i].words;
    return "?";
}

static void append_date(struct reply *reply)
{
    time_t now = time(NULL);
    char text[64];
    struct tm utc;

    gmtime_r(&now, &utc);
    strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &utc);
    reply_format(reply, "Date: %s\r\n", text);
}

enum { LENGTH_DIGITS = 20 };

/* Returns where the length of the body goes: it is known once the body is there. Blanks before a
 * value mean nothing (RFC 9112, section 5). */
static size_t append_head(struct reply *reply, unsigned status, const char *type)
{
    reply_format(reply, "HTTP/1.1 %u %s\r\n", status, status_words(status));
    append_date(reply);
    reply_format(reply,
                 "Connection: close\r\nCache-Control: no-store\r\n"
                 "X-Content-Type-Options: nosniff\r\nContent-Type: %s\r\n%s",
                 type, status == 405 ? "Allow: GET, HEAD\r\n" : "");
    if (strncmp(type, "text/html", 9) == 0)
        reply_format(reply, "Content-Security-Policy: %s\r\nReferrer-Policy: no-referrer\r\n",
                     page_security_policy);
    reply_format(reply, "Content-Length: %*s\r\n\r\n", LENGTH_DIGITS, "");
    return reply->n_bytes - strlen("\r\n\r\n") - LENGTH_DIGITS;
}

static void finish(struct reply *reply, size_t length_at, bool is_head)
{
    size_t body_at = length_at + LENGTH_DIGITS + strlen("\r\n\r\n");
    char digits[LENGTH_DIGITS + 1];

    if (reply->is_over)
        return;
    snprintf(digits, sizeof(digits), "%*zu", LENGTH_DIGITS, reply->n_bytes - body_at);
    memcpy(reply->bytes + length_at, digits, LENGTH_DIGITS);
    if (is_head)
        reply->n_bytes = body_at;
}

static void answer_words(struct reply *reply, unsigned status, const char *words, bool is_head)
{
    size_t length_at = append_head(reply, status, plain);

    reply_format(reply, "%s\n", words);
    finish(reply, length_at, is_head);
}

static void answer_status(struct reply *reply, unsigned status, bool is_head)
{
    answer_words(reply, status, status_words(status), is_head);
}

/* Without memory for as little as that there is no answer. */
static void finish_status(struct reply *reply)
{
    if (reply->is_over)
        reply_clear(reply);
}

void http_answer_status(unsigned status, struct reply *reply)
{
    answer_status(reply, status, false);
    finish_status(reply);
}

/* --- the pages -------------------------------------------------------------------------------- */

static void write_page(const struct snapshot_from *from, struct reply *reply)
{
    size_t n_bytes;
    const char *bytes = page_bytes(&n_bytes);

    (void)from;
    reply_append(reply, bytes, n_bytes);
}

static void answer_ready(const struct snapshot_from *from, const char *name, bool is_head,
                         struct reply *reply)
{
    const struct service *service = name ? snapshot_find_service(from, name) : NULL;

    if (name && !service)
        answer_words(reply, 404, "no such service", is_head);
    else if (!from->is_ready)
        answer_words(reply, 503, from->state, is_head);
    else if (service && snapshot_n_usable(service) == 0)
        answer_words(reply, 503, "no server takes new clients", is_head);
    else
        answer_words(reply, 200, "ready", is_head);
}

struct page {
    const char *path;
    const char *type;
    void (*write)(const struct snapshot_from *from, struct reply *reply);
};

static const struct page pages[] = {
    {"/", "text/html; charset=utf-8", write_page},
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", metrics_write},
    {"/status.json", "application/json", status_write},
};

static const struct page *find_page(const char *path)
{
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
        if (strcmp(pages[i].path, path) == 0)
            return &pages[i];
    return NULL;
}

static void answer_page(const struct snapshot_from *from, const struct page *page, bool is_head,
                        struct reply *reply)
{
    size_t length_at = append_head(reply, 200, page->type);

    page->write(from, reply);
    finish(reply, length_at, is_head);
}

static void answer(const struct snapshot_from *from, const struct http_request *request,
                   struct reply *reply)
{
    const struct page *page = find_page(request->path);

    if (request->status != 200)
        answer_status(reply, request->status, request->is_head);
    else if (page)
        answer_page(from, page, request->is_head, reply);
    else if (strcmp(request->path, "/ready") == 0)
        answer_ready(from, NULL, request->is_head, reply);
    else if (strncmp(request->path, "/ready/", 7) == 0)
        answer_ready(from, request->path + 7, request->is_head, reply);
    else
        answer_words(reply, 404, "there are /, /metrics, /status.json, /ready and /ready/SERVICE",
                     request->is_head);
}

void http_answer(const struct snapshot_from *from, const struct http_request *request,
                 struct reply *reply)
{
    answer(from, request, reply);
    if (reply->is_over) {
        reply_clear(reply);
        answer_status(reply, 500, request->is_head);
    }
    finish_status(reply);
}
