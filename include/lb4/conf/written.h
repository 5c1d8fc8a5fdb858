/* The servers of a service as they were written, whatever addresses names have got meanwhile
 * (control/expand.h). Pure. */
#ifndef LB4_CONF_WRITTEN_H
#define LB4_CONF_WRITTEN_H

#include "lb4/conf/model.h"

const struct conf_server *conf_written(const struct conf_service *service, size_t *ret_n);

/* Is any of them a name? */
bool conf_has_names(const struct conf_service *service);

#endif
