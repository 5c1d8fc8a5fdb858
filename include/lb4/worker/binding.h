/* Where a bound worker runs. On a CPU of its own (control/cpus.h) while it moves small messages:
 * its caches stay warm, and no two workers meet on one CPU. But bulk is work of milliseconds, for
 * the worker and for who writes and reads it; if these share its CPU, a bound worker waits for it
 * while another CPU is idle, as the scheduler may not move it. So a worker that splices much lets
 * itself be moved to any CPU of the process, and goes back to its own when that is over.
 *
 * It looks only in turns that come anyway: one that falls idle goes back when it next has work. If
 * others have moved it meanwhile (taskset(1), a cpuset) it stays there until they have put it back.
 * Thread: the worker's. */
#ifndef LB4_WORKER_BINDING_H
#define LB4_WORKER_BINDING_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

/* Clear memory: the thread stays where it is. */
struct binding {
    const cpu_set_t *all; /* where bulk may run; NULL = nothing to choose */
    cpu_set_t own;        /* as the thread began */
    bool is_wide;         /* or what the next step is to make it */
    uint64_t looked_ns;   /* 0 = never */
    uint64_t n_bytes;     /* by then */
};

/* `all` outlives it, and is more than the CPU that the calling thread is bound to; NULL: it is not
 * bound. Where the kernel lets no thread be bound it does nothing from then on. */
void binding_start(struct binding *self, const cpu_set_t *all);

/* After each turn, with the time when it began and the bytes spliced since the start. Says so once
 * if the kernel refuses to move the thread; it stays where it is from then on. */
void binding_turn(struct binding *self, uint64_t now_ns, uint64_t n_bytes);

/* The part of binding_turn() that judges, pure: changes is_wide. */
void binding_look(struct binding *self, uint64_t now_ns, uint64_t n_bytes);

#endif
