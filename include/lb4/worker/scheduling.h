/* When a worker steps back for its peers. Where clients or servers share a CPU with a worker, each
 * byte that they send wakes it, and it preempts the one that is just about to send more. Under
 * SCHED_BATCH (sched(7)) a woken thread waits until who runs has done, and finds more events in one
 * turn. But who runs may be none of its peers and never be done, and then every wake-up costs a
 * tick of the kernel. So a worker puts itself under SCHED_BATCH only while it shares its CPU
 * evenly, and leaves as soon as it waits for the CPU much longer than it runs, and when it has
 * little to do. After a leave because of waits it stays away for a while, each time for longer.
 *
 * It looks only in turns that come anyway; a worker that is idle is under SCHED_OTHER and does not
 * look. control/threads has only workers do this that are bound to a CPU; one that leaves it for a
 * while (worker/binding.h) goes on as before, which made no difference when it was measured.
 * Thread: the worker's. */
#ifndef LB4_WORKER_SCHEDULING_H
#define LB4_WORKER_SCHEDULING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of a thread, since it began: on a CPU, and ready but waiting for one. */
struct scheduling_times {
    uint64_t run_ns;
    uint64_t wait_ns;
};

/* Clear memory: the policy stays as it is inherited. */
struct scheduling {
    bool is_on;    /* the policy is ours to choose */
    bool is_batch; /* or what the next step is to make it */
    bool has_last;
    struct scheduling_times last;   /* as of the last look */
    struct scheduling_times recent; /* between looks; a look counts half as much as the next */
    uint64_t recent_ns;             /* likewise, how long that was */
    uint64_t looked_ns;
    uint64_t since_ns;  /* under SCHED_BATCH */
    uint64_t away_ns;   /* how long to stay away, after the next waits */
    uint64_t return_ns; /* not under SCHED_BATCH again before */
};

/* Leave the policy to what the worker measures, if it has been started under SCHED_OTHER: another
 * one is an operator's wish. A nice value stays. Where the kernel lets no policy be set it says so
 * once, and does nothing from then on. */
void scheduling_start(struct scheduling *self);

/* After each turn, with the time when it began and whether it had events. */
void scheduling_turn(struct scheduling *self, uint64_t now_ns, bool had_events);

/* How long the loop may sleep that would sleep for `timeout_ms`: under SCHED_BATCH not for long, so
 * that a worker without work leaves it before it is woken for more. */
int scheduling_wait_ms(const struct scheduling *self, int timeout_ms);

/* The parts of scheduling_turn(), pure: the first asks for times if it is time for a look. The
 * others change is_batch; `times` NULL = they are unknown. */
bool scheduling_wants_look(struct scheduling *self, uint64_t now_ns);
void scheduling_look(struct scheduling *self, uint64_t now_ns,
                     const struct scheduling_times *times);
void scheduling_rest(struct scheduling *self, uint64_t now_ns);

#endif
