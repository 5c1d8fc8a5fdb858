/* The handlers of `show ...`: what a snapshot says, as a table, a record or text. Part of
 * control/command. */
#ifndef LB4_CONTROL_SHOW_H
#define LB4_CONTROL_SHOW_H

#include "lb4/control/command.h"

enum command_result show_services(struct command_call *call);

/* Of all services, of one, or a single server. */
enum command_result show_servers(struct command_call *call);

enum command_result show_info(struct command_call *call);

/* The text that lb4 -T prints; a string in JSON. */
enum command_result show_config(struct command_call *call);

#endif
