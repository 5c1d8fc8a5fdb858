/* What belongs to the process as a whole: its standard descriptors, its signals, its processors.
 * Thread: main. */
#ifndef LB4_CONTROL_PROCESS_H
#define LB4_CONTROL_PROCESS_H

#include <stddef.h>

/* Before anything else: descriptors 0, 1 and 2 exist, and the signals that lb4 knows (HUP, TERM,
 * QUIT, INT, USR1, USR2) are blocked, in every thread to come. From now on none of them can end the
 * process before somebody listens to it, or interrupt a system call. SIGPIPE is ignored: splice(2)
 * to a reset socket raises it and takes no MSG_NOSIGNAL (FAULTS.md K5). */
void process_prepare(void);

/* A signalfd(2) for them, non-blocking and close-on-exec; -errno. */
int process_open_signals(void);

/* CPUs that this process may use, at least 1. */
size_t process_count_cpus(void);

#endif
