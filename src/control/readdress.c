/* The new configuration is the present one but for arrays of servers, which change places with the
 * present ones at the commit. */
#include "lb4/control/readdress.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/base/log.h"
#include "lb4/conf/diff.h"
#include "lb4/conf/memory.h"
#include "lb4/control/expand.h"
#include "lb4/shared/service_table.h"

bool readdress_may(const struct reload *reload)
{
    return !reload_is_changing(reload) && !retire_is_busy(&reload->retire);
}

static int fail(int error, char reterr[static CHANGE_ERROR_MAX])
{
    snprintf(reterr, CHANGE_ERROR_MAX, "%s", strerror(-error));
    return error;
}

/* The servers of one service, in the place of those in `after`, if they are others; with the
 * difference. */
static int renew_service(struct expand *expand, const struct conf_service *present,
                         struct conf_service *after, FILE *difference)
{
    struct conf_service grown;
    int error = expand_service(expand, present, present, &grown);
    long n;

    if (error)
        return error;
    after->servers = grown.servers;
    after->n_servers = grown.n_servers;
    n = conf_diff_service(present, after, difference);
    if (n > 0)
        return 1;
    conf_free_servers(after);
    after->servers = present->servers;
    after->n_servers = present->n_servers;
    return n < 0 ? (int)n : 0;
}

/* Returns how many services have other servers, or -errno. */
static int renew(struct reload *reload, struct conf *after, FILE *difference)
{
    const struct conf *present = reload->conf;
    struct expand expand;
    int n = 0;

    expand_init(&expand, &reload->names, present, NULL);
    for (size_t i = 0; n >= 0 && i < present->n_services; i++) {
        int found = present->services[i].written ? renew_service(&expand, &present->services[i],
                                                                 &after->services[i], difference)
                                                 : 0;

        n = found < 0 ? found : n + found;
    }
    expand_fini(&expand);
    return n;
}

/* Free those servers of `after` that are not the present ones too. */
static void drop_servers(const struct conf *present, struct conf *after)
{
    for (size_t i = 0; i < after->n_services; i++)
        if (after->services[i].servers != present->services[i].servers)
            conf_free_servers(&after->services[i]);
}

static void swap_servers(struct conf *present, struct conf *after)
{
    for (size_t i = 0; i < after->n_services; i++) {
        struct conf_service old = present->services[i];

        present->services[i].servers = after->services[i].servers;
        present->services[i].n_servers = after->services[i].n_servers;
        after->services[i].servers = old.servers;
        after->services[i].n_servers = old.n_servers;
    }
}

static void log_lines(const char *text)
{
    while (text && *text) {
        int n = (int)strcspn(text, "\n");

        log_info("names: %.*s", n, text);
        text += n + (text[n] == '\n');
    }
}

static int put_in_force(struct reload *reload, struct conf *after, uint64_t now_ns,
                        char reterr[static CHANGE_ERROR_MAX])
{
    struct change *change = &reload->change;
    int error = change_prepare(change, reload->runtime, reload->conf, after, reterr);

    if (error)
        return error;
    for (size_t i = 0; i < change->n_services; i++)
        change->services[i].keeps_leaving = true;
    change_commit(change, now_ns);
    reload->is_small = true;
    swap_servers(reload->conf, after);
    return 1;
}

static int copy_conf(const struct conf *present, struct conf *ret)
{
    *ret = *present;
    ret->services = calloc(present->n_services + 1, sizeof(*ret->services));
    if (!ret->services)
        return -ENOMEM;
    memcpy(ret->services, present->services, present->n_services * sizeof(*ret->services));
    return 0;
}

int readdress(struct reload *reload, uint64_t now_ns, char reterr[static CHANGE_ERROR_MAX])
{
    char *difference = NULL;
    size_t n_bytes;
    FILE *stream = open_memstream(&difference, &n_bytes);
    struct conf after;
    int n = stream ? copy_conf(reload->conf, &after) : -ENOMEM;
    bool is_copied = stream && n == 0;

    if (is_copied)
        n = renew(reload, &after, stream);
    if (stream && fclose(stream) != 0)
        n = -ENOMEM;
    if (n < 0)
        fail(n, reterr);
    else if (n > 0)
        n = put_in_force(reload, &after, now_ns, reterr);
    if (n > 0)
        log_lines(difference);
    free(difference);
    if (is_copied) {
        drop_servers(reload->conf, &after);
        free(after.services);
    }
    return n;
}

bool readdress_release(struct reload *reload)
{
    struct service_table *table = &reload->runtime->services;
    bool keeps = false;

    for (size_t i = 0; i < reload->conf->n_services; i++) {
        struct service *service = reload->conf->services[i].written
                                      ? service_table_find(table, reload->conf->services[i].name)
                                      : NULL;

        if (service && service_release(service))
            keeps = true;
    }
    return keeps;
}

const struct conf_server *readdress_written(const struct conf_service *service, const char *name)
{
    for (size_t i = 0; i < service->n_servers; i++)
        if (service->servers[i].of > 0 && strcmp(service->servers[i].name, name) == 0)
            return &service->written[service->servers[i].of - 1];
    return NULL;
}
