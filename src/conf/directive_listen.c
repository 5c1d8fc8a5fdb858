#include "lb4/conf/directive_parts.h"
#include "lb4/conf/memory.h"
#include "lb4/conf/proxies.h"
#include "lb4/conf/value.h"

/* Forms of addresses, for messages. */
static const char listen_forms[] = "10.0.0.1:5432, [2001:db8::1]:5432, :5432, :9000-9100, "
                                   "unix:/path, unix:@name";

static void report_memory(struct reader *reader, const struct lex_line *line)
{
    reader_error(reader, line, 0, "out of memory");
}

static bool judge_listen_addr(struct reader *reader, const struct lex_line *line,
                              const struct endpoint *at)
{
    const char *reason = "not in this version: give an IP address or :PORT";
    char quote[CONF_QUOTE_MAX];

    if (at->kind == ENDPOINT_UNIX)
        return true;
    if (at->kind != ENDPOINT_HOST && at->first_port == 0)
        reason = "a listener needs a port or a range of ports in 1..65535";
    else if (at->kind != ENDPOINT_HOST && endpoint_can_listen(&at->addr, &reason))
        return true;
    reader_error(reader, line, 2, "listen: %s: %s",
                 conf_quote(line->words[2].text, line->words[2].n_bytes, quote), reason);
    return false;
}

static bool read_unix(struct reader *reader, const struct lex_line *line,
                      enum conf_transport transport, struct endpoint *at)
{
    static const char *const ip_words[] = {"interface",    "v6only", "fastopen",
                                           "defer-accept", "mark",   NULL};
    static const char *const header[] = {"accept-proxy", NULL};

    if (transport != CONF_TCP) {
        reader_error(reader, line, 1, "listen: a Unix socket is a stream socket: tcp only");
        return false;
    }
    return directive_judge_unix(reader, line, ip_words, "mode 0..0777") &&
           directive_judge_unix(reader, line, header,
                                "no header, as its clients have no address that could be believed "
                                "or not") &&
           directive_read_unix(reader, line, 2, &at->addr);
}

static void store_listen(struct reader *reader, const struct lex_line *line,
                         struct conf_listen *read)
{
    struct conf_service *service = reader_service(reader);
    struct conf_listen *listen;

    if (service->n_listens == CONF_LISTENS_MAX) {
        reader_error(reader, line, 0, "listen: more than %d in one service", CONF_LISTENS_MAX);
        return;
    }
    listen = conf_add_listen(service);
    if (!listen) {
        report_memory(reader, line);
        return;
    }
    *listen = *read;
    *read = (struct conf_listen){0};
}

void directive_listen(struct reader *reader, const struct lex_line *line)
{
    static const char *const words[] = {"tcp", "udp", "both", NULL};
    static const enum conf_transport transports[] = {CONF_TCP, CONF_UDP, CONF_TCP_AND_UDP};
    struct conf_listen listen = {.place = reader_place(reader, line, 2)};
    size_t proxy = directive_find_accept_proxy(line);
    struct endpoint at;
    size_t choice;

    if (!value_choice(reader, line, 1, words, &choice) ||
        !value_endpoint(reader, line, 2, listen_forms, &at) ||
        !judge_listen_addr(reader, line, &at))
        return;
    listen.transport = transports[choice];
    if (at.kind == ENDPOINT_UNIX && !read_unix(reader, line, listen.transport, &at))
        return;
    listen.addr = at.addr;
    listen.last_port = at.last_port;
    listen.is_any = at.kind == ENDPOINT_ANY;
    if (directive_read_listen_words(reader, line, proxy, &listen) &&
        directive_accept_proxy(reader, line, proxy, &listen))
        store_listen(reader, line, &listen);
    conf_proxies_free(&listen);
}
