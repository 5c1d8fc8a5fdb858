/* Names of servers are looked up: at the start, and whenever the configuration is read anew. What
 * is found goes into the sets (control/name_sets.h), from where servers get addresses
 * (control/expand.h); later look-ups are control/naming.h's. */
#ifndef LB4_CONTROL_NAMES_H
#define LB4_CONTROL_NAMES_H

#include "lb4/conf/model.h"
#include "lb4/conf/report.h"
#include "lb4/control/name_sets.h"

/* See probe/resolver.h: at the start, while there is one thread; at a reload. */
enum names_means { NAMES_BY_CHILD, NAMES_BY_THREADS };

/* All names of a configuration, each once, and what was found. */
struct names_found {
    struct resolver_name *names; /* hosts are the configuration's */
    size_t n_names;
    uint64_t asked_ns;
};

/* Ask for all names, at the start for at most 2 s, else 5 s: thread of its own, or main. Returns 0,
 * -EINTR when a signal wants the process to end, or -errno, and a report of it. names_found_fini()
 * is due in any case. */
int names_look_up(const struct conf *conf, enum names_means means, struct names_found *ret,
                  struct conf_report *report);
void names_found_fini(struct names_found *found);

/* Put the servers in that the names stand for, and prove the whole again (conf/check.h), as an
 * address may turn out to be our own listener. A name that was not found keeps the addresses that
 * it had. If it never had any, then at the start (`present` is NULL) it has no server until it is
 * found; at a reload it is an error, unless it is used already. Returns 0, or -errno with errors in
 * the report; the servers are then as before, unless it was the proof that failed. Thread: that of
 * the sets. */
int names_settle(struct conf *conf, const struct conf *present, const struct names_found *found,
                 struct name_sets *sets, struct conf_report *report);

/* Both, at the start. */
int names_resolve(struct conf *conf, struct name_sets *sets, struct conf_report *report);

#endif
