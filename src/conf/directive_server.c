#include <string.h>

#include "lb4/conf/directive_parts.h"
#include "lb4/conf/memory.h"
#include "lb4/conf/value.h"

/* Forms of addresses, for messages. */
static const char server_forms[] = "10.0.0.5:5432, [2001:db8::1]:5432, db.example:5432, "
                                   "srv:_pg._tcp.db.example, unix:/path, unix:@name";

enum { NO_PROXY = 2 }; /* beside the indices of v1 and v2 */

static void report_memory(struct reader *reader, const struct lex_line *line)
{
    reader_error(reader, line, 0, "out of memory");
}

static bool judge_server_addr(struct reader *reader, const struct lex_line *line,
                              const struct endpoint *at)
{
    const char *reason = NULL;
    char quote[CONF_QUOTE_MAX];

    if (at->kind == ENDPOINT_ANY)
        reason = "a server needs a host";
    else if (at->first_port != at->last_port)
        reason = "a server has one port, or none: the one that the client asked for";
    else if (at->kind == ENDPOINT_HOST || at->kind == ENDPOINT_UNIX ||
             endpoint_can_connect(&at->addr, &reason))
        return true;
    reader_error(reader, line, 2, "server: %s: %s; accepted: %s",
                 conf_quote(line->words[2].text, line->words[2].n_bytes, quote), reason,
                 server_forms);
    return false;
}

static bool read_server_addr(struct reader *reader, const struct lex_line *line,
                             struct endpoint *ret)
{
    static const char *const ip_words[] = {"source", "interface", "mark", NULL};

    if (!value_endpoint(reader, line, 2, server_forms, ret) ||
        !judge_server_addr(reader, line, ret))
        return false;
    return ret->kind != ENDPOINT_UNIX ||
           (directive_read_unix(reader, line, 2, &ret->addr) &&
            directive_judge_unix(reader, line, ip_words,
                                 "weight, backup, priority, maxconn, send-proxy"));
}

/* `host` is NULL or the name, with its port or without. */
static void store_server(struct reader *reader, const struct lex_line *line,
                         const struct conf_server *server, const char *host)
{
    struct conf_service *service = reader_service(reader);
    struct conf_server *stored;

    if (service->n_servers == CONF_SERVERS_MAX) {
        reader_error(reader, line, 0, "server: more than %d in one service", CONF_SERVERS_MAX);
        return;
    }
    stored = conf_add_server(service);
    if (!stored) {
        report_memory(reader, line);
        return;
    }
    *stored = *server;
    if (!host)
        return;
    stored->host = strndup(host, strcspn(host, ":"));
    if (!stored->host)
        report_memory(reader, line);
}

/* `values` of source, interface, mark. */
static bool read_origin(struct reader *reader, const struct lex_line *line,
                        const uint64_t values[3], const struct origin **ret)
{
    struct origin origin = {.mark = (uint32_t)values[2]};

    return (!values[0] || directive_read_sources(reader, line, (size_t)values[0], &origin)) &&
           (!values[1] ||
            directive_read_interface(reader, line, (size_t)values[1], origin.interface)) &&
           directive_store_origin(reader, line, &origin, ret);
}

void directive_server(struct reader *reader, const struct lex_line *line)
{
    static const char *const source_forms[] = {"10.0.0.9", "10.0.0.9,10.0.0.10", NULL};
    static const char *const interface_forms[] = {"eth0", NULL};
    static const char *const versions[] = {"v1", "v2", NULL};
    static const struct value_option options[] = {
        {.word = "weight", .kind = VALUE_NUMBER, .range = {1, CONF_WEIGHT_MAX}},
        {.word = "backup", .kind = VALUE_FLAG},
        {.word = "priority", .kind = VALUE_NUMBER, .range = {1, CONF_PRIORITY_MAX}},
        {.word = "maxconn", .kind = VALUE_NUMBER, .range = {1, CONF_MAXCONN_MAX}},
        {.word = "send-proxy", .kind = VALUE_CHOICE, .choices = versions},
        {.word = "source", .kind = VALUE_WORD, .choices = source_forms},
        {.word = "interface", .kind = VALUE_WORD, .choices = interface_forms},
        {.word = "mark", .kind = VALUE_NUMBER, .range = {1, UINT32_MAX}},
        {.word = NULL},
    };
    uint64_t values[VALUE_OPTIONS_MAX] = {[0] = 1, [4] = NO_PROXY};
    struct conf_server server = {.place = reader_place(reader, line, 1),
                                 .is_srv = directive_is_srv(line)};
    struct endpoint at = {.kind = ENDPOINT_HOST};
    char record[CONF_HOST_MAX + 1];

    if (!value_name(reader, line, 1, server.name) ||
        !(server.is_srv ? directive_read_srv(reader, line, record)
                        : read_server_addr(reader, line, &at)) ||
        !value_options(reader, line, 3, options, values) ||
        !read_origin(reader, line, &values[5], &server.origin))
        return;
    if (at.kind == ENDPOINT_HOST)
        addr_any(AF_INET, at.first_port, &server.addr);
    else
        server.addr = at.addr;
    server.weight = (uint32_t)values[0];
    server.is_backup = values[1] != 0;
    server.maxconn = (uint32_t)values[3];
    server.send_proxy = values[4] == NO_PROXY ? 0 : (uint8_t)(values[4] + 1);
    server.priority = values[2] ? (uint32_t)values[2] : 1;
    if (server.is_backup && values[2])
        reader_error(reader, line, 1,
                     "server: a backup comes after all priorities: give one of "
                     "'backup' and 'priority'");
    store_server(reader, line, &server,
                 server.is_srv              ? record
                 : at.kind == ENDPOINT_HOST ? line->words[2].text
                                            : NULL);
}
