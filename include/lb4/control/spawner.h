/* The process that starts programs, for `check exec`: forked before lb4 has threads, descriptors
 * and a configuration, and told later who it is to be. Nothing is started as root.
 *
 * It is two: a keeper, which sleeps, and from the first program on the host that runs them
 * (probe/program_host.h), which the keeper replaces should somebody kill it. Both end when lb4 lets
 * go of the link, however it ended. They are in a session of their own, all signals blocked, and
 * hold nothing of lb4's but the link; their limits are those that lb4 was started with. */
#ifndef LB4_CONTROL_SPAWNER_H
#define LB4_CONTROL_SPAWNER_H

#include <sys/types.h>

#include "lb4/control/privileges.h"

struct spawner {
    int link_fd; /* -1 = there is none, or it was handed on */
    pid_t pid;   /* of the keeper; 0 = none */
    int error;   /* -errno that fork(2) or socketpair(2) had */
};

/* Thread: main, while there is no other; signals are prepared (control/signals.h). What fails is in
 * `error`: lb4 can do without. */
void spawner_start(struct spawner *spawner);

/* Have it become `ids`; and hand the link on to the caller. -1: there is none. */
int spawner_take_link(struct spawner *spawner, const struct privileges_ids *ids);

/* Wait until it has ended, for a second or two: whoever has the link has closed it. */
void spawner_end(struct spawner *spawner);

#endif
