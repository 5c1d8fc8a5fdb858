#include "lb4/control/http_request.h"

#include <string.h>
#include <strings.h>

#include "lb4/base/number.h"

/* A line, without its end; in the reader, so that it can be cut with a NUL. */
struct line {
    char *bytes;
    size_t n;
};

void http_reader_init(struct http_reader *reader)
{
    reader->n_bytes = reader->first = reader->line = reader->seen = 0;
}

char *http_room(struct http_reader *reader, size_t *ret_room)
{
    *ret_room = sizeof(reader->bytes) - reader->n_bytes;
    return reader->bytes + reader->n_bytes;
}

/* --- characters ------------------------------------------------------------------------------- */

/* tchar of RFC 9110, section 5.6.2. */
static bool is_token_byte(char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || (byte != '\0' && strchr("!#$%&'*+-.^_`|~", byte));
}

static bool is_token(const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!is_token_byte(bytes[i]))
            return false;
    return n > 0;
}

/* Of a field's value: no control bytes but the tab. */
static bool is_value(const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char byte = (unsigned char)bytes[i];

        if ((byte < 0x20 && byte != '\t') || byte == 0x7f)
            return false;
    }
    return true;
}

static bool is_graphic(const char *text)
{
    for (; *text; text++)
        if (*text <= 0x20 || *text >= 0x7f)
            return false;
    return true;
}

/* --- the request line ------------------------------------------------------------------------- */

static unsigned judge_version(const char *text)
{
    if (strcmp(text, "HTTP/1.1") == 0 || strcmp(text, "HTTP/1.0") == 0)
        return 200;
    return strlen(text) == 8 && strncmp(text, "HTTP/", 5) == 0 && text[6] == '.' ? 505 : 400;
}

/* "/path?query", also behind "http://host"; NULL: neither. */
static char *find_path(char *target)
{
    char *path = target;

    if (strncasecmp(target, "http://", 7) == 0) {
        path = target + 7 + strcspn(target + 7, "/?");
        if (*path != '/') {
            target[0] = '/';
            target[1] = '\0';
            return target;
        }
    }
    if (*path != '/')
        return NULL;
    path[strcspn(path, "?")] = '\0';
    return path;
}

static unsigned take_method(const char *text, struct http_request *ret)
{
    if (!is_token(text, strlen(text)))
        return 400;
    ret->is_head = strcmp(text, "HEAD") == 0;
    return ret->is_head || strcmp(text, "GET") == 0 ? 200 : 405;
}

/* Three words with a blank between, each exactly one. */
static unsigned take_request_line(char *line, struct http_request *ret, bool *ret_needs_host)
{
    char *rest = line;
    const char *method = strsep(&rest, " ");
    char *target = strsep(&rest, " ");
    unsigned status;

    if (!target || !rest || !is_graphic(target) || !is_graphic(rest))
        return 400;
    *ret_needs_host = strcmp(rest, "HTTP/1.1") == 0;
    status = take_method(method, ret);
    if (status == 400 || judge_version(rest) != 200)
        return status == 400 ? status : judge_version(rest);
    if (status == 200)
        ret->path = find_path(target);
    return status == 200 && !ret->path ? 400 : status;
}

/* --- fields ----------------------------------------------------------------------------------- */

struct fields {
    unsigned n_hosts;
    bool is_by_name;
    bool has_body;
};

static bool is_named(struct line line, size_t n_name, const char *name)
{
    return n_name == strlen(name) && strncasecmp(line.bytes, name, n_name) == 0;
}

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t';
}

/* Behind the colon, without the blanks around it; cuts the line. */
static const char *cut_value(struct line line, size_t at)
{
    while (at < line.n && is_blank(line.bytes[at]))
        at++;
    while (line.n > at && is_blank(line.bytes[line.n - 1]))
        line.n--;
    line.bytes[line.n] = '\0';
    return line.bytes + at;
}

/* "name:port", with a dot in the name; "[::1]:80" and "10.0.0.1:80" are addresses. */
static bool is_dotted_name(const char *host)
{
    size_t n_name = strcspn(host, ":");

    return *host != '[' && memchr(host, '.', n_name) && strspn(host, "0123456789.") < n_name;
}

static bool take_length(const char *text, struct fields *fields)
{
    uint64_t length;

    if (number_parse(text, 0, UINT64_MAX, &length) < 0)
        return false;
    fields->has_body |= length > 0;
    return true;
}

/* "Name: value" (RFC 9112, section 5); a line that is folded, or with a blank before the colon, is
 * malformed. */
static bool take_field(struct line line, struct fields *fields)
{
    const char *colon = memchr(line.bytes, ':', line.n);
    size_t n_name = colon ? (size_t)(colon - line.bytes) : 0;

    if (!colon || !is_token(line.bytes, n_name) || !is_value(colon + 1, line.n - n_name - 1))
        return false;
    if (is_named(line, n_name, "host")) {
        fields->n_hosts++;
        fields->is_by_name = is_dotted_name(cut_value(line, n_name + 1));
    }
    if (is_named(line, n_name, "transfer-encoding"))
        fields->has_body = true;
    return !is_named(line, n_name, "content-length") ||
           take_length(cut_value(line, n_name + 1), fields);
}

/* --- the head --------------------------------------------------------------------------------- */

/* The line at *at, which has an end; a CR before the LF belongs to it. */
static struct line next_line(struct http_reader *reader, size_t *at)
{
    struct line line = {.bytes = reader->bytes + *at};
    const char *end = memchr(line.bytes, '\n', reader->n_bytes - *at);

    line.n = (size_t)(end - line.bytes);
    *at += line.n + 1;
    if (line.n > 0 && line.bytes[line.n - 1] == '\r')
        line.n--;
    return line;
}

/* The first fault counts; a body only where nothing else is wrong. */
static unsigned judge(struct http_reader *reader, struct http_request *ret)
{
    size_t at = reader->first;
    struct line line = next_line(reader, &at);
    struct fields fields = {0};
    bool needs_host = false;
    unsigned status;

    if (line.n > HTTP_LINE_MAX)
        return 414;
    line.bytes[line.n] = '\0';
    if (strlen(line.bytes) != line.n)
        return 400;
    status = take_request_line(line.bytes, ret, &needs_host);
    if (status == 400 || status == 505)
        return status;
    while ((line = next_line(reader, &at)).n > 0)
        if (!take_field(line, &fields))
            return 400;
    ret->is_by_name = fields.is_by_name;
    if (fields.n_hosts > 1 || (needs_host && fields.n_hosts == 0))
        return 400;
    return status == 200 && fields.has_body ? 413 : status;
}

/* True: there is the empty line that ends the head. */
static bool find_end(struct http_reader *reader)
{
    char *end;

    while ((end = memchr(reader->bytes + reader->seen, '\n', reader->n_bytes - reader->seen))) {
        size_t at = (size_t)(end - reader->bytes);
        bool is_empty = at == reader->line || (at == reader->line + 1 && end[-1] == '\r');

        reader->seen = at + 1;
        if (is_empty && reader->line > reader->first)
            return true;
        if (is_empty)
            reader->first = at + 1;
        reader->line = at + 1;
    }
    reader->seen = reader->n_bytes;
    return false;
}

/* What cannot become a request any more needs no end. */
static unsigned judge_part(const struct http_reader *reader)
{
    size_t n_line = reader->n_bytes - reader->first;
    const char *first = reader->bytes + reader->first;

    if (n_line > 0 && !is_token_byte(*first) && *first != '\r')
        return 400;
    if (reader->line == reader->first && n_line > HTTP_LINE_MAX + 1)
        return 414;
    return reader->n_bytes == sizeof(reader->bytes) ? 431 : 0;
}

bool http_came(struct http_reader *reader, size_t n_bytes, struct http_request *ret)
{
    reader->n_bytes += n_bytes;
    *ret = (struct http_request){.path = NULL};
    ret->status = find_end(reader) ? judge(reader, ret) : judge_part(reader);
    if (ret->status != 200)
        ret->path = "";
    return ret->status != 0;
}
