/* The handlers of `reload` and `confirm`: an operator's side of control/reload.h. Part of
 * control/command. */
#ifndef LB4_CONTROL_RELOADING_H
#define LB4_CONTROL_RELOADING_H

#include "lb4/control/command.h"

/* The answer comes when the run is over: its difference, or what was wrong. */
enum command_result reloading_reload(struct command_call *call);
enum command_result reloading_confirm(struct command_call *call);

/* Of one that waits: COMMAND_WAIT_RELOAD. */
enum command_result reloading_check(struct command_call *call);

#endif
