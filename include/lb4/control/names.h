/* Servers that were given by name get their addresses, at start. A name with several addresses
 * becomes several servers: NAME, NAME-2, NAME-3 ..., with the same weight. Thread: main, before
 * others start; or one that reads the configuration for a reload. */
#ifndef LB4_CONTROL_NAMES_H
#define LB4_CONTROL_NAMES_H

#include "lb4/conf/model.h"
#include "lb4/conf/report.h"

/* See probe/resolver.h: at the start, while there is one thread; at a reload. */
enum names_means { NAMES_BY_CHILD, NAMES_BY_THREADS };

/* Resolve all names of the configuration within 5 s and put the servers in; then prove the whole
 * again (conf/check.h), as an address may turn out to be our own listener. `report` is empty at
 * first. Returns 0, -EINTR when a signal
 * wants the process to end, or -errno with errors in it: each name that could not be resolved, with
 * its place; the servers are then as before, unless it was the proof that failed. Without names it
 * does nothing. */
int names_resolve(struct conf *conf, enum names_means means, struct conf_report *report);

#endif
