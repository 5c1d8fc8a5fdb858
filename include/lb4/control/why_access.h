/* Whether allow and deny let a client in, in a sentence that names the line. Pure. */
#ifndef LB4_CONTROL_WHY_ACCESS_H
#define LB4_CONTROL_WHY_ACCESS_H

#include "lb4/conf/model.h"

enum { WHY_ACCESS_MAX = 640 }; /* bytes with the NUL; longer names of files are cut */

/* false: it is not let in. `text` is "" where the service has no rules. */
bool why_access(const struct conf_service *service, const struct addr *client,
                char text[static WHY_ACCESS_MAX]);

#endif
