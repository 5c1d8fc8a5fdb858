#include "lb4/control/names.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/base/clock.h"
#include "lb4/conf/check.h"
#include "lb4/conf/written.h"
#include "lb4/control/expand.h"
#include "lb4/probe/resolver.h"

enum {
    START_S = 2, /* a first name server that is dead is passed over by then; who comes later serves
                    later; chosen */
    RELOAD_S = 5 /* it is off the path of everything else; chosen */
};

/* --- look up -------------------------------------------------------------------------------------
 */

static const struct conf_server *first_with_name(const struct conf *conf, size_t *ret_n_hosts)
{
    const struct conf_server *first = NULL;

    *ret_n_hosts = 0;
    for (size_t i = 0; i < conf->n_services; i++) {
        size_t n;
        const struct conf_server *servers = conf_written(&conf->services[i], &n);

        for (size_t k = 0; k < n; k++) {
            if (!servers[k].host)
                continue;
            if (!first)
                first = &servers[k];
            ++*ret_n_hosts;
        }
    }
    return first;
}

static int compare_names(const void *left, const void *right)
{
    const struct resolver_name *a = left;
    const struct resolver_name *b = right;
    int order = strcmp(a->host, b->host);

    return order != 0 ? order : (int)a->is_srv - (int)b->is_srv;
}

static void sort_names(struct names_found *found)
{
    size_t n_kept = 0;

    qsort(found->names, found->n_names, sizeof(*found->names), compare_names);
    for (size_t i = 0; i < found->n_names; i++)
        if (n_kept == 0 || compare_names(&found->names[n_kept - 1], &found->names[i]) != 0)
            found->names[n_kept++] = found->names[i];
    found->n_names = n_kept;
}

static int collect(struct names_found *found, const struct conf *conf, size_t n_hosts)
{
    found->names = calloc(n_hosts, sizeof(*found->names));
    if (!found->names)
        return -ENOMEM;
    for (size_t i = 0; i < conf->n_services; i++) {
        size_t n;
        const struct conf_server *servers = conf_written(&conf->services[i], &n);

        for (size_t k = 0; k < n; k++)
            if (servers[k].host)
                found->names[found->n_names++] =
                    (struct resolver_name){.host = servers[k].host, .is_srv = servers[k].is_srv};
    }
    sort_names(found);
    return 0;
}

int names_look_up(const struct conf *conf, enum names_means means, struct names_found *ret,
                  struct conf_report *report)
{
    size_t n_hosts;
    const struct conf_server *first = first_with_name(conf, &n_hosts);
    int error;

    *ret = (struct names_found){.asked_ns = clock_now_ns()};
    if (!first)
        return 0;
    error = collect(ret, conf, n_hosts);
    if (!error)
        error = means == NAMES_BY_CHILD
                    ? resolver_resolve(ret->names, ret->n_names, START_S * 1000)
                    : resolver_resolve_by_threads(ret->names, ret->n_names, RELOAD_S * 1000);
    if (error && error != -EINTR)
        conf_report_error(report, &first->place, "server '%s': %s cannot be looked up: %s",
                          first->name, first->host, strerror(-error));
    return error;
}

void names_found_fini(struct names_found *found)
{
    free(found->names);
    *found = (struct names_found){0};
}

/* --- settle --------------------------------------------------------------------------------------
 */

static void report_server(const struct conf_server *server, const struct resolver_name *name,
                          struct conf_report *report)
{
    if (name->error == EAI_INPROGRESS)
        conf_report_error(report, &server->place, "server '%s': %s: no answer within %ds",
                          server->name, server->host, RELOAD_S);
    else
        conf_report_error(report, &server->place, "server '%s': %s: %s", server->name, server->host,
                          lookup_error_text(name->error));
}

static void report_failed(const struct conf *conf, const struct resolver_name *name,
                          struct conf_report *report)
{
    for (size_t i = 0; i < conf->n_services; i++) {
        size_t n;
        const struct conf_server *servers = conf_written(&conf->services[i], &n);

        for (size_t k = 0; k < n; k++)
            if (servers[k].host && strcmp(servers[k].host, name->host) == 0 &&
                servers[k].is_srv == name->is_srv)
                report_server(&servers[k], name, report);
    }
}

/* What was asked for before the set's last answer came is older than that. */
static bool is_old(const struct names_found *found, const struct name_set *set)
{
    return set->good_ns > found->asked_ns;
}

static int take_found(struct conf *conf, bool is_start, const struct names_found *found,
                      struct name_sets *sets, struct conf_report *report)
{
    for (size_t i = 0; i < found->n_names; i++) {
        const struct resolver_name *name = &found->names[i];
        struct name_set *set = name_sets_find(sets, name->host, name->is_srv);

        if (name->n_addrs == 0 && !is_start && !(set && set->is_used)) {
            report_failed(conf, name, report);
            continue;
        }
        if (!set)
            set = name_sets_add(sets, name->host, name->is_srv);
        if (!set)
            return -ENOMEM;
        if (!is_old(found, set))
            name_set_take(set, name, clock_now_ns());
    }
    return report->n_errors > 0 ? -EINVAL : 0;
}

/* What it warns of was said before, when it saw the names. */
static int check_again(struct conf *conf, struct conf_report *report)
{
    struct conf_message warnings[CONF_ERRORS_MAX];
    size_t n_warnings = report->n_warnings;
    int error;

    memcpy(warnings, report->warnings, sizeof(warnings));
    error = conf_check(conf, report);
    memcpy(report->warnings, warnings, sizeof(warnings));
    report->n_warnings = n_warnings;
    return error;
}

int names_settle(struct conf *conf, const struct conf *present, const struct names_found *found,
                 struct name_sets *sets, struct conf_report *report)
{
    int error;

    if (found->n_names == 0)
        return 0;
    error = take_found(conf, !present, found, sets, report);
    if (!error)
        error = expand_conf(conf, present, sets, report);
    if (error == -ENOMEM)
        conf_report_error(report, &conf->services[0].place, "out of memory");
    return error ? error : check_again(conf, report);
}

int names_resolve(struct conf *conf, struct name_sets *sets, struct conf_report *report)
{
    struct names_found found;
    int error = names_look_up(conf, NAMES_BY_CHILD, &found, report);

    if (!error)
        error = names_settle(conf, NULL, &found, sets, report);
    names_found_fini(&found);
    return error;
}
