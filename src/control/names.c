/* Either all names get their addresses or nothing changes: services are made anew beside the old
 * ones, and take their place at the end. */
#include "lb4/control/names.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/conf/check.h"
#include "lb4/conf/endpoint.h"
#include "lb4/conf/memory.h"
#include "lb4/probe/resolver.h"

enum { TIMEOUT_S = 5 };

/* All names of the configuration, each once, by strcmp(). The hosts are the servers'. */
struct names {
    struct resolver_name *names;
    size_t n_names;
};

static const struct conf_server *first_with_name(const struct conf *conf, size_t *ret_n_hosts)
{
    const struct conf_server *first = NULL;

    *ret_n_hosts = 0;
    for (size_t i = 0; i < conf->n_services; i++) {
        for (size_t k = 0; k < conf->services[i].n_servers; k++) {
            const struct conf_server *server = &conf->services[i].servers[k];

            if (!server->host)
                continue;
            if (!first)
                first = server;
            ++*ret_n_hosts;
        }
    }
    return first;
}

static int compare_names(const void *left, const void *right)
{
    const struct resolver_name *a = left;
    const struct resolver_name *b = right;

    return strcmp(a->host, b->host);
}

static void sort_names(struct names *names)
{
    size_t n_kept = 0;

    qsort(names->names, names->n_names, sizeof(*names->names), compare_names);
    for (size_t i = 0; i < names->n_names; i++)
        if (n_kept == 0 || compare_names(&names->names[n_kept - 1], &names->names[i]) != 0)
            names->names[n_kept++] = names->names[i];
    names->n_names = n_kept;
}

static int names_init(struct names *names, const struct conf *conf, size_t n_hosts)
{
    names->n_names = 0;
    names->names = calloc(n_hosts, sizeof(*names->names));
    if (!names->names)
        return -ENOMEM;
    for (size_t i = 0; i < conf->n_services; i++)
        for (size_t k = 0; k < conf->services[i].n_servers; k++)
            if (conf->services[i].servers[k].host)
                names->names[names->n_names++].host = conf->services[i].servers[k].host;
    sort_names(names);
    return 0;
}

static void names_fini(struct names *names)
{
    free(names->names);
}

static const struct resolver_name *names_find(const struct names *names, const char *host)
{
    const struct resolver_name wanted = {.host = host};

    return bsearch(&wanted, names->names, names->n_names, sizeof(wanted), compare_names);
}

/* One service on its way from names to addresses. */
struct growth {
    const struct conf_service *old;
    struct conf_service grown; /* of which only the servers count */
    struct conf_report *report;
};

static bool is_taken(const struct conf_service *service, const char *name)
{
    for (size_t i = 0; i < service->n_servers; i++)
        if (strcmp(service->servers[i].name, name) == 0)
            return true;
    return false;
}

/* What the server of the nth address (from 0) is called. */
static bool make_name(struct growth *growth, const struct conf_server *server, size_t nth,
                      char ret[static CONF_NAME_MAX + 1])
{
    const char *wrong = NULL;
    char name[CONF_NAME_MAX + 32];
    int n = nth == 0 ? snprintf(name, sizeof(name), "%s", server->name)
                     : snprintf(name, sizeof(name), "%s-%zu", server->name, nth + 1);

    if (n > CONF_NAME_MAX)
        wrong = "is longer than 64 bytes";
    else if (nth > 0 && is_taken(growth->old, name))
        wrong = "is taken by another server";
    if (wrong)
        conf_report_error(growth->report, &server->place,
                          "server '%s': %s has several addresses, and the name '%s' %s",
                          server->name, server->host, name, wrong);
    else
        memcpy(ret, name, (size_t)n + 1);
    return !wrong;
}

static bool check_addr(struct growth *growth, const struct conf_server *server,
                       const struct addr *addr)
{
    const char *reason;
    char text[ADDR_TEXT_MAX];

    if (endpoint_can_connect(addr, &reason))
        return true;
    addr_format(addr, text);
    conf_report_error(growth->report, &server->place, "server '%s': %s is %.*s: %s", server->name,
                      server->host, (int)(strrchr(text, ':') - text), text, reason);
    return false;
}

/* Append a server like `server`, which may have no host any more. */
static bool add_server(struct growth *growth, const struct conf_server *server)
{
    struct conf_server *added = NULL;

    if (growth->grown.n_servers == CONF_SERVERS_MAX)
        conf_report_error(growth->report, &server->place,
                          "server '%s': with all addresses of its names the service has more than "
                          "%d servers",
                          server->name, CONF_SERVERS_MAX);
    else if (!(added = conf_add_server(&growth->grown)))
        conf_report_error(growth->report, &server->place, "out of memory");
    else
        *added = *server;
    return added;
}

static bool add_addr(struct growth *growth, const struct conf_server *server,
                     const struct resolver_name *name, size_t nth)
{
    struct conf_server made = *server;

    if (!check_addr(growth, server, &name->addrs[nth]) ||
        !make_name(growth, server, nth, made.name))
        return false;
    made.host = NULL;
    made.addr = name->addrs[nth];
    addr_set_port(&made.addr, addr_port(&server->addr));
    return add_server(growth, &made);
}

static void report_failed(struct growth *growth, const struct conf_server *server, int error)
{
    if (error == EAI_INPROGRESS)
        conf_report_error(growth->report, &server->place, "server '%s': %s: no answer within %ds",
                          server->name, server->host, TIMEOUT_S);
    else
        conf_report_error(growth->report, &server->place, "server '%s': %s: %s", server->name,
                          server->host, gai_strerror(error));
}

/* Fill growth->grown. What is wrong is in the report. */
static void grow(struct growth *growth, const struct names *names)
{
    for (size_t i = 0; i < growth->old->n_servers; i++) {
        const struct conf_server *server = &growth->old->servers[i];
        const struct resolver_name *name = server->host ? names_find(names, server->host) : NULL;
        bool is_fine = true;

        if (!name)
            is_fine = add_server(growth, server);
        else if (name->n_addrs == 0)
            report_failed(growth, server, name->error);
        if (name && name->is_cut)
            conf_report_warn(growth->report, &server->place,
                             "server '%s': %s has more than %d addresses, the lowest are used",
                             server->name, server->host, RESOLVER_ADDRS_MAX);
        for (size_t k = 0; name && k < name->n_addrs && is_fine; k++)
            is_fine = add_addr(growth, server, name, k);
        if (!is_fine && growth->grown.n_servers == CONF_SERVERS_MAX)
            return;
    }
}

static void install(struct conf_service *service, struct conf_service *grown)
{
    conf_free_servers(service);
    service->servers = grown->servers;
    service->n_servers = grown->n_servers;
}

/* The names of all services become addresses, or, if the report has errors then, none. */
static int put_addrs(struct conf *conf, const struct names *names, struct conf_report *report)
{
    struct growth *growths = calloc(conf->n_services, sizeof(*growths));

    if (!growths)
        return -ENOMEM;
    for (size_t i = 0; i < conf->n_services; i++) {
        growths[i] = (struct growth){.old = &conf->services[i], .report = report};
        grow(&growths[i], names);
    }
    for (size_t i = 0; i < conf->n_services; i++) {
        if (report->n_errors == 0)
            install(&conf->services[i], &growths[i].grown);
        else
            conf_free_servers(&growths[i].grown);
    }
    free(growths);
    return report->n_errors > 0 ? -EINVAL : 0;
}

static int resolve_all(struct conf *conf, size_t n_hosts, enum names_means means,
                       struct conf_report *report)
{
    struct names names;
    int error = names_init(&names, conf, n_hosts);

    if (error == 0)
        error = means == NAMES_BY_CHILD
                    ? resolver_resolve(names.names, names.n_names, TIMEOUT_S * 1000)
                    : resolver_resolve_by_threads(names.names, names.n_names, TIMEOUT_S * 1000);
    if (error == 0)
        error = put_addrs(conf, &names, report);
    names_fini(&names);
    return error;
}

/* What it warns of was said before, when it saw the names. */
static int check_again(struct conf *conf, struct conf_report *report)
{
    struct conf_report warned = *report;
    int error = conf_check(conf, report);

    memcpy(report->warnings, warned.warnings, sizeof(warned.warnings));
    report->n_warnings = warned.n_warnings;
    return error;
}

int names_resolve(struct conf *conf, enum names_means means, struct conf_report *report)
{
    size_t n_hosts;
    const struct conf_server *first = first_with_name(conf, &n_hosts);
    int error;

    if (!first)
        return 0;
    error = resolve_all(conf, n_hosts, means, report);
    if (error == 0)
        error = check_again(conf, report);
    else if (report->n_errors == 0 && error != -EINTR)
        conf_report_error(report, &first->place, "server '%s': %s cannot be looked up: %s",
                          first->name, first->host, strerror(-error));
    return error;
}
