#include "lb4/worker/listener_change.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/base/prefix_map.h"
#include "lb4/worker/listener_parts.h"
#include "lb4/worker/listener_unix.h"

/* A listener of the table or of the list of what is wanted, to find one by the other. */
struct entry {
    const struct listener *listener;
    bool is_found;
};

static int compare_listeners(const struct listener *a, const struct listener *b)
{
    if (a->transport != b->transport)
        return a->transport < b->transport ? -1 : 1;
    if (a->is_dual_stack != b->is_dual_stack)
        return a->is_dual_stack ? 1 : -1;
    if (strcmp(a->words.interface, b->words.interface) != 0)
        return strcmp(a->words.interface, b->words.interface);
    if (a->words.mark != b->words.mark)
        return a->words.mark < b->words.mark ? -1 : 1;
    return addr_compare(&a->addr, &b->addr);
}

/* What a socket that listens can follow. */
static bool is_tuned_alike(const struct listener *a, const struct listener *b)
{
    return a->words.fastopen == b->words.fastopen && a->words.defer_s == b->words.defer_s;
}

static int compare_entries(const void *left, const void *right)
{
    const struct entry *a = left;
    const struct entry *b = right;

    return compare_listeners(a->listener, b->listener);
}

/* What is wanted, sorted. */
struct wanted {
    struct listener *list; /* as in the configuration */
    struct entry *entries;
    size_t n;
};

static int wanted_init(struct wanted *wanted, const struct conf *conf,
                       struct service *const *services)
{
    wanted->list = listener_list(conf, services, &wanted->n);
    wanted->entries = calloc(wanted->n + 1, sizeof(*wanted->entries));
    if (!wanted->list || !wanted->entries)
        return -ENOMEM;
    for (size_t i = 0; i < wanted->n; i++)
        wanted->entries[i].listener = &wanted->list[i];
    qsort(wanted->entries, wanted->n, sizeof(*wanted->entries), compare_entries);
    return 0;
}

static void wanted_fini(struct wanted *wanted)
{
    free(wanted->list);
    free(wanted->entries);
}

static struct entry *wanted_find(const struct wanted *wanted, const struct listener *listener)
{
    const struct entry key = {.listener = listener};

    return bsearch(&key, wanted->entries, wanted->n, sizeof(key), compare_entries);
}

/* `wanted`: how it is to be from now on; NULL: not at all. */
static void add_step(struct listener_change *change, enum listener_verb verb, size_t listener,
                     const struct listener *wanted)
{
    struct listener_step *step = &change->steps[change->n_steps++];

    *step = (struct listener_step){.verb = verb, .listener = (uint32_t)listener};
    if (!wanted)
        return;
    step->service = wanted->service;
    step->accept_proxy = prefix_map_hold(wanted->accept_proxy);
    step->fastopen = wanted->words.fastopen;
    step->defer_s = wanted->words.defer_s;
    step->mode = wanted->words.mode;
}

static void release_steps(struct listener_change *change)
{
    for (size_t i = 0; i < change->n_steps; i++) {
        prefix_map_release(change->steps[i].accept_proxy);
        prefix_map_release(change->steps[i].former);
    }
    free(change->steps);
    *change = (struct listener_change){0};
}

static bool is_moved(const struct listener *before, const struct listener *after)
{
    return before->service != after->service || before->accept_proxy != after->accept_proxy ||
           !is_tuned_alike(before, after) || before->words.mode != after->words.mode;
}

static void add_move(struct listener_change *change, size_t i, const struct listener *wanted)
{
    bool is_alike = is_tuned_alike(&change->table->listeners[i], wanted);

    add_step(change, LISTENER_STEP_MOVE, i, wanted);
    change->steps[change->n_steps - 1].is_to_tune = !is_alike;
}

/* One that nobody can reach any more is bound anew. */
static struct entry *find_heard(const struct wanted *wanted, const struct listener *listener)
{
    struct entry *entry = wanted_find(wanted, listener);

    return entry && (listener_is_cut_off(listener) || listener_unix_is_lost(listener)) ? NULL
                                                                                       : entry;
}

/* What becomes of those that are there. */
static void compare_with(struct listener_change *change, const struct wanted *wanted)
{
    for (size_t i = 0; i < change->table->n_listeners; i++) {
        const struct listener *listener = &change->table->listeners[i];
        struct entry *entry;

        if (listener->state == LISTENER_NONE)
            continue;
        entry = find_heard(wanted, listener);
        if (entry)
            entry->is_found = true;
        if (!entry && listener->state == LISTENER_OPEN)
            add_step(change, LISTENER_STEP_LEAVE, i, NULL);
        else if (entry && listener->state == LISTENER_LEAVING)
            add_step(change, LISTENER_STEP_STAY, i, entry->listener);
        else if (entry && is_moved(listener, entry->listener))
            add_move(change, i, entry->listener);
    }
}

/* Ports that listeners of the table have. */
static void mark_ours(const struct listener_table *table, enum conf_transport transport,
                      bool is_ours[static UINT16_MAX + 1])
{
    memset(is_ours, 0, UINT16_MAX + 1);
    for (size_t i = 0; i < table->n_listeners; i++) {
        const struct listener *listener = &table->listeners[i];

        if (listener->state != LISTENER_NONE && listener->transport == transport)
            is_ours[addr_port(&listener->addr)] = true;
    }
}

/* Keep those that are not there yet, in their order. */
static void keep_missing(struct wanted *wanted, const struct listener_table *table)
{
    static bool is_ours[2][UINT16_MAX + 1];
    size_t n = 0;

    mark_ours(table, CONF_TCP, is_ours[0]);
    mark_ours(table, CONF_UDP, is_ours[1]);
    for (size_t i = 0; i < wanted->n; i++) {
        struct listener *listener = &wanted->list[i];

        if (wanted_find(wanted, listener)->is_found)
            listener->state = LISTENER_LEAVING; /* marked only; the list is ours */
    }
    for (size_t i = 0; i < wanted->n; i++) {
        struct listener *listener = &wanted->list[i];

        if (listener->state == LISTENER_LEAVING)
            continue;
        listener->meets_ours = !addr_is_unix(&listener->addr) &&
                               is_ours[listener->transport == CONF_UDP][addr_port(&listener->addr)];
        wanted->list[n++] = *listener;
    }
    wanted->n = n;
}

static int bind_missing(struct listener_change *change, const struct wanted *missing,
                        char reterr[static LISTENER_ERROR_MAX])
{
    int error = listener_probe_all(missing->list, missing->n, reterr);

    for (size_t i = 0; !error && i < missing->n; i++) {
        long index = listener_table_bind(change->table, &missing->list[i], reterr);

        if (index < 0)
            return (int)index;
        add_step(change, LISTENER_STEP_OPEN, (size_t)index, &missing->list[i]);
        listener_table_discard(change->table, (size_t)index);
    }
    return error;
}

/* As long as the old socket is there, the kernel may bring it what is meant for the new one. */
static bool inherits(const struct listener *listener, const struct listener *old)
{
    return listener->state == LISTENER_OPEN && listener->transport == CONF_UDP &&
           addr_port(&listener->addr) == addr_port(&old->addr) &&
           (addr_is_wildcard(&listener->addr) || addr_equal(&listener->addr, &old->addr)) &&
           (listener->words.interface[0] == '\0' ||
            strcmp(listener->words.interface, old->words.interface) == 0);
}

static bool leaves(const struct listener_change *change, size_t listener)
{
    for (size_t i = 0; i < change->n_steps; i++)
        if (change->steps[i].verb == LISTENER_STEP_LEAVE && change->steps[i].listener == listener)
            return true;
    return false;
}

/* The listeners of UDP by their ports. */
struct ports {
    uint32_t first[UINT16_MAX + 1]; /* one of the table, counted from 1; 0 = none */
    uint32_t *next;                 /* the same, of each of the table */
};

static int ports_init(struct ports *ports, const struct listener_table *table)
{
    memset(ports->first, 0, sizeof(ports->first));
    ports->next = calloc(table->n_listeners + 1, sizeof(*ports->next));
    for (size_t i = 0; ports->next && i < table->n_listeners; i++) {
        uint32_t *first = &ports->first[addr_port(&table->listeners[i].addr)];

        if (table->listeners[i].transport != CONF_UDP)
            continue;
        ports->next[i] = *first;
        *first = (uint32_t)i + 1;
    }
    return ports->next ? 0 : -ENOMEM;
}

static void find_heir(const struct listener_change *change, const struct ports *ports,
                      struct listener_step *step)
{
    const struct listener *listeners = change->table->listeners;
    const struct listener *old = &listeners[step->listener];
    uint32_t at = ports->first[addr_port(&old->addr)];

    for (; at > 0 && !step->has_heir; at = ports->next[at - 1]) {
        step->heir = at - 1;
        step->has_heir = inherits(&listeners[at - 1], old) && !leaves(change, at - 1);
    }
}

static int find_heirs(struct listener_change *change)
{
    static struct ports ports;
    int error = ports_init(&ports, change->table);

    for (size_t i = 0; !error && i < change->n_steps; i++) {
        struct listener_step *step = &change->steps[i];

        if (step->verb == LISTENER_STEP_LEAVE &&
            change->table->listeners[step->listener].transport == CONF_UDP)
            find_heir(change, &ports, step);
    }
    free(ports.next);
    return error;
}

static int prepare(struct listener_change *change, struct wanted *wanted,
                   char reterr[static LISTENER_ERROR_MAX])
{
    int error;

    change->steps = calloc(change->table->n_listeners + wanted->n + 1, sizeof(*change->steps));
    if (!change->steps)
        return -ENOMEM;
    compare_with(change, wanted);
    keep_missing(wanted, change->table);
    error = bind_missing(change, wanted, reterr);
    return error ? error : find_heirs(change);
}

static long diff_unix(const struct listener_table *table, FILE *stream)
{
    long n = 0;

    for (size_t i = 0; i < table->n_listeners; i++) {
        const struct listener *listener = &table->listeners[i];
        char text[ADDR_TEXT_MAX];

        if (listener->state != LISTENER_OPEN || !listener_unix_is_lost(listener))
            continue;
        fprintf(stream, "~ listener %s of %s: its file has gone, it is bound anew\n",
                addr_format(&listener->addr, text), listener->service->name);
        n++;
    }
    return n;
}

/* Of a range one line. */
static long diff_interfaces(const struct listener_table *table, FILE *stream)
{
    const struct listener *last = NULL;
    long n = 0;

    for (size_t i = 0; i < table->n_listeners; i++) {
        const struct listener *listener = &table->listeners[i];

        if (listener->state != LISTENER_OPEN || !listener_is_cut_off(listener) ||
            (last && last->service == listener->service &&
             strcmp(last->words.interface, listener->words.interface) == 0))
            continue;
        last = listener;
        fprintf(stream, "~ interface %s of %s: made anew, its listeners are bound anew\n",
                listener->words.interface, listener->service->name);
        n++;
    }
    return n;
}

long listener_change_diff(const struct listener_table *table, FILE *stream)
{
    return diff_interfaces(table, stream) + diff_unix(table, stream);
}

int listener_change_prepare(struct listener_change *change, struct listener_table *table,
                            const struct conf *conf, struct service *const *services,
                            char reterr[static LISTENER_ERROR_MAX])
{
    struct wanted wanted = {0};
    int error;

    *change = (struct listener_change){.table = table};
    snprintf(reterr, LISTENER_ERROR_MAX, "no memory for the listeners");
    error = wanted_init(&wanted, conf, services);
    if (!error)
        error = prepare(change, &wanted, reterr);
    wanted_fini(&wanted);
    if (error)
        listener_change_abort(change);
    return error;
}

int listener_change_close(struct listener_change *change, struct listener_table *table,
                          uint64_t now_ns)
{
    *change = (struct listener_change){.table = table};
    change->steps = calloc(table->n_listeners + 1, sizeof(*change->steps));
    if (!change->steps)
        return -ENOMEM;
    for (size_t i = 0; i < table->n_listeners; i++) {
        const struct listener *listener = &table->listeners[i];

        if (listener->state == LISTENER_LEAVING && listener->leave_by_ns <= now_ns)
            add_step(change, LISTENER_STEP_CLOSE, i, NULL);
    }
    return 0;
}

static void commit_step(struct listener *listener, struct listener_step *step)
{
    listener->service = step->service;
    listener->state = LISTENER_OPEN;
    listener->words.fastopen = step->fastopen;
    listener->words.defer_s = step->defer_s;
    listener_unix_set_mode(listener, step->mode);
    step->former = listener->accept_proxy;
    listener->accept_proxy = prefix_map_hold(step->accept_proxy);
}

void listener_change_commit(struct listener_change *change, uint64_t leave_by_ns)
{
    for (size_t i = 0; i < change->n_steps; i++) {
        struct listener_step *step = &change->steps[i];
        struct listener *listener = &change->table->listeners[step->listener];

        switch (step->verb) {
        case LISTENER_STEP_OPEN:
        case LISTENER_STEP_MOVE:
        case LISTENER_STEP_STAY:
            commit_step(listener, step);
            break;
        case LISTENER_STEP_LEAVE:
            listener->state = LISTENER_LEAVING;
            listener->leave_by_ns = leave_by_ns;
            break;
        case LISTENER_STEP_CLOSE:
            break;
        }
    }
}

static bool is_closed_by(const struct listener_change *change, const struct listener_step *step)
{
    return step->verb == LISTENER_STEP_CLOSE ||
           (step->verb == LISTENER_STEP_LEAVE &&
            change->table->listeners[step->listener].transport == CONF_TCP);
}

void listener_change_end(struct listener_change *change)
{
    for (size_t i = 0; i < change->n_steps; i++)
        if (is_closed_by(change, &change->steps[i]))
            listener_table_free(change->table, change->steps[i].listener);
    release_steps(change);
}

void listener_change_abort(struct listener_change *change)
{
    for (size_t i = 0; i < change->n_steps; i++)
        if (change->steps[i].verb == LISTENER_STEP_OPEN)
            listener_table_free(change->table, change->steps[i].listener);
    release_steps(change);
}

uint64_t listener_table_due_ns(const struct listener_table *table)
{
    uint64_t due_ns = UINT64_MAX;

    for (size_t i = 0; i < table->n_listeners; i++) {
        const struct listener *listener = &table->listeners[i];

        if (listener->state == LISTENER_LEAVING && listener->transport == CONF_UDP &&
            listener->leave_by_ns < due_ns)
            due_ns = listener->leave_by_ns;
    }
    return due_ns;
}
