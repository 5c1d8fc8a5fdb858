#include "lb4/control/expand.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/base/number.h"
#include "lb4/conf/diff.h"
#include "lb4/conf/endpoint.h"
#include "lb4/conf/memory.h"
#include "lb4/conf/written.h"

enum { SERVER_NAME_ROOM = CONF_NAME_MAX + 32 };

void expand_init(struct expand *expand, const struct name_sets *sets, const struct conf *conf,
                 struct conf_report *report)
{
    *expand = (struct expand){.sets = sets, .conf = conf, .report = report};
    for (size_t i = 0; i < sets->n; i++)
        sets->sets[i]->problem[0] = '\0';
}

void expand_fini(struct expand *expand)
{
    conf_own_free(expand->own);
    expand->own = NULL;
}

/* One server of one service on its way. */
struct growth {
    struct expand *expand;
    const struct conf_service *service;
    const struct conf_service *present;
    struct conf_service *grown;
    const struct conf_server *server; /* as written */
    uint32_t number;                  /* of it, from 1 */
    size_t room;                      /* for servers that are names; the others have theirs */
    struct name_set *set;
    uint32_t names[RESOLVER_ADDRS_MAX]; /* the number of each address: 1 = NAME, 2 = NAME-2 ... */
    bool is_unfit[RESOLVER_ADDRS_MAX];  /* those cannot be servers */
};

/* --- what is left out ----------------------------------------------------------------------------
 */

/* Names that were used before must not fail: what a name server says today is not the file's. */
static bool is_strict(const struct growth *growth)
{
    return growth->expand->report && !growth->set->is_used;
}

static void tell(struct growth *growth, bool is_error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void tell(struct growth *growth, bool is_error, const char *format, ...)
{
    char text[NAME_PROBLEM_MAX - CONF_NAME_MAX];
    struct name_set *set = growth->set;
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (!set->problem[0])
        snprintf(set->problem, sizeof(set->problem), "%s", text);
    if (is_strict(growth) && is_error)
        conf_report_error(growth->expand->report, &growth->server->place, "server '%s': %s",
                          growth->server->name, text);
    else if (is_strict(growth))
        conf_report_warn(growth->expand->report, &growth->server->place, "server '%s': %s",
                         growth->server->name, text);
}

/* --- names of servers ----------------------------------------------------------------------------
 */

/* Which of the names that are made of `base` is it? 0 = none. */
static uint32_t number_of_name(const char *base, const char *name)
{
    size_t n = strlen(base);
    uint64_t number;

    if (strncmp(base, name, n) != 0)
        return 0;
    if (name[n] == '\0')
        return 1;
    if (name[n] != '-' || number_parse(name + n + 1, 2, UINT32_MAX, &number) < 0)
        return 0;
    return (uint32_t)number;
}

static void make_name(const struct growth *growth, uint32_t number,
                      char ret[static SERVER_NAME_ROOM])
{
    if (number == 1)
        snprintf(ret, SERVER_NAME_ROOM, "%s", growth->server->name);
    else
        snprintf(ret, SERVER_NAME_ROOM, "%s-%u", growth->server->name, number);
}

static bool is_written(const struct growth *growth, uint32_t number)
{
    char name[SERVER_NAME_ROOM];
    size_t n;
    const struct conf_server *written = conf_written(growth->service, &n);

    make_name(growth, number, name);
    for (size_t i = 0; number > 1 && i < n; i++)
        if (strcmp(written[i].name, name) == 0)
            return true;
    return false;
}

static bool is_taken(const struct growth *growth, uint32_t number)
{
    for (size_t k = 0; k < growth->set->good.n_addrs; k++)
        if (growth->names[k] == number)
            return true;
    return is_written(growth, number);
}

/* Without SRV records the port is the file's. */
static struct addr addr_at(const struct growth *growth, size_t k)
{
    struct addr addr = growth->set->good.addrs[k];

    if (!growth->server->is_srv)
        addr_set_port(&addr, addr_port(&growth->server->addr));
    return addr;
}

/* What an address is called now; 0 = it is not there. */
static uint32_t present_number(const struct growth *growth, const struct addr *addr)
{
    const struct conf_service *present = growth->present;

    for (size_t i = 0; present && i < present->n_servers; i++) {
        const struct conf_server *server = &present->servers[i];

        if (server->of > 0 && addr_equal(&server->addr, addr) &&
            strcmp(present->written[server->of - 1].name, growth->server->name) == 0)
            return number_of_name(growth->server->name, server->name);
    }
    return 0;
}

static void give_names(struct growth *growth)
{
    size_t n = growth->set->good.n_addrs;

    for (size_t k = 0; k < n; k++) {
        struct addr addr = addr_at(growth, k);
        uint32_t number = present_number(growth, &addr);

        if (number > 0 && !growth->is_unfit[k] && !is_taken(growth, number))
            growth->names[k] = number;
    }
    for (size_t k = 0; k < n; k++) {
        uint32_t number = 1;

        if (growth->names[k] != 0 || growth->is_unfit[k])
            continue;
        while (is_taken(growth, number))
            number++;
        growth->names[k] = number;
    }
}

/* --- servers -------------------------------------------------------------------------------------
 */

static uint32_t scale_weight(const struct resolver_name *good, size_t k)
{
    uint32_t most = 1;
    uint32_t weight = good->ranks[k].weight;

    for (size_t i = 0; i < good->n_addrs; i++)
        if (good->ranks[i].weight > most)
            most = good->ranks[i].weight;
    if (most > CONF_WEIGHT_MAX)
        weight = (weight * CONF_WEIGHT_MAX + most / 2) / most;
    return weight > 0 ? weight : 1;
}

/* Is it the first of its priority among those found? */
static bool is_first_of_priority(const struct resolver_name *good, size_t k)
{
    for (size_t i = 0; i < k; i++)
        if (good->ranks[i].priority == good->ranks[k].priority)
            return false;
    return true;
}

/* 16 bits of the record (RFC 2782), of which the order counts, into ours: the lowest is that of
 * the line, the next one comes after it. */
static uint32_t priority_of(const struct growth *growth, size_t k)
{
    const struct resolver_name *good = &growth->set->good;
    uint32_t priority = growth->server->priority;

    for (size_t i = 0; i < good->n_addrs; i++)
        priority +=
            good->ranks[i].priority < good->ranks[k].priority && is_first_of_priority(good, i);
    return priority < CONF_PRIORITY_MAX ? priority : CONF_PRIORITY_MAX;
}

static struct conf_server server_at(const struct growth *growth, size_t k)
{
    const struct resolver_name *good = &growth->set->good;
    struct conf_server made = *growth->server;

    made.host = NULL;
    made.is_srv = false;
    made.of = growth->number;
    made.addr = addr_at(growth, k);
    if (growth->server->is_srv) {
        made.weight = scale_weight(good, k);
        made.priority = made.is_backup ? made.priority : priority_of(growth, k);
    }
    return made;
}

static bool is_own(struct growth *growth, const struct conf_server *made)
{
    struct expand *expand = growth->expand;

    if (!expand->own)
        expand->own = conf_own_new(expand->conf);
    return !expand->own || conf_own_has(expand->own, growth->service, made);
}

static bool judge_addr(struct growth *growth, const struct conf_server *made)
{
    const char *reason;
    char text[ADDR_TEXT_MAX];
    int n;

    addr_format(&made->addr, text);
    n = (int)(strrchr(text, ':') - text);
    if (!endpoint_can_connect(&made->addr, &reason)) {
        tell(growth, true, "%s is %.*s: %s", growth->server->host, n, text, reason);
        return false;
    }
    if (is_strict(growth) || !is_own(growth, made)) /* else conf_check() tells, with the place */
        return true;
    tell(growth, true, "%s is %.*s: our own listener, connections would go round in a circle",
         growth->server->host, n, text);
    return false;
}

static bool judge_name(struct growth *growth, const char *name)
{
    if (strlen(name) > CONF_NAME_MAX)
        tell(growth, false,
             "%s has several addresses, and the name '%.80s' is longer than %d bytes: it is left "
             "out",
             growth->server->host, name, CONF_NAME_MAX);
    else if (growth->grown->n_servers >= growth->room)
        tell(growth, false,
             "with all addresses of %s the service has more than %d servers: some are left out",
             growth->server->host, CONF_SERVERS_MAX);
    else
        return true;
    return false;
}

static int append(struct conf_service *grown, const struct conf_server *server)
{
    struct conf_server *added = conf_add_server(grown);

    if (!added)
        return -ENOMEM;
    *added = *server;
    return 0;
}

static int add_addr(struct growth *growth, size_t k)
{
    struct conf_server made = server_at(growth, k);
    char name[SERVER_NAME_ROOM];

    make_name(growth, growth->names[k], name);
    if (growth->is_unfit[k] || !judge_name(growth, name))
        return 0;
    memcpy(made.name, name, strlen(name) + 1);
    return append(growth->grown, &made);
}

static int add_name(struct growth *growth)
{
    const struct resolver_name *good = &growth->set->good;
    int error = 0;

    if (good->is_cut)
        tell(growth, false, "%s has more than %d addresses, the lowest are used",
             growth->server->host, RESOLVER_ADDRS_MAX);
    for (size_t k = 0; k < good->n_addrs; k++) {
        struct conf_server made = server_at(growth, k);

        growth->is_unfit[k] = !judge_addr(growth, &made);
    }
    give_names(growth);
    for (size_t k = 0; !error && k < good->n_addrs; k++)
        error = add_addr(growth, k);
    return error;
}

static size_t count_plain(const struct conf_server *written, size_t n)
{
    size_t n_plain = 0;

    for (size_t i = 0; i < n; i++)
        n_plain += !written[i].host;
    return n_plain;
}

int expand_service(struct expand *expand, const struct conf_service *service,
                   const struct conf_service *present, struct conf_service *ret)
{
    size_t n;
    const struct conf_server *written = conf_written(service, &n);
    size_t n_plain = count_plain(written, n);
    int error = 0;

    *ret = (struct conf_service){0};
    for (size_t i = 0; !error && i < n; i++) {
        struct growth growth = {.expand = expand,
                                .service = service,
                                .present = present,
                                .grown = ret,
                                .server = &written[i],
                                .number = (uint32_t)i + 1,
                                .room = CONF_SERVERS_MAX - n_plain};

        if (!written[i].host) {
            error = append(ret, &written[i]);
            n_plain--;
            continue;
        }
        growth.set = name_sets_find(expand->sets, written[i].host, written[i].is_srv);
        if (growth.set)
            error = add_name(&growth);
    }
    if (error)
        conf_free_servers(ret);
    return error;
}

/* --- a whole configuration ---------------------------------------------------------------------
 */

static void install(struct conf_service *service, struct conf_service *grown)
{
    if (service->written) {
        conf_free_servers(service);
    } else {
        service->written = service->servers;
        service->n_written = service->n_servers;
    }
    service->servers = grown->servers;
    service->n_servers = grown->n_servers;
}

static int grow_all(struct expand *expand, const struct conf *present, struct conf_service *grown)
{
    const struct conf *conf = expand->conf;
    int error = 0;

    for (size_t i = 0; !error && i < conf->n_services; i++) {
        const struct conf_service *service = &conf->services[i];

        if (conf_has_names(service))
            error = expand_service(expand, service,
                                   present ? conf_find_service(present, service->name) : NULL,
                                   &grown[i]);
    }
    if (!error && expand->report && expand->report->n_errors > 0)
        error = -EINVAL;
    return error;
}

int expand_conf(struct conf *conf, const struct conf *present, const struct name_sets *sets,
                struct conf_report *report)
{
    struct conf_service *grown = calloc(conf->n_services + 1, sizeof(*grown));
    struct expand expand;
    int error;

    if (!grown)
        return -ENOMEM;
    expand_init(&expand, sets, conf, report);
    error = grow_all(&expand, present, grown);
    expand_fini(&expand);
    for (size_t i = 0; i < conf->n_services; i++) {
        if (error)
            conf_free_servers(&grown[i]);
        else if (conf_has_names(&conf->services[i]))
            install(&conf->services[i], &grown[i]);
    }
    free(grown);
    return error;
}
