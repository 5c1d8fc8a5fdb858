/* A worker: one thread with its own loop, listening sockets, connections and UDP sessions.
 *
 * All workers of the process are a group, built before any thread runs. The fields belong to the
 * worker's thread once it runs; others reach it only through its mailbox, and read its counters. */
#ifndef LB4_WORKER_WORKER_H
#define LB4_WORKER_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/loop/loop.h"
#include "lb4/relay/tcp.h"
#include "lb4/shared/capacity.h"
#include "lb4/shared/mailbox.h"
#include "lb4/shared/service.h"
#include "lb4/shared/service_table.h"
#include "lb4/shared/stats.h"
#include "lb4/shared/udp_room.h"
#include "lb4/worker/binding.h"
#include "lb4/worker/listener.h"
#include "lb4/worker/order.h"
#include "lb4/worker/scheduling.h"
#include "lb4/worker/udp_side.h"

struct worker_group;

/* One listening TCP socket of one worker. */
struct worker_listener {
    struct source source;
    struct list paused; /* on worker->paused while it is out of the loop */
    struct service *service;
    const struct prefix_map *accept_proxy; /* see struct listener */
    uint32_t index;                        /* in the listener table, the same in every worker */
    uint32_t unix_path;                    /* of a Unix socket (base/unix_path.h); 0 = it is none */
    uint16_t port;                         /* that clients ask for */
    bool has_fastopen;                     /* or had: clients of that time may be waiting */
    uint16_t n_accepts; /* accepted in one event: doubles while the queue stays full */
};

struct worker {
    struct mailbox mailbox;
    struct loop loop;
    struct tcp_relay relay;
    struct udp_side udp;
    struct scheduling scheduling;
    struct binding binding;
    struct source mailbox_source;
    struct worker_listener *listeners; /* LISTENER_TABLE_MAX places, as in the listener table */
    size_t n_listeners;                /* places below may be open */
    struct worker_group *group;
    uint32_t index;
    uint64_t n_changes; /* that it has taken */
    bool is_draining;   /* accepts no more; the TCP listeners are closed */
    bool is_resetting;  /* ends what still comes in */
    bool is_exiting;
    struct list paused;       /* of struct worker_listener: maxconn, or no descriptors */
    uint64_t resume_ns;       /* when they try again, at the latest */
    uint64_t n_closed_then;   /* ended when the last paused: one more is reason to try */
    uint64_t pause_logged_ns; /* 0 = never */
};

struct worker_group {
    struct worker *workers;
    size_t n_workers;
    struct stats_block *stats; /* one for each worker */
    struct capacity capacity;
    struct capacity headers;  /* of those, how many may wait for their PROXY header */
    struct udp_room udp_room; /* for the sessions of the process */
    struct listener_table *listeners;
    const struct service_table *services;
    const cpu_set_t *cpus;   /* set before threads run: of all workers; NULL = they are not bound */
    bool tunes_scheduling;   /* likewise; false = worker/scheduling.h is idle */
    struct mailbox *control; /* gets MAILBOX_PROGRESS from workers that drain, or answer */
    struct mailbox *prober;
    const struct worker_change *change; /* control's, MAILBOX_CHANGE tells that it is there */
    uint64_t n_changes;                 /* that were put there, counted before that is told */
    const struct worker_sweep *sweep;   /* likewise, MAILBOX_SWEEP */
};

struct worker_group_options {
    const struct service_table *services;
    struct listener_table *listeners; /* its sockets are taken */
    struct mailbox *control;
    struct mailbox *prober;
    uint32_t maxconn;
    uint32_t udp_sessions; /* of all workers together; 0 = no service listens on UDP */
    struct tcp_relay_options relay;
};

/* Everything that can fail, before threads run: memory, epoll sets, eventfds. Returns 0 or -errno;
 * on error nothing is kept but the sockets already taken, which are closed. */
int worker_group_init(struct worker_group *group, size_t n_workers,
                      const struct worker_group_options *options);
/* All threads have ended. */
void worker_group_fini(struct worker_group *group);

/* The body of the thread: returns after MAILBOX_EXIT. */
void worker_run(struct worker *worker);
/* Its own thread: take the change that is there, once. */
void worker_take_change(struct worker *worker);

/* Control's thread from here on. Memory for UDP, which the first UDP listener needs, made for so
 * many sessions of all workers. Returns 0 or -errno. */
int worker_group_prepare_udp(struct worker_group *group, uint32_t n_sessions);
void worker_group_set_maxconn(struct worker_group *group, uint32_t maxconn);
/* Have all take the change, which stays there until all have answered. */
void worker_group_change(struct worker_group *group, const struct worker_change *change);
void worker_group_sweep(struct worker_group *group, const struct worker_sweep *sweep);
/* Ask all (mailbox_ask()); have all answered? */
void worker_group_ask(struct worker_group *group, uint64_t number);
bool worker_group_has_answered(const struct worker_group *group, uint64_t number);

/* The same requests to all. */
void worker_group_post(struct worker_group *group, uint32_t requests);
/* Have all workers stopped to accept, and has every connection ended, those on their way between
 * workers too, and every UDP session? */
bool worker_group_is_drained(const struct worker_group *group);

#endif
