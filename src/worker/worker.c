#include "lb4/worker/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"
#include "lb4/base/sock.h"

enum { WORKER_ACCEPTS_MAX = 64 }; /* of one listener in one event; chosen */

static const uint64_t RETRY_MAXCONN_NS = 5 * 1000000ull;     /* a place may come free in another
                                                                worker; chosen */
static const uint64_t RETRY_RESOURCES_NS = 100 * 1000000ull; /* descriptors, memory; chosen */
static const uint64_t PAUSE_LOG_NS = 10 * 1000000000ull;     /* a line about it at most so often */

/* --- building ------------------------------------------------------------------------------------
 */

static int listeners_init(struct worker *worker, struct listener_table *table)
{
    worker->listeners = calloc(table->n_tcp + 1, sizeof(*worker->listeners));
    if (!worker->listeners)
        return -ENOMEM;
    worker->n_listeners = table->n_tcp;
    for (size_t i = 0; i < table->n_tcp; i++) {
        struct worker_listener *listener = &worker->listeners[i];

        source_init(&listener->source, SOURCE_LISTENER,
                    listener_table_take(table, worker->index, i));
        list_init(&listener->paused);
        listener->service = table->listeners[i].service;
        listener->index = (uint32_t)i;
        listener->port = addr_port(&table->listeners[i].addr);
        listener->n_accepts = 1;
    }
    return 0;
}

static int listeners_add(struct worker *worker)
{
    for (size_t i = 0; i < worker->n_listeners; i++) {
        int error = loop_add(&worker->loop, &worker->listeners[i].source, LOOP_LEVEL);

        if (error)
            return error;
    }
    return 0;
}

static int udp_init(struct worker *worker, const struct worker_group_options *options)
{
    struct worker_group *group = worker->group;
    const struct udp_side_options udp = {
        .loop = &worker->loop,
        .stats = &group->stats[worker->index],
        .prober = options->prober,
        .capacity = &group->udp_sessions,
        .services = options->services,
        .worker = worker->index,
        .cap = (uint32_t)((options->udp_sessions + group->n_workers - 1) / group->n_workers)};

    return udp_side_init(&worker->udp, options->listeners, &udp);
}

static int worker_init(struct worker *worker, const struct worker_group_options *options)
{
    int error = loop_init(&worker->loop);

    if (!error)
        error = mailbox_init(&worker->mailbox);
    if (!error)
        error = listeners_init(worker, options->listeners);
    if (!error)
        error = udp_init(worker, options);
    if (error)
        return error;
    worker->relay.loop = &worker->loop;
    worker->relay.stats = &worker->group->stats[worker->index];
    worker->relay.capacity = &worker->group->capacity;
    worker->relay.prober = options->prober;
    error = tcp_relay_init(&worker->relay, options->services, &options->relay);
    if (error)
        return error;
    source_init(&worker->mailbox_source, SOURCE_MAILBOX, worker->mailbox.event_fd);
    error = loop_add(&worker->loop, &worker->mailbox_source, LOOP_LEVEL);
    return error ? error : listeners_add(worker);
}

static void worker_fini(struct worker *worker)
{
    for (size_t i = 0; i < worker->n_listeners; i++)
        loop_close(&worker->listeners[i].source);
    free(worker->listeners);
    udp_side_fini(&worker->udp);
    tcp_relay_fini(&worker->relay);
    mailbox_fini(&worker->mailbox);
    loop_fini(&worker->loop);
}

static int group_alloc(struct worker_group *group, size_t n_workers,
                       const struct worker_group_options *options)
{
    group->workers = aligned_alloc(64, n_workers * sizeof(*group->workers));
    group->stats = aligned_alloc(64, n_workers * sizeof(*group->stats));
    if (!group->workers || !group->stats)
        return -ENOMEM;
    memset(group->workers, 0, n_workers * sizeof(*group->workers));
    memset(group->stats, 0, n_workers * sizeof(*group->stats));
    group->n_workers = n_workers;
    for (size_t i = 0; i < n_workers; i++) {
        struct worker *worker = &group->workers[i];

        worker->group = group;
        worker->index = (uint32_t)i;
        list_init(&worker->paused);
        loop_clear(&worker->loop);
        worker->mailbox.event_fd = -1;
    }
    for (size_t i = 0; i < n_workers; i++) {
        int error = stats_block_init(&group->stats[i], options->services->n_services,
                                     options->services->n_backends);

        if (error)
            return error;
    }
    return 0;
}

int worker_group_init(struct worker_group *group, size_t n_workers,
                      const struct worker_group_options *options)
{
    int error;

    *group = (struct worker_group){.control = options->control};
    capacity_init(&group->capacity, options->maxconn);
    capacity_init(&group->udp_sessions, options->udp_sessions);
    error = group_alloc(group, n_workers, options);
    for (size_t i = 0; !error && i < n_workers; i++)
        error = worker_init(&group->workers[i], options);
    if (error)
        worker_group_fini(group);
    return error;
}

void worker_group_fini(struct worker_group *group)
{
    for (size_t i = 0; i < group->n_workers; i++) {
        worker_fini(&group->workers[i]);
        stats_block_fini(&group->stats[i]);
    }
    free(group->workers);
    free(group->stats);
    group->workers = NULL;
    group->stats = NULL;
    group->n_workers = 0;
}

/* --- accepting -----------------------------------------------------------------------------------
 */

static void log_pause(struct worker *worker, const char *why)
{
    uint64_t now_ns = worker->loop.now_ns;

    if (worker->pause_logged_ns && now_ns - worker->pause_logged_ns < PAUSE_LOG_NS)
        return;
    log_warn("accepting pauses, new clients wait in the kernel's queue: %s", why);
    worker->pause_logged_ns = now_ns;
}

/* Only the listener that has a client waiting leaves the loop: others, perhaps thousands, cost
 * nothing until they have one too. */
static void accept_pause(struct worker *worker, struct worker_listener *listener, uint64_t retry_ns)
{
    loop_remove(&worker->loop, &listener->source);
    list_remove(&listener->paused);
    list_append(&worker->paused, &listener->paused);
    worker->resume_ns = worker->loop.now_ns + retry_ns;
    worker->n_closed_then = stats_read(&worker->relay.stats->worker.closed);
    stats_add(&worker->relay.stats->worker.accept_pauses, 1);
}

static bool is_time_to_resume(const struct worker *worker)
{
    return worker->loop.now_ns >= worker->resume_ns ||
           stats_read(&worker->relay.stats->worker.closed) != worker->n_closed_then;
}

/* A connection that ended here may have made room; one that ended elsewhere, or a descriptor of
 * another kind, shows only when we try. */
static void accept_resume(struct worker *worker)
{
    struct list *link;

    if (list_is_empty(&worker->paused) || worker->is_draining || !is_time_to_resume(worker))
        return;
    while ((link = list_take_first(&worker->paused))) {
        struct worker_listener *listener = container_of(link, struct worker_listener, paused);

        if (loop_add(&worker->loop, &listener->source, LOOP_LEVEL)) {
            accept_pause(worker, listener, RETRY_RESOURCES_NS);
            return;
        }
    }
}

/* Connections of a worker, those on their way to it too. */
static uint64_t load_of(const struct worker *worker)
{
    const struct stats_worker *stats = &worker->group->stats[worker->index].worker;
    uint64_t closed = stats_read(&stats->closed);

    return stats_read(&stats->connections) - closed + mailbox_depth(&worker->mailbox);
}

/* The kernel spreads new connections evenly by hash, which for a few long ones is not even at all.
 * A worker that has clearly more than the least loaded one hands a fresh connection on; with few
 * connections one more counts, with many it takes a quarter. */
static struct worker *less_loaded(struct worker *worker)
{
    struct worker_group *group = worker->group;
    struct worker *least = worker;
    uint64_t mine = load_of(worker);
    uint64_t least_load = mine;

    for (size_t i = 0; i < group->n_workers; i++) {
        uint64_t load = load_of(&group->workers[i]);

        if (load < least_load) {
            least = &group->workers[i];
            least_load = load;
        }
    }
    return mine > least_load + least_load / 4 ? least : worker;
}

static void serve(struct worker *worker, const struct mailbox_handoff *accepted)
{
    const struct worker_listener *listener = &worker->listeners[accepted->listener];

    tcp_accept(&worker->relay, listener->service, accepted->fd, &accepted->peer, listener->port);
}

static void place(struct worker *worker, const struct mailbox_handoff *accepted)
{
    struct worker *target = worker->is_draining ? worker : less_loaded(worker);

    if (target != worker && mailbox_hand_over(&target->mailbox, accepted))
        stats_add(&worker->relay.stats->worker.handed_over, 1);
    else
        serve(worker, accepted);
}

/* Returns false when there is nothing more to accept now. */
static bool accept_one(struct worker *worker, struct worker_listener *listener)
{
    struct mailbox_handoff accepted = {.listener = listener->index};

    if (!capacity_acquire(&worker->group->capacity)) {
        log_pause(worker, "maxconn is reached");
        accept_pause(worker, listener, RETRY_MAXCONN_NS);
        return false;
    }
    accepted.fd = sock_accept(listener->source.fd, &accepted.peer);
    if (accepted.fd >= 0) {
        place(worker, &accepted);
        return true;
    }
    capacity_release(&worker->group->capacity);
    if (sock_accept_transient(-accepted.fd))
        return true;
    if (!sock_would_block(-accepted.fd)) {
        log_pause(worker, strerror(-accepted.fd));
        accept_pause(worker, listener, RETRY_RESOURCES_NS);
    }
    return false;
}

/* How many to accept in one event: one on a quiet listener, which saves the call that would only
 * say EAGAIN; twice as many each time the queue held them all. The listener is level-triggered, so
 * what stays in the queue brings the next event. */
static void on_listener(struct worker *worker, struct worker_listener *listener)
{
    uint16_t n = 0;

    while (n < listener->n_accepts && accept_one(worker, listener))
        n++;
    if (n < listener->n_accepts)
        listener->n_accepts = n ? n : 1;
    else if (n < WORKER_ACCEPTS_MAX)
        listener->n_accepts = (uint16_t)(n * 2);
}

/* --- requests ------------------------------------------------------------------------------------
 */

static void receive_all(struct worker *worker)
{
    struct mailbox_handoff accepted;

    while (mailbox_receive(&worker->mailbox, &accepted))
        serve(worker, &accepted);
}

/* Clients in the accept queue have been told by the kernel that they are connected: serve them as
 * far as maxconn allows, then close. The kernel resets who is left, and a handshake that completes
 * in between. */
static void start_draining(struct worker *worker)
{
    if (worker->is_draining)
        return;
    worker->is_draining = true;
    for (size_t i = 0; i < worker->n_listeners; i++) {
        struct worker_listener *listener = &worker->listeners[i];

        while (!worker->is_resetting && accept_one(worker, listener))
            ;
        list_remove(&listener->paused);
        loop_close(&listener->source);
    }
    udp_side_start_draining(&worker->udp);
    mailbox_mark_done(&worker->mailbox, MAILBOX_DRAIN);
}

static void on_mailbox(struct worker *worker)
{
    uint32_t requests = mailbox_take(&worker->mailbox);

    receive_all(worker);
    if (requests & MAILBOX_RESET)
        worker->is_resetting = true;
    if (requests & MAILBOX_DRAIN)
        start_draining(worker);
    if (requests & MAILBOX_EXIT)
        worker->is_exiting = true;
}

/* --- the loop ------------------------------------------------------------------------------------
 */

static void dispatch(struct worker *worker, const struct loop_event *event)
{
    struct source *source = event->source;

    switch (source->kind) {
    case SOURCE_CLIENT:
        tcp_on_client(&worker->relay, source, event->bits);
        break;
    case SOURCE_SERVER:
        tcp_on_server(&worker->relay, source, event->bits);
        break;
    case SOURCE_LISTENER:
        on_listener(worker, container_of(source, struct worker_listener, source));
        break;
    case SOURCE_UDP_LISTENER:
        udp_on_listener(&worker->udp.relay, container_of(source, struct udp_listener, source));
        break;
    case SOURCE_UDP_SERVER:
        udp_on_server(&worker->udp.relay, source, event->bits);
        break;
    case SOURCE_MAILBOX:
        on_mailbox(worker);
        break;
    case SOURCE_PROBE:
    case SOURCE_SIGNAL:
    case SOURCE_ADMIN_LISTENER:
    case SOURCE_ADMIN_CLIENT:
        abort(); /* the prober's and control's own */
    }
}

static int wait_ms(const struct worker *worker)
{
    uint64_t due_ns = tcp_next_due_ns(&worker->relay);
    uint64_t udp_due_ns = udp_side_next_due_ns(&worker->udp);

    if (udp_due_ns < due_ns)
        due_ns = udp_due_ns;
    if (!list_is_empty(&worker->paused) && worker->resume_ns < due_ns)
        due_ns = worker->resume_ns;
    return deadline_wait_ms(due_ns, clock_now_ns());
}

static bool all_are_draining(const struct worker_group *group)
{
    for (size_t i = 0; i < group->n_workers; i++) {
        if (!mailbox_is_done(&group->workers[i].mailbox, MAILBOX_DRAIN))
            return false;
    }
    return true;
}

/* Answers leave by the listening UDP sockets, and one that goes moves the flows of the others to
 * workers that do not know them (FAULTS.md K12). So all stay until no session of the group is left.
 * Who finds that out wakes the next worker to do the same. */
static void close_udp(struct worker *worker)
{
    struct worker_group *group = worker->group;

    if (!worker->is_draining || !udp_side_is_open(&worker->udp) || !all_are_draining(group) ||
        capacity_used(&group->udp_sessions) > 0)
        return;
    udp_side_close_listeners(&worker->udp);
    mailbox_post(&group->workers[(worker->index + 1) % group->n_workers].mailbox, MAILBOX_DRAIN);
}

static void end_turn(struct worker *worker)
{
    udp_side_end_turn(&worker->udp, worker->is_resetting);
    close_udp(worker);
    tcp_expire(&worker->relay);
    if (worker->is_resetting)
        tcp_reset_all(&worker->relay, CLOSE_DRAIN);
    tcp_reap(&worker->relay);
    accept_resume(worker);
    if (worker->is_draining && worker->relay.n_live == 0 && worker->udp.relay.n_live == 0)
        mailbox_post(worker->group->control, MAILBOX_PROGRESS);
}

void worker_run(struct worker *worker)
{
    while (!worker->is_exiting) {
        size_t n = loop_wait(&worker->loop, wait_ms(worker));

        for (size_t i = 0; i < n; i++) {
            const struct loop_event *event = &worker->loop.batch[i];

            if (!event->source->is_closed)
                dispatch(worker, event);
        }
        end_turn(worker);
    }
}

/* --- control's side ------------------------------------------------------------------------------
 */

void worker_group_post(struct worker_group *group, uint32_t requests)
{
    for (size_t i = 0; i < group->n_workers; i++)
        mailbox_post(&group->workers[i].mailbox, requests);
}

/* A connection on its way between two workers holds its place of maxconn all the time. */
bool worker_group_is_drained(const struct worker_group *group)
{
    return all_are_draining(group) && capacity_used(&group->capacity) == 0 &&
           capacity_used(&group->udp_sessions) == 0;
}
