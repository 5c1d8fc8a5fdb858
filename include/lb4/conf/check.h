/* What only the whole configuration can tell: names twice, addresses twice, a server that is one of
 * our own listeners; and the defaults. */
#ifndef LB4_CONF_CHECK_H
#define LB4_CONF_CHECK_H

#include "lb4/conf/model.h"
#include "lb4/conf/report.h"

/* Fill in the defaults, then prove the rest; once, after all sources were read. Asks the kernel for
 * the addresses of this machine (getifaddrs(3)) if a server may be behind a wildcard listener.
 * Returns 0, or -EINVAL: the report has errors, from this or from the reading. */
int conf_check(struct conf *conf, struct conf_report *report);

#endif
