/* The process that runs programs for the prober: it starts them, reads the first line that each
 * prints, and tells how each ended. A process of its own with a single thread, so that fork(2) is
 * what it looks like, and nothing of a program can stop the prober.
 *
 * A program runs in a session of its own, with /dev/null as its input, no other descriptor, default
 * signals, and the environment of its request. At its time-out, and when it has ended, its whole
 * process group is killed: what it left behind there ends with it. */
#ifndef LB4_PROBE_PROGRAM_HOST_H
#define LB4_PROBE_PROGRAM_HOST_H

#include <sys/types.h>

#include "lb4/probe/program_wire.h"

/* Of one program, in memory that outlives the process: who started it can end its programs. */
struct program_place {
    volatile pid_t group;    /* of a program that was not waited for yet; 0 = none */
    volatile int exec_error; /* errno of execve(2); written by the child */
};

/* Serve the link until the other end closes it, or the parent of the process dies; then all
 * programs are killed. `nth`: see PROGRAM_HOST_BEGINS. Signals are all blocked, and the link is
 * close-on-exec, as all descriptors from 3 on. Returns the exit code of the process: 0, or 1 if it
 * cannot serve. */
int program_host_serve(int link_fd, int nth, struct program_place places[static PROGRAMS_MAX]);

#endif
