/* What a reload does to the listeners: those that stay keep their very sockets, new ones are bound
 * aside before anything is touched, others leave.
 *
 * Control prepares, commits, and has every worker take the steps (worker.h); when all have,
 * listener_change_end() makes the places of the closed ones free. */
#ifndef LB4_WORKER_LISTENER_CHANGE_H
#define LB4_WORKER_LISTENER_CHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "lb4/worker/listener.h"

enum listener_verb {
    LISTENER_STEP_OPEN,  /* take the socket and serve it */
    LISTENER_STEP_MOVE,  /* it belongs to another service now, or takes PROXY headers from others,
                            or its socket is to be tuned */
    LISTENER_STEP_LEAVE, /* TCP: serve who waits in the queue, close. UDP: no new sessions, but
                            those of its heir */
    LISTENER_STEP_STAY,  /* UDP: it had been told to leave, and is wanted again */
    LISTENER_STEP_CLOSE  /* UDP: end its sessions, close */
};

struct listener_step {
    enum listener_verb verb;
    uint32_t listener;               /* place in the table */
    struct service *service;         /* OPEN, MOVE, STAY */
    struct prefix_map *accept_proxy; /* likewise, as of struct listener; held */
    struct prefix_map *former;       /* after the commit: what it replaces; held */
    bool has_heir;                   /* LEAVE, UDP: */
    uint32_t heir;                   /* who has the port from now on */
    uint32_t fastopen;               /* likewise; see sock_tune_listener() */
    uint32_t defer_s;
    uint32_t mode;   /* likewise; control sets it, with the commit */
    bool is_to_tune; /* MOVE: these two are other than they were; sockets that were passed to us
                        keep what they came with until then */
};

struct listener_change {
    struct listener_table *table;
    struct listener_step *steps;
    size_t n_steps;
};

/* From what the table has to what `conf` wants; services[i] is that of conf->services[i]. Returns
 * 0, or -errno with a sentence in `reterr`: nothing has changed and nothing is kept. */
int listener_change_prepare(struct listener_change *change, struct listener_table *table,
                            const struct conf *conf, struct service *const *services,
                            char reterr[static LISTENER_ERROR_MAX]);

/* What it will do though the configuration has not changed: a line for each interface that is
 * another one than it was, and whose listeners hear nobody, and for each Unix socket whose file has
 * gone. Returns how many. */
long listener_change_diff(const struct listener_table *table, FILE *stream);

/* Those of UDP whose time to leave is over at `now_ns`; may have no steps. Returns 0 or -ENOMEM. */
int listener_change_close(struct listener_change *change, struct listener_table *table,
                          uint64_t now_ns);

/* From now on it is so in the table. UDP listeners that leave get until `leave_by_ns`. */
void listener_change_commit(struct listener_change *change, uint64_t leave_by_ns);

/* Every worker has taken the steps, and a grace has passed since, as connections that were accepted
 * on a listener may be on their way between workers. */
void listener_change_end(struct listener_change *change);

/* Instead of a commit: close what was bound. */
void listener_change_abort(struct listener_change *change);

/* When the next listener's time to leave is over; UINT64_MAX = none leaves. */
uint64_t listener_table_due_ns(const struct listener_table *table);

#endif
