/* The order of start and stop, and the signals: HUP, TERM, QUIT, INT, USR1, USR2.
 *
 * Start: descriptors' limit, slots, listeners bound, pid file, privileges dropped, workers, ready.
 * All that can fail fails before "ready". Stop is the reverse. Thread: main, which becomes the
 * control thread. */
#ifndef LB4_CONTROL_LIFECYCLE_H
#define LB4_CONTROL_LIFECYCLE_H

#include "lb4/conf/flags.h"
#include "lb4/conf/model.h"
#include "lb4/control/activation.h"
#include "lb4/control/name_sets.h"
#include "lb4/control/notify.h"
#include "lb4/control/spawner.h"

struct lifecycle_options {
    struct name_sets names;       /* of the configuration's servers; taken over */
    const char *pid_file;         /* NULL = none */
    const struct flags *flags;    /* what a reload reads anew */
    const char *config_name;      /* for the log: the file's name, or "command line" */
    struct activation activation; /* what lifecycle_prepare() found of a service manager */
    struct notify notify;
    struct spawner spawner; /* started by lifecycle_prepare(); main ends it */
};

/* As soon as main() knows that it is to run, before the configuration is read: from now on no
 * signal that lb4 knows can end the process before somebody listens to it. What a service manager
 * says in the environment is taken out of it. */
void lifecycle_prepare(struct lifecycle_options *options);

/* Run until a signal ends it. `conf` is checked (conf/check.h), comes from malloc(3), and is the
 * lifecycle's from now on; `options` were prepared, and are used up. Returns the exit code: 0 fine,
 * 1 cannot run. */
int lifecycle_run(struct conf *conf, struct lifecycle_options *options);

#endif
