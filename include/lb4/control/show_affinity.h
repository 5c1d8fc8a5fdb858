/* The handler of `show affinity`: which clients of a service are held, and by which server
 * (shared/affinity.h), first those with most connections, then those that came last. Part of
 * control/command. */
#ifndef LB4_CONTROL_SHOW_AFFINITY_H
#define LB4_CONTROL_SHOW_AFFINITY_H

#include "lb4/control/command.h"

enum command_result show_affinity(struct command_call *call);

#endif
