/* The handler of `unban SERVICE ADDRESS|all`: a ban ends, and what counted towards the next one.
 * Workers see it at the client's next connection. Part of control/command. */
#ifndef LB4_CONTROL_UNBAN_H
#define LB4_CONTROL_UNBAN_H

#include "lb4/control/command.h"

enum command_result unban_run(struct command_call *call);

#endif
