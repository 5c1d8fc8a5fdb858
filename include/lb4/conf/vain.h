/* Words of a service that can have no effect beside its other words, which their writer will hardly
 * have meant: warnings. Pure. Thread: main at the start, control at a reload. */
#ifndef LB4_CONF_VAIN_H
#define LB4_CONF_VAIN_H

#include "lb4/conf/model.h"
#include "lb4/conf/report.h"

/* Of a service whose defaults are filled in; its servers as they were written. */
void conf_warn_vain(const struct conf_service *service, struct conf_report *report);

#endif
