/* The handlers that reach all connections: show connections, kill, rebalance. The first two wait
 * for a sweep (control/sweeper.h). Part of control/command. */
#ifndef LB4_CONTROL_CONNECTIONS_H
#define LB4_CONTROL_CONNECTIONS_H

#include "lb4/control/command.h"

/* Of all services, of one, or on one server; all of them, or the busiest. */
enum command_result connections_show(struct command_call *call);
enum command_result connections_kill(struct command_call *call);
enum command_result connections_rebalance(struct command_call *call);

/* Of one that waits: COMMAND_WAIT_LIST, COMMAND_WAIT_BUSIEST and COMMAND_WAIT_KILL. */
enum command_result connections_check(struct command_call *call);

/* What a handler does with a sweep. `begin` returns what sweeper_list() and its like do; `answer`
 * reads the results. */
struct connections_sweep {
    long (*begin)(struct command_call *call);
    enum command_result (*answer)(struct command_call *call);
};

/* For any handler that waits for a sweep, from call->wait.begin_ns until until_ns for its turn:
 * begin it, and look how it goes, piece by piece (sweeper_go_on()). */
enum command_result connections_begin(struct command_call *call,
                                      const struct connections_sweep *sweep);
enum command_result connections_follow(struct command_call *call,
                                       const struct connections_sweep *sweep);

#endif
