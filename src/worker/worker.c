#include "lb4/worker/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"
#include "lb4/relay/greeting.h"
#include "lb4/relay/relaying.h"
#include "lb4/relay/resume.h"
#include "lb4/shared/reserve.h"
#include "lb4/worker/accept.h"

/* --- building ------------------------------------------------------------------------------------
 */

static int listeners_init(struct worker *worker)
{
    struct listener_table *table = worker->group->listeners;

    worker->listeners = reserve_memory(LISTENER_TABLE_MAX, sizeof(*worker->listeners));
    if (!worker->listeners)
        return -ENOMEM;
    for (size_t i = 0; i < table->n_listeners; i++)
        if (table->listeners[i].transport == CONF_TCP)
            accept_open(worker, i);
    return 0;
}

static int listeners_add(struct worker *worker)
{
    for (size_t i = 0; i < worker->n_listeners; i++) {
        struct source *source = &worker->listeners[i].source;
        int error =
            accept_is_open(&worker->listeners[i]) ? loop_add(&worker->loop, source, LOOP_LEVEL) : 0;

        if (error)
            return error;
    }
    return 0;
}

/* Where one worker owns a listener its part may be all. */
static struct udp_side_options udp_options(struct worker *worker)
{
    struct worker_group *group = worker->group;
    bool is_spread = listener_table_spreads_udp(group->listeners);

    return (struct udp_side_options){.loop = &worker->loop,
                                     .access = &worker->relay.access,
                                     .refuse = &worker->relay.refuse,
                                     .stats = &group->stats[worker->index],
                                     .prober = group->prober,
                                     .room = &group->udp_room,
                                     .services = group->services,
                                     .worker = worker->index,
                                     .n_workers = is_spread ? (uint32_t)group->n_workers : 1};
}

static int udp_init(struct worker *worker)
{
    const struct udp_side_options options = udp_options(worker);

    return udp_side_init(&worker->udp, worker->group->listeners, &options);
}

static int worker_init(struct worker *worker, const struct worker_group_options *options)
{
    int error = loop_init(&worker->loop);

    if (!error)
        error = mailbox_init(&worker->mailbox);
    if (!error)
        error = listeners_init(worker);
    if (!error)
        error = udp_init(worker);
    if (error)
        return error;
    worker->relay.loop = &worker->loop;
    worker->relay.stats = &worker->group->stats[worker->index];
    worker->relay.capacity = &worker->group->capacity;
    worker->relay.headers = &worker->group->headers;
    worker->relay.prober = options->prober;
    error = tcp_relay_init(&worker->relay, options->services, &options->relay);
    if (error)
        return error;
    waiting_crew_join(options->services->crew, &worker->mailbox, worker->relay.parking.marks);
    source_init(&worker->mailbox_source, SOURCE_MAILBOX, worker->mailbox.event_fd);
    error = loop_add(&worker->loop, &worker->mailbox_source, LOOP_LEVEL);
    return error ? error : listeners_add(worker);
}

static void worker_fini(struct worker *worker)
{
    for (size_t i = 0; i < worker->n_listeners; i++)
        if (accept_is_open(&worker->listeners[i]))
            loop_close(&worker->listeners[i].source);
    reserve_release(worker->listeners, LISTENER_TABLE_MAX, sizeof(*worker->listeners));
    udp_side_fini(&worker->udp);
    tcp_relay_fini(&worker->relay);
    mailbox_fini(&worker->mailbox);
    loop_fini(&worker->loop);
}

static int group_alloc(struct worker_group *group, size_t n_workers)
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
        int error = stats_block_init(&group->stats[i], SERVICE_TABLE_MAX, SERVICE_STATS_MAX);

        if (error)
            return error;
    }
    return 0;
}

int worker_group_init(struct worker_group *group, size_t n_workers,
                      const struct worker_group_options *options)
{
    int error;

    *group = (struct worker_group){.control = options->control,
                                   .prober = options->prober,
                                   .services = options->services,
                                   .listeners = options->listeners};
    capacity_init(&group->capacity, options->maxconn);
    capacity_init(&group->headers, greeting_places(options->maxconn));
    udp_room_init(&group->udp_room, options->udp_sessions);
    options->services->crew->n = 0;
    error = group_alloc(group, n_workers);
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

/* --- requests ------------------------------------------------------------------------------------
 */

static void start_draining(struct worker *worker)
{
    if (worker->is_draining)
        return;
    worker->is_draining = true;
    resume_start_draining(&worker->relay);
    for (size_t i = 0; i < worker->n_listeners; i++)
        accept_close(worker, &worker->listeners[i]);
    udp_side_start_draining(&worker->udp);
    mailbox_mark_done(&worker->mailbox, MAILBOX_DRAIN);
}

static void take_step(struct worker *worker, const struct listener_step *step)
{
    struct listener_table *table = worker->group->listeners;

    if (table->listeners[step->listener].transport == CONF_TCP)
        accept_take_step(worker, step);
    else if (udp_side_take_step(&worker->udp, table, worker->index, step))
        log_error("a UDP listener of service %s has no memory in epoll and hears nothing here",
                  step->service->name);
}

/* While draining, listeners are closed already, and no new ones are wanted. */
void worker_take_change(struct worker *worker)
{
    const struct worker_change *change = worker->group->change;

    worker->n_changes++;
    for (size_t i = 0; i < change->n_services; i++) {
        int error = tcp_relay_adopt(&worker->relay, change->services[i]);

        if (!error && worker->udp.listeners)
            error = udp_relay_adopt(&worker->udp.relay, change->services[i]);
        if (error)
            log_warn("no memory for the timeouts of service %s: the old ones go on",
                     change->services[i]->name);
    }
    if (worker->udp.listeners)
        udp_relay_limit_hosts(&worker->udp.relay);
    for (size_t i = 0; i < change->n_steps && !worker->is_draining; i++)
        take_step(worker, &change->steps[i]);
}

static void take_sweep(struct worker *worker)
{
    const struct worker_sweep *sweep = worker->group->sweep;
    const struct sweep_relays relays = {.tcp = &worker->relay,
                                        .udp = worker->udp.n_places ? &worker->udp.relay : NULL};
    size_t n_ended = 0;

    if (sweep->lists && sweep->lists[worker->index].at != SWEEP_END)
        sweep_list(&relays, &sweep->lists[worker->index]);
    if (sweep->kills && sweep->kills[worker->index].at != SWEEP_END)
        sweep_kill(&relays, &sweep->kills[worker->index]);
    for (size_t i = 0; i < sweep->n_excess; i++)
        n_ended += sweep_shed(&relays, &sweep->excess[i]);
    sweep->n_ended[worker->index] = n_ended;
}

static void on_mailbox(struct worker *worker)
{
    uint32_t requests = mailbox_take(&worker->mailbox);

    accept_receive(worker);
    if (requests & MAILBOX_PING)
        mailbox_pong(&worker->mailbox);
    if (requests & MAILBOX_CHANGE && worker->n_changes != worker->group->n_changes)
        worker_take_change(worker);
    if (requests & MAILBOX_SWEEP)
        take_sweep(worker);
    if (requests & MAILBOX_WAITING)
        resume_woken(&worker->relay);
    if (requests & MAILBOX_RESET)
        worker->is_resetting = true;
    if (requests & MAILBOX_UDP_ROOM)
        udp_side_give_room(&worker->udp);
    if (requests & MAILBOX_DRAIN)
        start_draining(worker);
    if (requests & MAILBOX_EXIT)
        worker->is_exiting = true;
}

/* --- the loop ------------------------------------------------------------------------------------
 */

static bool is_relayed(const struct source *source)
{
    return source->kind == SOURCE_CLIENT || source->kind == SOURCE_SERVER;
}

/* What is not a relayed byte may take its time, and a request may end any connection: what has been
 * put off leaves before. */
static void dispatch(struct worker *worker, const struct loop_event *event)
{
    struct source *source = event->source;

    if (!is_relayed(source))
        relaying_deliver(&worker->relay);
    switch (source->kind) {
    case SOURCE_CLIENT:
        tcp_on_client(&worker->relay, source, event->bits);
        break;
    case SOURCE_SERVER:
        tcp_on_server(&worker->relay, source, event->bits);
        break;
    case SOURCE_LISTENER:
        accept_on_listener(worker, container_of(source, struct worker_listener, source));
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
    case SOURCE_PROGRAMS:
    case SOURCE_SIGNAL:
    case SOURCE_ADMIN_LISTENER:
    case SOURCE_ADMIN_CLIENT:
    case SOURCE_HTTP_LISTENER:
    case SOURCE_HTTP_CLIENT:
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
    return scheduling_wait_ms(&worker->scheduling, deadline_wait_ms(due_ns, clock_now_ns()));
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
        udp_room_used(&group->udp_room) > 0)
        return;
    udp_side_close_listeners(&worker->udp);
    mailbox_post(&group->workers[(worker->index + 1) % group->n_workers].mailbox, MAILBOX_DRAIN);
}

/* It had no room for a client, and little or nothing of its own to end: the others may have. */
static void ask_for_udp_room(struct worker *worker)
{
    struct worker_group *group = worker->group;

    if (!udp_side_ask_for_room(&worker->udp))
        return;
    for (size_t i = 0; i < group->n_workers; i++)
        if (i != worker->index)
            mailbox_post(&group->workers[i].mailbox, MAILBOX_UDP_ROOM);
}

static void tell_pipes(struct worker *worker)
{
    struct stats_worker *stats = &worker->group->stats[worker->index].worker;

    stats_set(&stats->pipes_idle, worker->relay.flow.pipes.n_idle);
    stats_set(&stats->pipes_lent, worker->relay.flow.pipes.n_lent);
}

/* Each worker has a ring of its own, and loses it once. */
static void tell_lost_ring(struct outbox *outbox)
{
    log_info("io_uring: %s: small sends leave one by one from now on", strerror(-outbox->loss));
    outbox->loss = 0;
}

static void end_turn(struct worker *worker)
{
    udp_side_end_turn(&worker->udp, worker->is_resetting);
    ask_for_udp_room(worker);
    close_udp(worker);
    tcp_expire(&worker->relay);
    if (worker->is_resetting)
        tcp_reset_all(&worker->relay, CLOSE_DRAIN);
    tcp_reap(&worker->relay);
    accept_resume(worker);
    tell_pipes(worker);
    if (worker->relay.flow.outbox.loss)
        tell_lost_ring(&worker->relay.flow.outbox);
    if (worker->is_draining && worker->relay.n_live == 0 && udp_side_live(&worker->udp) == 0)
        mailbox_post(worker->group->control, MAILBOX_PROGRESS);
    if (mailbox_answer(&worker->mailbox))
        mailbox_post(worker->group->control, MAILBOX_PROGRESS);
}

static uint64_t spliced(const struct worker *worker)
{
    return stats_read(&worker->group->stats[worker->index].worker.relayed_splice);
}

void worker_run(struct worker *worker)
{
    tell_pipes(worker);
    binding_start(&worker->binding, worker->group->cpus);
    if (worker->group->tunes_scheduling)
        scheduling_start(&worker->scheduling);
    while (!worker->is_exiting) {
        size_t n = loop_wait(&worker->loop, wait_ms(worker));

        tcp_begin_batch(&worker->relay, n);
        for (size_t i = 0; i < n; i++) {
            const struct loop_event *event = &worker->loop.batch[i];

            if (!event->source->is_closed)
                dispatch(worker, event);
        }
        tcp_end_batch(&worker->relay);
        end_turn(worker);
        scheduling_turn(&worker->scheduling, worker->loop.now_ns, n > 0);
        binding_turn(&worker->binding, worker->loop.now_ns, spliced(worker));
    }
}

/* --- control's side ------------------------------------------------------------------------------
 */

int worker_group_prepare_udp(struct worker_group *group, uint32_t n_sessions)
{
    if (udp_room_limit(&group->udp_room) == 0)
        udp_room_set_limit(&group->udp_room, n_sessions);
    for (size_t i = 0; i < group->n_workers; i++) {
        const struct udp_side_options options = udp_options(&group->workers[i]);
        int error = udp_side_prepare(&group->workers[i].udp, &options);

        if (error)
            return error;
    }
    return 0;
}

void worker_group_set_maxconn(struct worker_group *group, uint32_t maxconn)
{
    capacity_set_limit(&group->capacity, maxconn);
    capacity_set_limit(&group->headers, greeting_places(maxconn));
}

void worker_group_change(struct worker_group *group, const struct worker_change *change)
{
    group->change = change;
    group->n_changes++;
    worker_group_post(group, MAILBOX_CHANGE);
}

void worker_group_sweep(struct worker_group *group, const struct worker_sweep *sweep)
{
    group->sweep = sweep;
    worker_group_post(group, MAILBOX_SWEEP);
}

void worker_group_ask(struct worker_group *group, uint64_t number)
{
    for (size_t i = 0; i < group->n_workers; i++)
        mailbox_ask(&group->workers[i].mailbox, number);
}

bool worker_group_has_answered(const struct worker_group *group, uint64_t number)
{
    for (size_t i = 0; i < group->n_workers; i++)
        if (mailbox_answered(&group->workers[i].mailbox) < number)
            return false;
    return true;
}

void worker_group_post(struct worker_group *group, uint32_t requests)
{
    for (size_t i = 0; i < group->n_workers; i++)
        mailbox_post(&group->workers[i].mailbox, requests);
}

/* A connection on its way between two workers holds its place of maxconn all the time. */
bool worker_group_is_drained(const struct worker_group *group)
{
    return all_are_draining(group) && capacity_used(&group->capacity) == 0 &&
           udp_room_used(&group->udp_room) == 0;
}
