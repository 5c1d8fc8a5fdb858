/* Attempts of `check exec`: the prober's end of the link to the process that runs programs
 * (probe/program_host.h). An attempt is in ATTEMPT_RUNNING from the request to its answer; it has
 * no socket of its own, and its outcome comes from the answer alone. That process tells when the
 * time is over; one that says nothing for a second more is trouble of ours.
 *
 * At most PROGRAMS_MAX run at a time, other servers wait for their turn. Part of the prober: its
 * thread alone, but for programs_clear() and programs_open(). */
#ifndef LB4_PROBE_PROGRAM_H
#define LB4_PROBE_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lb4/base/list.h"
#include "lb4/loop/loop.h"
#include "lb4/probe/health.h"
#include "lb4/probe/probe.h"
#include "lb4/probe/program_wire.h"

struct prober;

/* On top of the time that a program has, for the answer. */
static const uint64_t PROGRAM_GRACE_NS = 1000000000ull;

struct programs {
    struct source source; /* SOURCE_PROGRAMS: the link; fd -1 = there is none */
    pid_t pid;            /* of the process at its other end; 0 = none to wait for */
    uint64_t n_asked;
    uint32_t n_running;
    struct list waiting; /* of struct probe, by queue: due, but there is no room; in order */
    struct program_slot {
        uint64_t id;
        struct probe *probe; /* NULL = free */
    } slots[PROGRAMS_MAX];
};

void programs_clear(struct programs *programs);

/* Before the thread runs: the link, which is the prober's from now on, closed by programs_close();
 * -1 = there is none, servers cannot be probed. `pid`: a child to wait for when it has ended, 0 =
 * none. Returns 0 or -errno. */
int programs_open(struct prober *prober, int link_fd, pid_t pid);
void programs_close(struct programs *programs);

/* Is the probe of this kind? */
static inline bool program_is(const struct probe *probe)
{
    return probe->attempt.check->kind == CONF_CHECK_EXEC;
}

bool program_has_room(const struct programs *programs);

/* As attempt_start(); there is room. */
bool program_start(struct prober *prober, struct probe *probe, enum health_outcome *ret_outcome);

/* The attempt ends without an outcome: what runs for it is killed. Nothing to do if nothing does.
 */
void program_cancel(struct prober *prober, const struct probe *probe);

/* There was no answer: HEALTH_UNKNOWN. */
enum health_outcome program_give_up(struct prober *prober, struct probe *probe);

/* Answers have come, or the end of the link. */
void program_on_event(struct prober *prober);

#endif
