/* What worker/listener_change.c needs of the table (worker/listener.h): to make one listener, look
 * at it and take it away. Control's. */
#ifndef LB4_WORKER_LISTENER_PARTS_H
#define LB4_WORKER_LISTENER_PARTS_H

#include "lb4/worker/listener.h"

/* All that `conf` wants, in new memory without sockets, first those of TCP, with shares_port set;
 * services[i] is that of conf->services[i]. NULL: no memory. */
struct listener *listener_list(const struct conf *conf, struct service *const *services,
                               size_t *ret_n);

/* Is anything in use? Nothing stays bound. Returns 0, or -errno with a sentence. */
int listener_probe_all(const struct listener *list, size_t n,
                       char reterr[static LISTENER_ERROR_MAX]);

/* Put `wanted` into a free place and bind a socket for each worker; LISTENER_OPEN. Nobody receives
 * from it yet. Returns the place, or -errno with a sentence in `reterr`. */
long listener_table_bind(struct listener_table *table, const struct listener *wanted,
                         char reterr[static LISTENER_ERROR_MAX]);

/* Throw away what came before the group was whole; UDP only. */
void listener_table_discard(const struct listener_table *table, size_t listener);

/* Close what was not taken; the place is free. */
void listener_table_free(struct listener_table *table, size_t listener);

#endif
