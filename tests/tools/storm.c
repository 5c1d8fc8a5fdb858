/* storm: integrity test of a TCP relay. One process plays the clients and the servers around it, so
 * each end knows what the other was going to send and how it was going to end (plan.h), and every
 * byte says whose it is (tag.h).
 *
 * A connection begins as a client end; the server end that a listener accepts is nameless until its
 * first 32 bytes are there, and is then joined to it. A connection is over when neither end is
 * open; the verdict is the worse of the two. Nameless ends that never get that far are the rear
 * parts of early resets; those without a byte may be probes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "storm.h"
#include "tag.h"

enum { CAP_EVENTS = 512, TICK_MS = 2 };

static const uint64_t ns_per_ms = 1000000u;
/* Time after the last close for the rear parts of early resets. */
static const uint64_t settle_ns = 500 * 1000000u;

__attribute__((noreturn)) static void die(const char *what, int error)
{
    fprintf(stderr, "storm: %s: %s\n", what, strerror(error));
    exit(2);
}

/* --- ends come and go --- */

static void set_watch(struct storm *storm, struct end *end, int operation, uint32_t mask)
{
    struct epoll_event event = {.events = mask, .data.ptr = end};

    if (epoll_ctl(storm->epoll_fd, operation, end->fd, &event) < 0)
        die("epoll_ctl", errno);
    end->watched = mask;
}

static struct end *add_end(struct storm *storm, int fd, enum plan_side side,
                           const struct plan *plan)
{
    struct end *end = malloc(sizeof(*end));

    if (storm->n_live == storm->cap_live) {
        storm->cap_live = storm->cap_live * 2 + 64;
        storm->live = realloc(storm->live, storm->cap_live * sizeof(struct end *));
    }
    if (!end || !storm->live)
        die("memory", ENOMEM);
    end_init(end, fd, side, plan);
    end->live_index = storm->n_live;
    storm->live[storm->n_live++] = end;
    set_watch(storm, end, EPOLL_CTL_ADD, end_interest(end, end->progress_ns));
    return end;
}

static void attach(struct storm *storm, struct conn *conn, struct end *end)
{
    if (!conn->ends[PLAN_CLIENT] && !conn->ends[PLAN_SERVER])
        storm->n_open++;
    conn->ends[end->side] = end;
}

static void detach(struct storm *storm, struct end *end)
{
    struct conn *conn = &storm->conns[end->id];

    if (conn->ends[end->side] != end)
        return;
    conn->ends[end->side] = NULL;
    conn->verdicts[end->side] = end->verdict;
    if (!conn->ends[PLAN_CLIENT] && !conn->ends[PLAN_SERVER])
        storm->n_open--;
}

/* The end's descriptor is closed, so epoll has forgotten it; nothing else in a batch can point at
 * it. */
static void remove_end(struct storm *storm, struct end *end)
{
    storm_complain(storm, end);
    storm->n_bytes += end->n_received;
    storm->last_close_ns = net_now_ns();
    if (end->plan)
        detach(storm, end);
    storm->live[end->live_index] = storm->live[--storm->n_live];
    storm->live[end->live_index]->live_index = end->live_index;
    free(end);
}

static void remove_nameless(struct storm *storm, struct end *end)
{
    if (end->n_received == 0)
        storm->n_nameless_blank++;
    else if (end->has_seen_reset)
        storm->n_nameless_reset++;
    else
        storm->n_nameless_bad++;
    end_abort(end, END_OK);
    remove_end(storm, end);
}

static void accept_all(struct storm *storm, int listen_fd)
{
    int fd;

    while ((fd = net_accept(listen_fd)) >= 0)
        add_end(storm, fd, PLAN_SERVER, NULL);
    if (fd == -EMFILE || fd == -ENFILE)
        die("accept", -fd);
}

static void start_client(struct storm *storm)
{
    uint32_t id = storm->n_started++;
    struct conn *conn = &storm->conns[id];

    plan_draw(&storm->limits, id, &conn->plan);
    int fd = net_connect(&storm->targets[id % storm->n_targets]);
    if (fd < 0)
        die("connect", -fd);
    struct end *end = add_end(storm, fd, PLAN_CLIENT, &conn->plan);
    end->id = id;
    attach(storm, conn, end);
}

static void start_clients(struct storm *storm)
{
    while (storm->n_started < storm->n_conns && storm->n_open < storm->n_concurrent)
        start_client(storm);
}

/* --- the server end learns who it is --- */

static void join(struct storm *storm, struct end *end)
{
    int64_t id = plan_read_id(end->header);

    if (id < 0 || id >= storm->n_started || storm->conns[id].is_server_seen) {
        fprintf(stderr, "a server end got a header that is %s\n",
                id >= 0 && id < storm->n_started ? "already taken" : "of no connection");
        storm->n_nameless_bad++;
        end_abort(end, END_MISMATCHED);
        return;
    }
    struct conn *conn = &storm->conns[id];
    conn->is_server_seen = true;
    end->id = (uint32_t)id;
    attach(storm, conn, end);
    (void)end_identify(end, (uint32_t)id, &conn->plan);
    if (conn->ends[PLAN_CLIENT])
        conn->ends[PLAN_CLIENT]->is_peer_known = true;
}

static void step(struct storm *storm, struct end *end, uint32_t events, uint64_t now_ns)
{
    end_step(end, events, now_ns);
    if (!end->plan && end_has_header(end)) {
        join(storm, end);
        if (end->verdict == END_OPEN)
            end_step(end, EPOLLIN, now_ns);
    }
    if (!end->plan && end->verdict == END_OPEN && (end->has_seen_fin || end->has_seen_reset)) {
        remove_nameless(storm, end);
        return;
    }
    if (end->verdict != END_OPEN) {
        remove_end(storm, end);
        return;
    }
    uint32_t wanted = end_interest(end, now_ns);
    if (wanted != end->watched)
        set_watch(storm, end, EPOLL_CTL_MOD, wanted);
}

/* --- time --- */

static uint64_t conn_progress_ns(const struct storm *storm, const struct end *end)
{
    const struct end *peer = end->plan ? storm->conns[end->id].ends[!end->side] : NULL;

    return peer && peer->progress_ns > end->progress_ns ? peer->progress_ns : end->progress_ns;
}

/* Once one end of a connection has failed badly, what the other sees means nothing any more. */
static bool has_failed_peer(const struct storm *storm, const struct end *end)
{
    return end->plan && storm->conns[end->id].verdicts[!end->side] >= END_STUCK;
}

static void tick_end(struct storm *storm, struct end *end, uint64_t now_ns)
{
    if (has_failed_peer(storm, end)) {
        end_abort(end, END_OK);
    } else if (now_ns > conn_progress_ns(storm, end) + storm->timeout_ns) {
        storm->n_nameless_stuck += !end->plan;
        end_abort(end, END_STUCK);
    }
    if (end->verdict != END_OPEN)
        remove_end(storm, end);
    else if (end->plan)
        step(storm, end, 0, now_ns);
}

static void tick(struct storm *storm)
{
    uint64_t now_ns = net_now_ns();

    for (size_t i = storm->n_live; i > 0; i--)
        tick_end(storm, storm->live[i - 1], now_ns);
    start_clients(storm);
}

/* --- the run --- */

/* Listeners are known by the address of their place in listen_fds. */
static bool is_listener(const struct storm *storm, const void *source)
{
    const char *place = source, *first = (const char *)storm->listen_fds;

    return place >= first && place < first + sizeof(storm->listen_fds);
}

static void open_listeners(struct storm *storm)
{
    for (unsigned i = 0; i < storm->n_servers; i++) {
        int fd = net_listen(&storm->servers[i], false);
        if (fd < 0)
            die("listen", -fd);
        storm->listen_fds[i] = fd;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &storm->listen_fds[i]};
        if (epoll_ctl(storm->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
            die("epoll_ctl", errno);
    }
}

static void turn(struct storm *storm)
{
    struct epoll_event events[CAP_EVENTS];
    int n = epoll_wait(storm->epoll_fd, events, CAP_EVENTS, TICK_MS);

    for (int i = 0; i < n; i++) {
        void *source = events[i].data.ptr;
        if (is_listener(storm, source))
            accept_all(storm, *(int *)source);
        else
            step(storm, source, events[i].events, net_now_ns());
    }
}

static bool is_over(const struct storm *storm)
{
    return storm->n_started == storm->n_conns && storm->n_live == 0 &&
           net_now_ns() > storm->last_close_ns + settle_ns;
}

static void run(struct storm *storm)
{
    uint64_t next_tick_ns = 0;

    start_clients(storm);
    while (!is_over(storm)) {
        turn(storm);
        if (net_now_ns() < next_tick_ns)
            continue;
        tick(storm);
        next_tick_ns = net_now_ns() + TICK_MS * ns_per_ms;
    }
}

int main(int argc, char **argv)
{
    static struct storm storm;

    storm_read_options(&storm, argc, argv);
    net_prepare_process();
    tag_set_seed(storm.limits.seed);
    storm.conns = calloc(storm.n_conns, sizeof(struct conn));
    storm.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!storm.conns || storm.epoll_fd < 0)
        die("start", errno);
    open_listeners(&storm);
    fprintf(stderr, "storm: seed %llu\n", (unsigned long long)storm.limits.seed);
    uint64_t begin_ns = net_now_ns();
    run(&storm);
    return storm_report(&storm, net_now_ns() - begin_ns);
}
