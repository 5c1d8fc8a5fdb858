#include "lb4/conf/diff_servers.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/conf/origins.h"
#include "lb4/conf/proxies.h"
#include "lb4/conf/written.h"

/* The servers of a service, by name: with thousands a walk for each would take too long. */
struct servers {
    const struct conf_server **servers;
    size_t n;
};

static int compare_names(const void *left, const void *right)
{
    const struct conf_server *const *a = left;
    const struct conf_server *const *b = right;

    return strcmp((*a)->name, (*b)->name);
}

static int servers_init(struct servers *servers, const struct conf_service *service)
{
    *servers = (struct servers){.n = service->n_servers};
    servers->servers = calloc(servers->n + 1, sizeof(const struct conf_server *));
    if (!servers->servers)
        return -ENOMEM;
    for (size_t i = 0; i < servers->n; i++)
        servers->servers[i] = &service->servers[i];
    qsort(servers->servers, servers->n, sizeof(const struct conf_server *), compare_names);
    return 0;
}

static const struct conf_server *servers_find(const struct servers *servers,
                                              const struct conf_server *like)
{
    const struct conf_server **found = bsearch(&like, servers->servers, servers->n,
                                               sizeof(const struct conf_server *), compare_names);

    return found ? *found : NULL;
}

/* Those of `service` that are not among the others, or all. */
static long write_servers(char sign, const struct conf_service *service,
                          const struct servers *others, FILE *stream)
{
    char text[ADDR_TEXT_MAX];
    long n = 0;

    for (size_t i = 0; i < service->n_servers; i++) {
        const struct conf_server *server = &service->servers[i];

        if (others && servers_find(others, server))
            continue;
        fprintf(stream, "%c server %s/%s %s\n", sign, service->name, server->name,
                addr_format(&server->addr, text));
        n++;
    }
    return n;
}

static const char *limit_text(uint32_t maxconn, char text[static ADDR_TEXT_MAX])
{
    snprintf(text, ADDR_TEXT_MAX, maxconn ? "%u" : "none", maxconn);
    return text;
}

static long compare_server(const char *service, const struct conf_server *before,
                           const struct conf_server *after, FILE *stream)
{
    char old_text[ADDR_TEXT_MAX];
    char new_text[ADDR_TEXT_MAX];
    long n = 0;

    if (!addr_equal(&before->addr, &after->addr) && ++n)
        fprintf(stream, "~ address %s/%s %s -> %s\n", service, after->name,
                addr_format(&before->addr, old_text), addr_format(&after->addr, new_text));
    if (before->weight != after->weight && ++n)
        fprintf(stream, "~ weight %s/%s %u -> %u\n", service, after->name, before->weight,
                after->weight);
    if (before->priority != after->priority && ++n)
        fprintf(stream, "~ priority %s/%s %u -> %u\n", service, after->name, before->priority,
                after->priority);
    if (before->maxconn != after->maxconn && ++n)
        fprintf(stream, "~ maxconn %s/%s %s -> %s\n", service, after->name,
                limit_text(before->maxconn, old_text), limit_text(after->maxconn, new_text));
    if (before->is_backup != after->is_backup && ++n)
        fprintf(stream, "~ backup %s/%s %s\n", service, after->name,
                before->is_backup ? "yes -> no" : "no -> yes");
    return n + conf_send_proxy_diff(service, before, after, stream) +
           conf_diff_origin(service, before, after, stream);
}

static long compare_sorted(const struct conf_service *before, const struct conf_service *after,
                           const struct servers sorted[2], FILE *stream)
{
    long n = write_servers('-', before, &sorted[1], stream) +
             write_servers('+', after, &sorted[0], stream);

    for (size_t i = 0; i < after->n_servers; i++) {
        const struct conf_server *old = servers_find(&sorted[0], &after->servers[i]);

        if (old)
            n += compare_server(after->name, old, &after->servers[i], stream);
    }
    return n;
}

static long compare_servers(const struct conf_service *before, const struct conf_service *after,
                            FILE *stream)
{
    struct servers sorted[2];
    long n = servers_init(&sorted[0], before);

    if (servers_init(&sorted[1], after) < 0)
        n = -ENOMEM;
    if (n == 0)
        n = compare_sorted(before, after, sorted, stream);
    free(sorted[0].servers);
    free(sorted[1].servers);
    return n;
}

/* --- names ------------------------------------------------------------------------------------ */

enum { OPTIONS_MAX = 80 + CONF_ORIGIN_TEXT_MAX, NAME_TEXT_MAX = CONF_HOST_MAX + 16 + OPTIONS_MAX };

/* The written servers that are names. */
static int names_init(struct servers *names, const struct conf_service *service)
{
    size_t n;
    const struct conf_server *written = conf_written(service, &n);

    *names = (struct servers){.servers = calloc(n + 1, sizeof(const struct conf_server *))};
    if (!names->servers)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        if (written[i].host)
            names->servers[names->n++] = &written[i];
    qsort(names->servers, names->n, sizeof(const struct conf_server *), compare_names);
    return 0;
}

static void format_options(const struct conf_server *server, char text[static OPTIONS_MAX])
{
    char priority[24] = "";
    char maxconn[24] = "";
    char origin[CONF_ORIGIN_TEXT_MAX];

    if (server->priority > 1)
        snprintf(priority, sizeof(priority), " priority %u", server->priority);
    if (server->maxconn > 0)
        snprintf(maxconn, sizeof(maxconn), " maxconn %u", server->maxconn);
    snprintf(text, OPTIONS_MAX, " weight %u%s%s%s%s%s", server->weight, priority, maxconn,
             conf_send_proxy_text(server), server->is_backup ? " backup" : "",
             conf_format_origin(server->origin, origin));
}

/* What is said beside a name shows in the servers that it became, if it has become any. */
static const char *format_name(const struct conf_server *server, bool has_servers,
                               char text[static NAME_TEXT_MAX])
{
    char port[16] = "";
    char options[OPTIONS_MAX] = "";

    if (addr_port(&server->addr) != 0)
        snprintf(port, sizeof(port), ":%u", addr_port(&server->addr));
    if (!has_servers)
        format_options(server, options);
    snprintf(text, NAME_TEXT_MAX, "%s%s%s%s", server->is_srv ? "srv:" : "", server->host, port,
             options);
    return text;
}

/* Has this written name become servers? */
static bool has_servers_of(const struct conf_service *service, const struct conf_server *written)
{
    for (size_t i = 0; service->written && i < service->n_servers; i++)
        if (service->servers[i].of == (uint32_t)(written - service->written) + 1)
            return true;
    return false;
}

static long compare_name(const struct conf_service *before, const struct conf_server *old,
                         const struct conf_server *new, FILE *stream)
{
    bool has_servers = has_servers_of(before, old);
    char old_text[NAME_TEXT_MAX];
    char new_text[NAME_TEXT_MAX];

    format_name(old, has_servers, old_text);
    format_name(new, has_servers, new_text);
    if (strcmp(old_text, new_text) == 0)
        return 0;
    fprintf(stream, "~ name %s/%s %s -> %s\n", before->name, new->name, old_text, new_text);
    return 1;
}

static long write_name(char sign, const struct conf_service *service,
                       const struct conf_server *server, FILE *stream)
{
    char text[NAME_TEXT_MAX];

    fprintf(stream, "%c name %s/%s %s\n", sign, service->name, server->name,
            format_name(server, true, text));
    return 1;
}

static long compare_sorted_names(const struct conf_service *before,
                                 const struct conf_service *after, const struct servers sorted[2],
                                 FILE *stream)
{
    long n = 0;

    for (size_t i = 0; i < sorted[0].n; i++)
        if (!servers_find(&sorted[1], sorted[0].servers[i]))
            n += write_name('-', before, sorted[0].servers[i], stream);
    for (size_t i = 0; i < sorted[1].n; i++) {
        const struct conf_server *old = servers_find(&sorted[0], sorted[1].servers[i]);

        n += old ? compare_name(before, old, sorted[1].servers[i], stream)
                 : write_name('+', after, sorted[1].servers[i], stream);
    }
    return n;
}

static long compare_names_of(const struct conf_service *before, const struct conf_service *after,
                             FILE *stream)
{
    struct servers sorted[2] = {0};
    long n = names_init(&sorted[0], before);

    if (names_init(&sorted[1], after) < 0)
        n = -ENOMEM;
    if (n == 0)
        n = compare_sorted_names(before, after, sorted, stream);
    free(sorted[0].servers);
    free(sorted[1].servers);
    return n;
}

long conf_diff_servers(const struct conf_service *before, const struct conf_service *after,
                       FILE *stream)
{
    long n_names = compare_names_of(before, after, stream);
    long n_servers = compare_servers(before, after, stream);

    return n_servers < 0 || n_names < 0 ? -ENOMEM : n_names + n_servers;
}

long conf_write_servers(char sign, const struct conf_service *service, FILE *stream)
{
    return write_servers(sign, service, NULL, stream);
}
