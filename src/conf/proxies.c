#include "lb4/conf/proxies.h"

#include <stdlib.h>

#include "lb4/base/prefix_map.h"
#include "lb4/conf/print.h"

bool conf_proxies_add(struct conf_listen *listen, const struct prefix *prefix)
{
    struct prefix *moved =
        reallocarray(listen->proxies, listen->n_proxies + 1, sizeof(*listen->proxies));

    if (!moved)
        return false;
    listen->proxies = moved;
    listen->proxies[listen->n_proxies++] = *prefix;
    return true;
}

bool conf_proxies_compile(struct conf_listen *listen)
{
    const struct prefix_rule rule = {
        .allows = true, .prefixes = listen->proxies, .n_prefixes = listen->n_proxies};

    listen->accept_proxy = prefix_map_new(&rule, 1, false);
    return listen->accept_proxy;
}

void conf_proxies_free(struct conf_listen *listen)
{
    prefix_map_release(listen->accept_proxy);
    free(listen->proxies);
    listen->accept_proxy = NULL;
    listen->proxies = NULL;
    listen->n_proxies = 0;
}

static void print_prefixes(const struct conf_listen *listen, FILE *stream)
{
    char text[PREFIX_TEXT_MAX];

    for (size_t i = 0; i < listen->n_proxies; i++)
        fprintf(stream, " %s", prefix_format(&listen->proxies[i], text));
}

void conf_proxies_print(const struct conf_listen *listen, FILE *stream)
{
    if (listen->n_proxies > 0)
        fputs(" accept-proxy from", stream);
    print_prefixes(listen, stream);
}

static bool is_equal(const struct conf_listen *a, const struct conf_listen *b)
{
    for (size_t i = 0; i < a->n_proxies && i < b->n_proxies; i++)
        if (prefix_compare(&a->proxies[i], &b->proxies[i]) != 0)
            return false;
    return a->n_proxies == b->n_proxies;
}

static bool is_same_place(const struct conf_listen *a, const struct conf_listen *b)
{
    return a->is_any == b->is_any && a->last_port == b->last_port && addr_equal(&a->addr, &b->addr);
}

static void print_or_none(const struct conf_listen *listen, FILE *stream)
{
    if (listen->n_proxies == 0)
        fputs(" none", stream);
    print_prefixes(listen, stream);
}

static long compare(const struct conf_listen *before, const struct conf_listen *after,
                    const char *service, FILE *stream)
{
    unsigned both = before->transport & after->transport;
    char text[CONF_LISTEN_TEXT_MAX];

    if (!both || !is_same_place(before, after) || is_equal(before, after))
        return 0;
    fprintf(stream, "~ accept-proxy %s %s of %s", conf_transport_word((enum conf_transport)both),
            conf_format_listen(after, text), service);
    print_or_none(before, stream);
    fputs(" ->", stream);
    print_or_none(after, stream);
    fputs("\n", stream);
    return 1;
}

long conf_proxies_diff(const struct conf_service *before, const struct conf_service *after,
                       FILE *stream)
{
    long n = 0;

    for (size_t i = 0; i < after->n_listens; i++)
        for (size_t k = 0; k < before->n_listens; k++)
            n += compare(&before->listens[k], &after->listens[i], after->name, stream);
    return n;
}

const char *conf_send_proxy_text(const struct conf_server *server)
{
    static const char *const texts[] = {"", " send-proxy v1", " send-proxy v2"};

    return texts[server->send_proxy];
}

long conf_send_proxy_diff(const char *service, const struct conf_server *before,
                          const struct conf_server *after, FILE *stream)
{
    static const char *const words[] = {"none", "v1", "v2"};

    if (before->send_proxy == after->send_proxy)
        return 0;
    fprintf(stream, "~ send-proxy %s/%s %s -> %s\n", service, after->name,
            words[before->send_proxy], words[after->send_proxy]);
    return 1;
}

void conf_proxies_check(const struct conf_service *service, struct conf_report *report)
{
    if (!(conf_transports(service) & CONF_UDP))
        return;
    for (size_t i = 0; i < service->n_servers; i++)
        if (service->servers[i].send_proxy == 1)
            conf_report_error(
                report, &service->servers[i].place,
                "server '%s': send-proxy v1 is a line for TCP, and the service listens "
                "on UDP; v2 is for both",
                service->servers[i].name);
}
