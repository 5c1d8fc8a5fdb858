#include <string.h>

#include "lb4/conf/directive_parts.h"
#include "lb4/conf/memory.h"
#include "lb4/conf/value.h"

/* Forms of addresses, for messages. */
static const char listen_forms[] = "10.0.0.1:5432, [2001:db8::1]:5432, :5432, :9000-9100";
static const char server_forms[] = "10.0.0.5:5432, [2001:db8::1]:5432, db.example:5432, "
                                   "srv:_pg._tcp.db.example";

static void report_memory(struct reader *reader, const struct lex_line *line)
{
    reader_error(reader, line, 0, "out of memory");
}

/* "accept-proxy from CIDR" behind a listener's address. */
static bool judge_accept_proxy(struct reader *reader, const struct lex_line *line)
{
    const char *expected[] = {"accept-proxy", "from"};

    for (size_t i = 3; i < line->n_words && i < 5; i++) {
        const char *const choices[] = {expected[i - 3], NULL};
        size_t choice;

        if (!value_choice(reader, line, i, choices, &choice))
            return false;
    }
    if (line->n_words == 3)
        return true;
    if (line->n_words == 6)
        return value_network(reader, line, 5);
    reader_error(reader, line, 3, "an argument is missing: accept-proxy from CIDR");
    return false;
}

static bool judge_listen_addr(struct reader *reader, const struct lex_line *line,
                              const struct endpoint *at)
{
    const char *reason = "not in this version: give an IP address or :PORT";
    char quote[CONF_QUOTE_MAX];

    if (at->kind == ENDPOINT_UNIX)
        reason = "a Unix socket: not in this version";
    else if (at->kind != ENDPOINT_HOST && at->first_port == 0)
        reason = "a listener needs a port or a range of ports in 1..65535";
    else if (at->kind != ENDPOINT_HOST && endpoint_can_listen(&at->addr, &reason))
        return true;
    reader_error(reader, line, 2, "listen: %s: %s",
                 conf_quote(line->words[2].text, line->words[2].n_bytes, quote), reason);
    return false;
}

static void store_listen(struct reader *reader, const struct lex_line *line,
                         enum conf_transport transport, const struct endpoint *at)
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
    listen->place = reader_place(reader, line, 2);
    listen->transport = transport;
    listen->addr = at->addr;
    listen->last_port = at->last_port;
    listen->is_any = at->kind == ENDPOINT_ANY;
}

void directive_listen(struct reader *reader, const struct lex_line *line)
{
    static const char *const words[] = {"tcp", "udp", "both", NULL};
    static const enum conf_transport transports[] = {CONF_TCP, CONF_UDP, CONF_TCP_AND_UDP};
    struct endpoint at;
    size_t choice;

    if (!value_choice(reader, line, 1, words, &choice) ||
        !value_endpoint(reader, line, 2, listen_forms, &at) ||
        !judge_listen_addr(reader, line, &at) || !judge_accept_proxy(reader, line))
        return;
    if (line->n_words > 3)
        reader_refuse(reader, line, 3);
    else
        store_listen(reader, line, transports[choice], &at);
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
    else if (at->kind == ENDPOINT_UNIX)
        reason = "a Unix socket: not in this version";
    else if (at->kind == ENDPOINT_HOST || endpoint_can_connect(&at->addr, &reason))
        return true;
    reader_error(reader, line, 2, "server: %s: %s; accepted: %s",
                 conf_quote(line->words[2].text, line->words[2].n_bytes, quote), reason,
                 server_forms);
    return false;
}

static bool read_server_addr(struct reader *reader, const struct lex_line *line,
                             struct endpoint *ret)
{
    return value_endpoint(reader, line, 2, server_forms, ret) &&
           judge_server_addr(reader, line, ret);
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

void directive_server(struct reader *reader, const struct lex_line *line)
{
    static const char *const versions[] = {"v1", "v2", NULL};
    static const struct value_option options[] = {
        {.word = "weight", .kind = VALUE_NUMBER, .range = {1, CONF_WEIGHT_MAX}},
        {.word = "backup", .kind = VALUE_FLAG},
        {.word = "priority", .kind = VALUE_NUMBER, .range = {1, CONF_PRIORITY_MAX}},
        {.word = "maxconn", .kind = VALUE_NUMBER, .range = {1, CONF_MAXCONN_MAX}},
        {.word = "send-proxy", .kind = VALUE_CHOICE, .choices = versions, .is_later = true},
        {.word = NULL},
    };
    uint64_t values[VALUE_OPTIONS_MAX] = {1};
    struct conf_server server = {.place = reader_place(reader, line, 1),
                                 .is_srv = directive_is_srv(line)};
    struct endpoint at = {.kind = ENDPOINT_HOST};
    char record[CONF_HOST_MAX + 1];

    if (!value_name(reader, line, 1, server.name) ||
        !(server.is_srv ? directive_read_srv(reader, line, record)
                        : read_server_addr(reader, line, &at)) ||
        !value_options(reader, line, 3, options, values))
        return;
    if (at.kind == ENDPOINT_HOST)
        addr_any(AF_INET, at.first_port, &server.addr);
    else
        server.addr = at.addr;
    server.weight = (uint32_t)values[0];
    server.is_backup = values[1] != 0;
    server.maxconn = (uint32_t)values[3];
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

void directive_balance(struct reader *reader, const struct lex_line *line)
{
    static const char *const policies[] = {
        [CONF_BALANCE_LEASTCONN] = "leastconn",
        [CONF_BALANCE_ROUNDROBIN] = "roundrobin",
        [CONF_BALANCE_SOURCE] = "source",
        [CONF_BALANCE_RANDOM] = "random",
        NULL,
    };
    size_t policy;

    if (value_choice(reader, line, 1, policies, &policy))
        reader_service(reader)->balance = (enum conf_balance)policy;
}

void directive_tries(struct reader *reader, const struct lex_line *line)
{
    uint64_t n;

    if (value_number(reader, line, 1, (struct value_range){1, CONF_TRIES_MAX}, &n))
        reader_service(reader)->tries = (uint32_t)n;
}

void directive_timeout(struct reader *reader, const struct lex_line *line)
{
    bool is_service = reader->accepts & SECTION_SERVICE;
    struct conf_timeouts *timeouts =
        is_service ? &reader_service(reader)->timeouts : &reader->conf->defaults;
    const struct {
        const char *word;
        uint64_t *ms;
    } kinds[] = {
        {"connect", &timeouts->connect_ms},
        {"idle", &timeouts->idle_ms},
        {"half-close", &timeouts->half_close_ms},
        {"udp", &timeouts->udp_ms},
    };

    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
        if (strcmp(kinds[k].word, line->words[1].text) == 0)
            value_duration(reader, line, 2, kinds[k].ms);
}
