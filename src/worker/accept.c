#include "lb4/worker/accept.h"

#include <string.h>

#include "lb4/base/log.h"
#include "lb4/base/sock.h"
#include "lb4/base/sock_options.h"

enum { WORKER_ACCEPTS_MAX = 64 }; /* of one listener in one event; chosen */

static const uint64_t RETRY_MAXCONN_NS = 5 * 1000000ull;     /* a place may come free in another
                                                                worker; chosen */
static const uint64_t RETRY_RESOURCES_NS = 100 * 1000000ull; /* descriptors, memory; chosen */
static const uint64_t PAUSE_LOG_NS = 10 * 1000000000ull;     /* a line about it at most so often */

bool accept_is_open(const struct worker_listener *listener)
{
    return listener->service && listener->source.fd >= 0;
}

void accept_open(struct worker *worker, size_t index)
{
    struct listener_table *table = worker->group->listeners;
    const struct listener *from = &table->listeners[index];
    struct worker_listener *listener = &worker->listeners[index];

    source_init(&listener->source, SOURCE_LISTENER,
                listener_table_take(table, worker->index, index));
    list_init(&listener->paused);
    listener->service = from->service;
    listener->accept_proxy = from->accept_proxy;
    listener->index = (uint32_t)index;
    listener->port = addr_port(&from->addr);
    listener->unix_path = addr_is_unix(&from->addr) ? from->addr.un.number : 0;
    listener->has_fastopen = from->words.fastopen > 0;
    listener->n_accepts = 1;
    if (index >= worker->n_listeners)
        worker->n_listeners = index + 1;
}

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
void accept_resume(struct worker *worker)
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
    const struct tcp_door door = {listener->service, listener->accept_proxy, listener->port,
                                  listener->has_fastopen};

    tcp_accept(&worker->relay, &door, accepted->fd, &accepted->peer);
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
    struct mailbox_handoff accepted = {.listener = listener->index, .n_changes = worker->n_changes};

    if (!capacity_acquire(&worker->group->capacity)) {
        log_pause(worker, "maxconn is reached");
        accept_pause(worker, listener, RETRY_MAXCONN_NS);
        return false;
    }
    accepted.fd = sock_accept(listener->source.fd, &accepted.peer);
    if (accepted.fd >= 0) {
        if (listener->unix_path)
            addr_unix_client(listener->unix_path, &accepted.peer);
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
void accept_on_listener(struct worker *worker, struct worker_listener *listener)
{
    uint16_t n = 0;

    while (n < listener->n_accepts && accept_one(worker, listener))
        n++;
    if (n < listener->n_accepts)
        listener->n_accepts = n ? n : 1;
    else if (n < WORKER_ACCEPTS_MAX)
        listener->n_accepts = (uint16_t)(n * 2);
}

/* The sender may have been told of a change first, and have accepted on a listener that is new. The
 * change is the present one, as the next waits until this worker has taken it, too. */
void accept_receive(struct worker *worker)
{
    struct mailbox_handoff accepted;

    while (mailbox_receive(&worker->mailbox, &accepted)) {
        if (accepted.n_changes > worker->n_changes)
            worker_take_change(worker);
        serve(worker, &accepted);
    }
}

/* Clients in the accept queue have been told by the kernel that they are connected: serve them as
 * far as maxconn allows, then close. The kernel resets who is left, and a handshake that completes
 * in between. A socket that was passed to us lives on elsewhere, and would stay in the loop. */
void accept_close(struct worker *worker, struct worker_listener *listener)
{
    if (!accept_is_open(listener))
        return;
    while (!worker->is_resetting && accept_one(worker, listener))
        continue;
    list_remove(&listener->paused);
    loop_remove(&worker->loop, &listener->source);
    loop_close(&listener->source);
}

/* A listener that epoll refuses for want of memory is tried again, like one that is paused. */
void accept_take_step(struct worker *worker, const struct listener_step *step)
{
    struct worker_listener *listener = &worker->listeners[step->listener];

    switch (step->verb) {
    case LISTENER_STEP_OPEN:
        accept_open(worker, step->listener);
        if (accept_is_open(listener) && loop_add(&worker->loop, &listener->source, LOOP_LEVEL))
            accept_pause(worker, listener, RETRY_RESOURCES_NS);
        break;
    case LISTENER_STEP_MOVE:
    case LISTENER_STEP_STAY:
        listener->service = step->service;
        listener->accept_proxy = step->accept_proxy;
        listener->has_fastopen = listener->has_fastopen || step->fastopen > 0;
        if (step->is_to_tune && listener->source.fd >= 0)
            sock_tune_listener(listener->source.fd, step->fastopen, step->defer_s);
        break;
    case LISTENER_STEP_LEAVE:
    case LISTENER_STEP_CLOSE:
        accept_close(worker, listener);
        break;
    }
}
