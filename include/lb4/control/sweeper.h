/* A sweep over all connections of all workers (relay/sweep.h), for an operator's command, a
 * rebalance, or servers that went down. One at a time; it is a matter of milliseconds. It is made
 * in pieces, so that no worker's traffic waits for the whole of it: sweeper_go_on() asks for the
 * next when all have answered. Thread: control.
 *
 * There may be two sweepers, so that servers need not wait until an operator has taken a result:
 * their pieces take turns. */
#ifndef LB4_CONTROL_SWEEPER_H
#define LB4_CONTROL_SWEEPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/control/runtime.h"

struct sweeper {
    struct runtime *runtime;
    const struct sweeper *other; /* the second one, or NULL */
    bool is_busy;                /* begun, and its results not yet given up */
    uint64_t asked;              /* the grace at whose end it is over */
    uint64_t over_ns;            /* since when that is known; 0 = not yet */
    uint64_t number;             /* of the sweep, 1.. */
    struct worker_sweep sweep;
    struct sweep_target target;
    struct sweep_victims victims;
    struct sweep_list *lists; /* by worker */
    struct sweep_kill *kills; /* by worker; NULL = no end is wanted */
    struct largest *busiest;  /* by worker; NULL = all are wanted */
    uint64_t looked_ns;       /* when the busiest were last looked for, everywhere; 0 = never */
    size_t *n_ended;          /* by worker: shed */
};

void sweeper_init(struct sweeper *sweeper, struct runtime *runtime);
void sweeper_fini(struct sweeper *sweeper); /* all threads have ended */

/* Begin: list what is live; of each worker the `n` busiest, 1..LARGEST_MAX, on what the target
 * names; end all on this server (targets are copied); end those of a server that went down, or of
 * one that others relieve; shed these, which the caller keeps until it is over. Returns its number;
 * 0: another one is under way; -ENOMEM. */
long sweeper_list(struct sweeper *sweeper);
long sweeper_busiest(struct sweeper *sweeper, const struct sweep_target *target, size_t n);
long sweeper_kill(struct sweeper *sweeper, const struct sweep_target *target);
long sweeper_end(struct sweeper *sweeper, const struct backend *backend, enum close_reason reason);
long sweeper_shed(struct sweeper *sweeper, const struct sweep_excess *excess, size_t n_excess);

/* All have answered, and it is not whole yet: ask for the next piece. */
void sweeper_go_on(struct sweeper *sweeper, long number, uint64_t now_ns);

/* Has every worker done it? Then its results stay until sweeper_release(), or until they are given
 * up (sweeper_tidy()). */
bool sweeper_is_over(const struct sweeper *sweeper, long number);
bool sweeper_has_result(const struct sweeper *sweeper, long number);
size_t sweeper_n_ended(const struct sweeper *sweeper);
void sweeper_release(struct sweeper *sweeper);

/* Once a turn: results that nobody takes, as who asked has gone, are given up. */
void sweeper_tidy(struct sweeper *sweeper, uint64_t now_ns);

#endif
