#include "lb4/conf/listeners.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Clients of another interface are others. */
static int compare_place(const struct listen_entry *a, const struct listen_entry *b)
{
    int order = addr_compare_host(&a->host, &b->host);

    return order != 0 ? order : strcmp(a->interface, b->interface);
}

static int compare_entries(const void *left, const void *right)
{
    const struct listen_entry *a = left;
    const struct listen_entry *b = right;
    int order = compare_place(a, b);

    if (order != 0)
        return order;
    return a->first_port < b->first_port ? -1 : a->first_port > b->first_port;
}

static void add_entry(struct listeners *listeners, const struct conf_listen *listen, int family)
{
    struct listen_entry *entry = &listeners->entries[listeners->n_entries++];

    *entry = (struct listen_entry){
        .host = listen->addr,
        .first_port = addr_port(&listen->addr),
        .last_port = listen->last_port,
        .interface = listen->words.interface,
        .listen = listen,
    };
    if (listen->is_any)
        addr_any(family, 0, &entry->host);
    addr_set_port(&entry->host, 0);
}

static void add_service(struct listeners *listeners, const struct conf_service *service)
{
    for (size_t i = 0; i < service->n_listens; i++) {
        const struct conf_listen *listen = &service->listens[i];

        if (!(listen->transport & listeners->transport))
            continue;
        add_entry(listeners, listen, AF_INET);
        if (listen->is_any)
            add_entry(listeners, listen, AF_INET6);
    }
}

static bool is_before(const struct conf_place *a, const struct conf_place *b)
{
    return a->line < b->line || (a->line == b->line && a->column < b->column);
}

static void report_overlap(const struct listen_entry *a, const struct listen_entry *b,
                           struct conf_report *report)
{
    bool is_swapped = is_before(&b->listen->place, &a->listen->place);
    const struct listen_entry *first = is_swapped ? b : a;
    const struct listen_entry *second = is_swapped ? a : b;
    uint16_t from = a->first_port > b->first_port ? a->first_port : b->first_port;
    uint16_t to = a->last_port < b->last_port ? a->last_port : b->last_port;
    const struct conf_place *place = &first->listen->place;

    /* Two ":port" meet in both families; one message is enough. */
    if (a->listen->is_any && b->listen->is_any && a->host.sa.sa_family == AF_INET6)
        return;
    if (addr_is_unix(&a->host))
        conf_report_error(report, &second->listen->place,
                          "listen: this Unix socket is listened on already, at %s:%u:%u",
                          place->file, place->line, place->column);
    else if (from == to)
        conf_report_error(report, &second->listen->place,
                          "listen: port %u of this address is listened on already, at %s:%u:%u",
                          from, place->file, place->line, place->column);
    else
        conf_report_error(report, &second->listen->place,
                          "listen: ports %u-%u of this address are listened on already, at "
                          "%s:%u:%u",
                          from, to, place->file, place->line, place->column);
}

static bool met_on_tcp(const struct listen_entry *a, const struct listen_entry *b)
{
    return a->listen->transport & b->listen->transport & CONF_TCP;
}

/* Sorted by first port, so an overlap is always with the entry that reaches farthest so far. */
static void merge_overlaps(struct listeners *listeners, struct conf_report *report)
{
    struct listen_entry *last = listeners->entries;
    size_t n = listeners->n_entries;

    for (size_t i = 1; i < n; i++) {
        const struct listen_entry *next = &listeners->entries[i];

        if (compare_place(last, next) != 0 || next->first_port > last->last_port) {
            *++last = *next;
            continue;
        }
        if (listeners->transport == CONF_TCP || !met_on_tcp(last, next))
            report_overlap(last, next, report);
        if (next->last_port > last->last_port) {
            last->last_port = next->last_port;
            last->listen = next->listen; /* the line to name for what overlaps from here on */
        }
    }
    if (n > 0)
        listeners->n_entries = (size_t)(last - listeners->entries) + 1;
}

int listeners_init(struct listeners *listeners, const struct conf *conf,
                   enum conf_transport transport, struct conf_report *report)
{
    size_t n = 0;

    for (size_t i = 0; i < conf->n_services; i++)
        n += conf->services[i].n_listens;
    *listeners = (struct listeners){.transport = transport};
    listeners->entries = calloc(2 * n + 1, sizeof(*listeners->entries));
    if (!listeners->entries)
        return -ENOMEM;
    for (size_t i = 0; i < conf->n_services; i++)
        add_service(listeners, &conf->services[i]);
    qsort(listeners->entries, listeners->n_entries, sizeof(*listeners->entries), compare_entries);
    merge_overlaps(listeners, report);
    return 0;
}

void listeners_fini(struct listeners *listeners)
{
    free(listeners->entries);
    listeners->entries = NULL;
    listeners->n_entries = 0;
}

static const struct conf_listen *find_on(const struct listeners *listeners, const struct addr *host,
                                         const char *interface, uint16_t first_port,
                                         uint16_t last_port)
{
    const struct listen_entry wanted = {
        .host = *host, .first_port = last_port, .interface = interface};
    const struct listen_entry *found;
    size_t low = 0;
    size_t high = listeners->n_entries;

    /* The last entry that begins at or before last_port: no other can reach as far. */
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (compare_entries(&listeners->entries[middle], &wanted) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return NULL;
    found = &listeners->entries[low - 1];
    if (compare_place(found, &wanted) != 0 || found->last_port < first_port)
        return NULL;
    return found->listen;
}

const struct conf_listen *listeners_find(const struct listeners *listeners, const struct addr *host,
                                         uint16_t first_port, uint16_t last_port)
{
    const struct conf_listen *found = find_on(listeners, host, "", first_port, last_port);

    return found ? found : find_on(listeners, host, "lo", first_port, last_port);
}
