/* What only the whole configuration can tell: names twice, addresses twice, a server that is one of
 * our own listeners; and the defaults. */
#ifndef LB4_CONF_CHECK_H
#define LB4_CONF_CHECK_H

#include <stdbool.h>

#include "lb4/conf/model.h"
#include "lb4/conf/report.h"

enum { CONF_CHECK_INTERVAL_MS = 2000 }; /* of a `check` line that names none */

/* Fill in the defaults, then prove the rest, after all sources were read; and again once names have
 * their addresses: what is filled in stays, and servers that are still names are no one's own
 * listener. Asks the kernel for the addresses of this machine (getifaddrs(3)) if a server may be
 * behind a wildcard listener.
 * Returns 0, or -EINVAL: the report has errors, from this or from the reading. */
int conf_check(struct conf *conf, struct conf_report *report);

/* Does a server of it have a limit of its own? */
bool conf_has_limits(const struct conf_service *service);

/* Are its servers probed, each probe by a socket of the prober's? Programs have none. */
bool conf_is_checked_by_socket(const struct conf_service *service);

/* The addresses where a server would be one of our own listeners, for servers that come later: of
 * a configuration that has been proved, and outlives it. NULL: no memory. */
struct conf_own *conf_own_new(const struct conf *conf);
bool conf_own_has(struct conf_own *own, const struct conf_service *service,
                  const struct conf_server *server);
void conf_own_free(struct conf_own *own);

#endif
