/* The handlers that store an operator's wish about one server: drain, maint, ready, weight. It is
 * obeyed at the workers' next choice, and logged with who wished it. With --wait TIME the answer
 * comes when it has had its effect, or is an error when the time is over; the wish stays. Part of
 * control/command. */
#ifndef LB4_CONTROL_WISH_H
#define LB4_CONTROL_WISH_H

#include "lb4/control/command.h"

enum command_result wish_drain(struct command_call *call);
enum command_result wish_maint(struct command_call *call);
enum command_result wish_ready(struct command_call *call);
enum command_result wish_weight(struct command_call *call);

/* Of one that waits: COMMAND_WAIT_EMPTY, COMMAND_WAIT_USABLE and COMMAND_WAIT_WEIGHT. */
enum command_result wish_check(struct command_call *call);

#endif
