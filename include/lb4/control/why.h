/* The handler of `why SERVICE CLIENT-ADDRESS`: which server that client would get at this moment,
 * and what speaks for and against each (shared/foresee.h). Sentences first, then a table; in JSON
 * one object. An address without a port stands for any port of that host. Where the service listens
 * on UDP the client's sessions count: it waits for a sweep that finds them. Part of
 * control/command. */
#ifndef LB4_CONTROL_WHY_H
#define LB4_CONTROL_WHY_H

#include "lb4/control/command.h"

enum command_result why_run(struct command_call *call);

/* Of one that waits: COMMAND_WAIT_WHY. */
enum command_result why_check(struct command_call *call);

#endif
