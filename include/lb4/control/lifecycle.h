/* The order of start and stop, and the signals: HUP, TERM, QUIT, INT, USR1, USR2.
 *
 * Start: descriptors' limit, slots, listeners bound, pid file, privileges dropped, workers, ready.
 * All that can fail fails before "ready". Stop is the reverse. Thread: main, which becomes the
 * control thread. */
#ifndef LB4_CONTROL_LIFECYCLE_H
#define LB4_CONTROL_LIFECYCLE_H

#include "lb4/conf/model.h"

struct lifecycle_options {
    const char *pid_file;    /* NULL = none */
    const char *config_name; /* for the log: the file's name, or "command line" */
};

/* Run until a signal ends it. process_prepare() was called before the configuration was read.
 * `conf` is checked (conf/check.h). Returns the exit code: 0 fine, 1 cannot run. */
int lifecycle_run(const struct conf *conf, const struct lifecycle_options *options);

#endif
