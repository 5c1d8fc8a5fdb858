#include "lb4/conf/print.h"

#include <string.h>

#include "lb4/base/log_sink.h"
#include "lb4/base/number.h"
#include "lb4/conf/access.h"
#include "lb4/conf/check.h"
#include "lb4/conf/listen_words.h"
#include "lb4/conf/origins.h"
#include "lb4/conf/proxies.h"
#include "lb4/conf/written.h"

static void print_auto(const char *word, uint32_t n, bool is_auto, FILE *stream)
{
    if (is_auto)
        fprintf(stream, "%s auto\n", word);
    else
        fprintf(stream, "%s %u\n", word, n);
}

static void print_duration(const char *words, uint64_t ms, FILE *stream)
{
    char text[NUMBER_TEXT_MAX];

    fprintf(stream, "%s %s\n", words, number_format_duration(ms, text));
}

static void print_timeouts(const struct conf_timeouts *timeouts, FILE *stream)
{
    print_duration("    timeout connect", timeouts->connect_ms, stream);
    print_duration("    timeout idle", timeouts->idle_ms, stream);
    print_duration("    timeout half-close", timeouts->half_close_ms, stream);
    print_duration("    timeout udp", timeouts->udp_ms, stream);
}

static void print_access(const struct conf_access *access, FILE *stream)
{
    if (access->state != CONF_ACCESS_ON)
        fputs("    access-log off\n", stream);
    else if (access->interval_ms == 0)
        fputs("    access-log on\n", stream);
    else
        print_duration("    access-log on interval", access->interval_ms, stream);
}

/* A text may hold anything. */
static void print_quoted(const char *word, const char *text, size_t n_bytes, FILE *stream)
{
    fprintf(stream, "%s \"", word);
    for (size_t i = 0; i < n_bytes; i++) {
        unsigned char byte = (unsigned char)text[i];

        if (byte == '"' || byte == '\\')
            fprintf(stream, "\\%c", byte);
        else if (byte < 0x20 || byte >= 0x7f)
            fprintf(stream, "\\x%02x", byte);
        else
            fputc(byte, stream);
    }
    fputc('"', stream);
}

const char *conf_transport_word(enum conf_transport transport)
{
    switch (transport) {
    case CONF_TCP:
        return "tcp";
    case CONF_UDP:
        return "udp";
    case CONF_TCP_AND_UDP:
        return "both";
    }
    return "?";
}

const char *conf_format_listen(const struct conf_listen *listen,
                               char text[static CONF_LISTEN_TEXT_MAX])
{
    uint16_t port = addr_port(&listen->addr);
    char last[8] = "";
    char host[ADDR_TEXT_MAX] = "";

    if (listen->is_any)
        snprintf(host, sizeof(host), ":%u", port);
    else
        addr_format(&listen->addr, host);
    if (listen->last_port != port)
        snprintf(last, sizeof(last), "-%u", listen->last_port);
    snprintf(text, CONF_LISTEN_TEXT_MAX, "%s%s", host, last);
    return text;
}

static void print_server(const struct conf_server *server, FILE *stream)
{
    char text[ADDR_TEXT_MAX];
    char origin[CONF_ORIGIN_TEXT_MAX];
    const char *port;

    addr_format(&server->addr, text);
    port = addr_is_unix(&server->addr) ? "" : strrchr(text, ':');
    fprintf(stream, "    server %s ", server->name);
    if (server->host)
        fprintf(stream, "%s%s", server->is_srv ? "srv:" : "", server->host);
    else if (addr_is_unix(&server->addr))
        fputs(text, stream);
    else
        fprintf(stream, "%.*s", (int)(port - text), text);
    fputs(addr_port(&server->addr) != 0 ? port : "", stream);
    if (!server->is_srv)
        fprintf(stream, " weight %u", server->weight);
    if (server->priority > 1)
        fprintf(stream, " priority %u", server->priority);
    if (server->maxconn > 0)
        fprintf(stream, " maxconn %u", server->maxconn);
    fputs(conf_send_proxy_text(server), stream);
    fprintf(stream, "%s%s\n", server->is_backup ? " backup" : "",
            conf_format_origin(server->origin, origin));
}

static void print_resolve(uint64_t resolve_ms, FILE *stream)
{
    if (resolve_ms == CONF_RESOLVE_OFF)
        fputs("    resolve off\n", stream);
    else
        print_duration("    resolve", resolve_ms, stream);
}

/* Without a `check` line a name that is looked up once decides by how many addresses it has. */
static bool is_undecided(const struct conf_service *service)
{
    size_t n;
    const struct conf_server *servers = conf_written(service, &n);

    return service->check.kind == CONF_CHECK_AUTO && n == 1 && servers[0].host &&
           service->all_down != CONF_ALL_DOWN_HOLD && (conf_transports(service) & CONF_TCP);
}

enum { BINARY_MIN = 64 }; /* bytes; chosen: short ones are easier to read as texts */

static bool is_mostly_binary(const char *text, size_t n_bytes)
{
    size_t n_binary = 0;

    if (n_bytes <= BINARY_MIN)
        return false;
    for (size_t i = 0; i < n_bytes; i++)
        n_binary += (unsigned char)text[i] < 0x20 || (unsigned char)text[i] >= 0x7f;
    return n_binary > n_bytes / 2;
}

/* Digits where they are shorter, so that the longest texts fit on a line, and where the text would
 * be taken for the word that announces what follows. */
static void print_text(const char *word, const char *text, size_t n_bytes, FILE *stream)
{
    bool is_announcement = (n_bytes == 3 && memcmp(text, "hex", 3) == 0) ||
                           (n_bytes == 5 && memcmp(text, "regex", 5) == 0);

    if (!is_mostly_binary(text, n_bytes) && !is_announcement) {
        print_quoted(word, text, n_bytes, stream);
        return;
    }
    fprintf(stream, "%s hex ", word);
    for (size_t i = 0; i < n_bytes; i++)
        fprintf(stream, "%02x", (unsigned char)text[i]);
}

static void print_http(const struct conf_check *check, FILE *stream)
{
    print_quoted("    check http", check->send, check->n_send, stream);
    fprintf(stream, " status %u-%u", check->status_min, check->status_max);
    if (check->host)
        print_quoted(" host", check->host, strlen(check->host), stream);
}

static void print_host(const char *word, const struct addr *addr, FILE *stream)
{
    char text[ADDR_TEXT_MAX];
    char *port;

    if (addr->sa.sa_family == AF_UNSPEC)
        return;
    addr_format(addr, text);
    port = strrchr(text, ':');
    fprintf(stream, " %s %.*s", word, (int)(port - text), text);
}

static const char *const role_words[] = {
    [CONF_ROLE_ANY] = "",
    [CONF_ROLE_MASTER] = " role master",
    [CONF_ROLE_REPLICA] = " role replica",
};

static void print_login(const char *kind, const struct conf_check *check, FILE *stream)
{
    fputs(kind, stream);
    if (check->send)
        print_quoted(" user", check->send, check->n_send, stream);
}

static void print_check_kind(const struct conf_check *check, FILE *stream)
{
    switch (check->kind) {
    case CONF_CHECK_AUTO:
    case CONF_CHECK_NONE:
    case CONF_CHECK_TCP:
        fputs("    check tcp", stream);
        break;
    case CONF_CHECK_HTTP:
        print_http(check, stream);
        break;
    case CONF_CHECK_SEND:
        print_text("    check send", check->send, check->n_send, stream);
        if (check->is_regex)
            print_quoted(" expect regex", check->expect, check->n_expect, stream);
        else
            print_text(" expect", check->expect, check->n_expect, stream);
        break;
    case CONF_CHECK_REDIS:
        fprintf(stream, "    check redis%s", role_words[check->role]);
        break;
    case CONF_CHECK_POSTGRES:
        print_login("    check postgres", check, stream);
        break;
    case CONF_CHECK_MYSQL:
        print_login("    check mysql", check, stream);
        break;
    case CONF_CHECK_DNS:
        fprintf(stream, "    check dns %s", check->send);
        break;
    case CONF_CHECK_EXEC:
        print_quoted("    check exec", check->send, check->n_send, stream);
        break;
    }
}

static void print_check(const struct conf_service *service, FILE *stream)
{
    const struct conf_check *check = &service->check;
    char interval[NUMBER_TEXT_MAX];
    char timeout[NUMBER_TEXT_MAX];
    char fast[NUMBER_TEXT_MAX];

    if (is_undecided(service))
        return;
    if (!conf_is_checked(service)) {
        fputs("    check none\n", stream);
        return;
    }
    print_check_kind(check, stream);
    fprintf(stream, " interval %s timeout %s fall %u rise %u fast %s",
            number_format_duration(check->interval_ms, interval),
            number_format_duration(check->timeout_ms, timeout), check->fall, check->rise,
            number_format_duration(check->fast_ms, fast));
    if (check->port != 0)
        fprintf(stream, " port %u", check->port);
    if (check->has_jitter)
        fprintf(stream, " jitter %u", check->jitter);
    print_host("address", &check->address, stream);
    print_host("source", &check->source, stream);
    fputc('\n', stream);
}

const char *conf_balance_word(enum conf_balance balance)
{
    switch (balance) {
    case CONF_BALANCE_LEASTCONN:
        return "leastconn";
    case CONF_BALANCE_ROUNDROBIN:
        return "roundrobin";
    case CONF_BALANCE_SOURCE:
        return "source";
    case CONF_BALANCE_RANDOM:
        return "random";
    }
    return "?";
}

static void print_udp(const struct conf_udp *udp, FILE *stream)
{
    fprintf(stream, "    udp-on-down %s\n", udp->keeps_on_down ? "keep" : "rebind");
    if (udp->has_responses)
        fprintf(stream, "    udp-responses %u\n", udp->responses);
    if (udp->max_sessions != 0)
        fprintf(stream, "    udp-sessions %u\n", udp->max_sessions);
}

static void print_farewell(const char *word, const struct conf_farewell *farewell, FILE *stream)
{
    switch (farewell->kind) {
    case CONF_FAREWELL_KEEP:
        fprintf(stream, "    %s keep\n", word);
        break;
    case CONF_FAREWELL_RESET:
        fprintf(stream, "    %s reset\n", word);
        break;
    case CONF_FAREWELL_DRAIN:
        fprintf(stream, "    %s ", word);
        print_duration("drain", farewell->drain_ms, stream);
        break;
    }
}

static void print_all_down(const struct conf_service *service, FILE *stream)
{
    char text[NUMBER_TEXT_MAX];

    switch (service->all_down) {
    case CONF_ALL_DOWN_REFUSE:
        fputs("    all-down refuse\n", stream);
        break;
    case CONF_ALL_DOWN_ANY:
        fputs("    all-down any\n", stream);
        break;
    case CONF_ALL_DOWN_HOLD:
        fprintf(stream, "    all-down hold %s max %u\n",
                number_format_duration(service->hold_ms, text), service->hold_max);
        break;
    }
}

/* What becomes of clients and connections when servers go down and come back. */
static void print_down(const struct conf_service *service, FILE *stream)
{
    char within[NUMBER_TEXT_MAX];
    char out[NUMBER_TEXT_MAX];

    print_farewell("on-down", &service->on_down, stream);
    print_farewell("on-up", &service->on_up, stream);
    print_all_down(service, stream);
    if (service->evict.n_failures > 0)
        fprintf(stream, "    evict after %u failures in %s for %s\n", service->evict.n_failures,
                number_format_duration(service->evict.within_ms, within),
                number_format_duration(service->evict.for_ms, out));
    if (service->slow_start_ms > 0)
        print_duration("    slow-start", service->slow_start_ms, stream);
}

static void print_queue(const struct conf_queue *queue, FILE *stream)
{
    char text[NUMBER_TEXT_MAX];

    fprintf(stream, "    queue %u timeout %s\n", queue->max,
            number_format_duration(queue->timeout_ms, text));
}

static void print_affinity(const struct conf_affinity *affinity, FILE *stream)
{
    char text[NUMBER_TEXT_MAX];

    switch (affinity->state) {
    case CONF_AFFINITY_UNSET:
        break;
    case CONF_AFFINITY_OFF:
        fputs("    affinity off\n", stream);
        break;
    case CONF_AFFINITY_ON:
        fprintf(stream, "    affinity source %s prefix4 %u prefix6 %u\n",
                number_format_duration(affinity->ms, text), affinity->prefix4, affinity->prefix6);
        break;
    }
}

/* "" = none. A path may hold anything. */
static void print_address(const char *word, const char *text, FILE *stream)
{
    if (text[0] == '\0')
        return;
    print_quoted(word, text, strlen(text), stream);
    fputc('\n', stream);
}

static void print_log(const struct conf_log *log, FILE *stream)
{
    switch (log->kind) {
    case CONF_LOG_STDERR:
        fputs("log stderr\n", stream);
        break;
    case CONF_LOG_FILE:
        print_address("log file", log->path, stream);
        break;
    case CONF_LOG_SYSLOG:
        fprintf(stream, "log syslog %s\n", log_facility_word(log->facility));
        break;
    }
    fprintf(stream, "log-format %s\n", log->is_json ? "json" : "text");
}

void conf_print_policy(const struct conf_service *service, FILE *stream)
{
    char source[CONF_ORIGIN_TEXT_MAX];

    fprintf(stream, "    balance %s\n", conf_balance_word(service->balance));
    if (service->source)
        fprintf(stream, "   %s\n", conf_format_origin(service->source, source));
    print_check(service, stream);
    fprintf(stream, "    tries %u\n", service->tries);
    print_down(service, stream);
    if (conf_has_limits(service))
        print_queue(&service->queue, stream);
    print_resolve(service->resolve_ms, stream);
    print_timeouts(&service->timeouts, stream);
    conf_print_guard(&service->guard, stream);
    print_access(&service->access, stream);
    fprintf(stream, "    refuse %s\n", conf_refuse_word(service->rules.refuse));
    print_affinity(&service->affinity, stream);
    if (conf_transports(service) & CONF_UDP)
        print_udp(&service->udp, stream);
}

static void print_service(const struct conf_service *service, FILE *stream)
{
    size_t n_servers;
    const struct conf_server *servers = conf_written(service, &n_servers);

    fprintf(stream, "service %s {\n", service->name);
    for (size_t i = 0; i < service->n_listens; i++) {
        char text[CONF_LISTEN_TEXT_MAX];
        char words[CONF_LISTEN_WORDS_MAX];

        fprintf(stream, "    listen %s %s%s", conf_transport_word(service->listens[i].transport),
                conf_format_listen(&service->listens[i], text),
                conf_format_listen_words(&service->listens[i], words));
        conf_proxies_print(&service->listens[i], stream);
        fputs("\n", stream);
    }
    conf_access_print(&service->rules, stream);
    conf_print_policy(service, stream);
    for (size_t i = 0; i < n_servers; i++)
        print_server(&servers[i], stream);
    fputs("}\n", stream);
}

void conf_print_globals(const struct conf *conf, FILE *stream)
{
    char http[ADDR_TEXT_MAX];

    print_auto("workers", conf->workers, conf->workers == 0, stream);
    fprintf(stream, "cpu-affinity %s\n", conf->cpu_affinity ? "auto" : "off");
    fprintf(stream, "cpu-scheduling %s\n", conf->tunes_scheduling ? "auto" : "inherit");
    fprintf(stream, "io-uring %s\n", conf->io_uring ? "auto" : "off");
    print_auto("maxconn", conf->maxconn, conf->maxconn == 0, stream);
    print_auto("pipes", conf->pipes, conf->pipes_auto, stream);
    fprintf(stream, "splice %s\n", conf->splice ? "on" : "off");
    print_duration("drain", conf->drain_ms, stream);
    if (conf->user[0] != '\0')
        fprintf(stream, "user %s%s%s\n", conf->user, conf->group[0] != '\0' ? ":" : "",
                conf->group);
    print_address("admin", conf->admin, stream);
    if (conf->http.sa.sa_family != AF_UNSPEC)
        print_address("http", addr_format(&conf->http, http), stream);
    print_log(&conf->log, stream);
}

void conf_print(const struct conf *conf, FILE *stream)
{
    conf_print_globals(conf, stream);
    fputs("defaults {\n", stream);
    print_timeouts(&conf->defaults, stream);
    print_access(&conf->default_access, stream);
    conf_access_print(&conf->default_rules, stream);
    fprintf(stream, "    refuse %s\n", conf_refuse_word(conf->default_rules.refuse));
    print_affinity(&conf->default_affinity, stream);
    print_resolve(conf->default_resolve_ms, stream);
    fputs("}\n", stream);
    for (size_t i = 0; i < conf->n_services; i++)
        print_service(&conf->services[i], stream);
}
