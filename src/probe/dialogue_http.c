#include "lb4/probe/dialogue_http.h"

#include <stdio.h>
#include <string.h>

/* RFC 9112 section 4: "HTTP/1.1 200 OK" */
enum { AT_MAJOR = 5, AT_MINOR = 7, AT_STATUS = 9, STATUS_LINE_MIN = 12, NOT_HTTP_MAX = 32 };

/* The server's address as a Host (RFC 9110 section 7.2), without the scope that only we know. A
 * path is none: what others say there, too. */
static const char *host_of(const struct addr *server, char text[static ADDR_TEXT_MAX])
{
    char *scope;

    if (server->sa.sa_family == AF_UNSPEC)
        return "";
    if (addr_is_unix(server))
        return "localhost";
    addr_format(server, text);
    scope = strchr(text, '%');
    if (scope)
        memmove(scope, strchr(scope, ']'), strlen(strchr(scope, ']')) + 1);
    return text;
}

enum talk_step dialogue_http_open(struct talk *talk)
{
    const struct service_check *check = talk->check;
    char address[ADDR_TEXT_MAX];
    const char *host = check->host ? (const char *)check->host : host_of(&talk->server, address);
    int n_host = check->host ? (int)check->n_host : (int)strlen(host);
    int n = snprintf((char *)talk->out_buffer, sizeof(talk->out_buffer),
                     "GET %.*s HTTP/1.1\r\nHost: %.*s\r\nUser-Agent: lb4\r\nAccept: */*\r\n"
                     "Connection: close\r\n\r\n",
                     (int)check->n_send, (const char *)check->send, n_host, host);

    return talk_say(talk, talk->out_buffer, (size_t)n);
}

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

/* 0 = it is no status line. */
static unsigned status_of(const uint8_t *line, size_t n)
{
    const uint8_t *digits = line + AT_STATUS;

    if (n < STATUS_LINE_MIN || memcmp(line, "HTTP/", AT_MAJOR) != 0 || !is_digit(line[AT_MAJOR]) ||
        line[AT_MAJOR + 1] != '.' || !is_digit(line[AT_MINOR]) || line[AT_STATUS - 1] != ' ' ||
        !is_digit(digits[0]) || !is_digit(digits[1]) || !is_digit(digits[2]) ||
        (n > STATUS_LINE_MIN && line[STATUS_LINE_MIN] != ' '))
        return 0;
    return (unsigned)(digits[0] - '0') * 100 + (unsigned)(digits[1] - '0') * 10 +
           (unsigned)(digits[2] - '0');
}

static enum talk_step judge(struct talk *talk, size_t n_line)
{
    const struct service_check *check = talk->check;
    unsigned status = status_of(talk->in, n_line);

    if (status == 0)
        return talk_wrong_words(talk, "not an HTTP answer: ", talk->in, n_line, "");
    if (status >= check->status_min && status <= check->status_max)
        return TALK_GOOD;
    snprintf(talk->reason_text, sizeof(talk->reason_text), "HTTP status %u", status);
    return talk_wrong(talk, talk->reason_text);
}

/* Who begins otherwise will not get to a status line. */
static bool may_be_http(const struct talk *talk)
{
    static const char start[] = "HTTP/";
    size_t n = talk->n_in < AT_MAJOR ? talk->n_in : AT_MAJOR;

    return talk->n_in < NOT_HTTP_MAX || memcmp(talk->in, start, n) == 0;
}

enum talk_step dialogue_http_hear(struct talk *talk)
{
    size_t n_line;
    size_t next;

    if (talk_line(talk, 0, &n_line, &next))
        return judge(talk, n_line);
    return may_be_http(talk) ? TALK_MORE : judge(talk, talk->n_in);
}

enum talk_step dialogue_http_end(struct talk *talk)
{
    return talk_hung_up(talk);
}
