/* Flags that are directives, as lines for the reader: "-w 4" is the line "workers 4". Before the
 * first -l they are read at the top level and in `defaults`, then in the service of that rule.
 * Internal to conf/. */
#ifndef LB4_CONF_RULES_H
#define LB4_CONF_RULES_H

#include "lb4/conf/flags.h"
#include "lb4/conf/report.h"

void rules_read(const struct flags *flags, struct conf *conf, struct conf_report *report);

#endif
