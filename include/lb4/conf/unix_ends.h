/* What only a whole service can tell of its Unix sockets. Thread: main at the start, control at a
 * reload. */
#ifndef LB4_CONF_UNIX_ENDS_H
#define LB4_CONF_UNIX_ENDS_H

#include <stdbool.h>

#include "lb4/conf/model.h"
#include "lb4/conf/report.h"

/* Report servers on Unix sockets behind UDP, checks that name a port or an address for them, and
 * servers without a port where a client of a Unix socket asks for none. */
void conf_check_unix(const struct conf_service *service, struct conf_report *report);

bool conf_has_unix_listener(const struct conf_service *service);

#endif
