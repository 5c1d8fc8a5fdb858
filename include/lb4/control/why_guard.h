/* Whether limits, rates and bans let a client in, in a sentence that names the word. Pure. */
#ifndef LB4_CONTROL_WHY_GUARD_H
#define LB4_CONTROL_WHY_GUARD_H

#include "lb4/conf/model.h"
#include "lb4/shared/guard.h"

enum { WHY_GUARD_MAX = 512 }; /* bytes with the NUL */

/* false: it would not be let in now. `text` is "" where the service limits nothing. */
bool why_guard(const struct conf_service *service, const struct guard_outlook *outlook,
               char text[static WHY_GUARD_MAX]);

#endif
