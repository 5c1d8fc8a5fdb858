/* Look-ups beside everything else: each in a thread of its own, so that one that hangs keeps nobody
 * from anything. getaddrinfo(3) cannot be called off: a look-up is over when it says so, however
 * late, and its answer then counts. Who started it decides how long he waits, and starts no second
 * one for the same name meanwhile.
 *
 * Owner: control, whose mailbox is told (MAILBOX_PROGRESS) of each that is over. */
#ifndef LB4_PROBE_LOOKUPS_H
#define LB4_PROBE_LOOKUPS_H

#include <stdbool.h>

#include "lb4/probe/lookup.h"
#include "lb4/shared/mailbox.h"

/* At a time, each a thread with a stack of 512 KiB of address space; chosen: more
 * names than may hang at a time, and far below any limit of threads. */
enum { LOOKUPS_MAX = 256 };

struct lookups; /* shared with the threads */

/* `prepare` is called first in each thread. NULL: no memory. */
struct lookups *lookups_new(struct mailbox *control, int (*prepare)(void));

/* Nobody is told of what is still under way; the last thread frees what it shares. NULL is fine. */
void lookups_leave(struct lookups *lookups);

/* false: LOOKUPS_MAX are under way, or no thread can be had. */
bool lookups_start(struct lookups *lookups, const char *host, bool is_srv);

/* The next that is over; the caller frees the host. false: there is none. */
bool lookups_take(struct lookups *lookups, struct resolver_name *ret);

#endif
