/* The handlers of `show sources` and `show bans`: what is known of the sources of a service's
 * clients (shared/sources.h), the first of them by what they hold, or by how long they are banned.
 *
 * The walk over a full table of 1,048,576 sources took 30 to 150 ms of this thread, over an empty
 * one 0.3 to 30. No other thread waits for it; what changes meanwhile may be missed, or told as it
 * was. Part of control/command. */
#ifndef LB4_CONTROL_SHOW_SOURCES_H
#define LB4_CONTROL_SHOW_SOURCES_H

#include "lb4/control/command.h"

enum command_result show_sources(struct command_call *call);

/* Of one service, or of all that have `ban`. */
enum command_result show_bans(struct command_call *call);

#endif
