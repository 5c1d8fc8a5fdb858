/* The running configuration with other addresses: what its names stand for now (control/expand.h),
 * put in force as a reload would, but for the servers alone. Thread: control. */
#ifndef LB4_CONTROL_READDRESS_H
#define LB4_CONTROL_READDRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "lb4/control/reload.h"

/* No other change is under way. */
bool readdress_may(const struct reload *reload);

/* If readdress_may(). Returns 1: a change has begun, and is in the log; 0: nothing is other than it
 * was; or -errno with a sentence, and nothing has changed. */
int readdress(struct reload *reload, uint64_t now_ns, char reterr[static CHANGE_ERROR_MAX]);

/* Between changes: servers that have left, and serve on, go if others can serve. Returns whether
 * some serve on. */
bool readdress_release(struct reload *reload);

/* The written server, a name, of which the server `name` of the service has an address; or NULL. */
const struct conf_server *readdress_written(const struct conf_service *service, const char *name);

#endif
