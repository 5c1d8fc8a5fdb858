/* What serves operators: the admin socket, the HTTP listener, and what their commands need beside
 * the runtime and its reload. Thread: control. */
#ifndef LB4_CONTROL_OPERATOR_H
#define LB4_CONTROL_OPERATOR_H

#include "lb4/control/admin.h"
#include "lb4/control/farewell.h"
#include "lb4/control/http.h"
#include "lb4/control/privileges.h"
#include "lb4/control/rebalance.h"
#include "lb4/control/reload.h"
#include "lb4/control/runtime.h"
#include "lb4/control/snapshot.h"
#include "lb4/control/state.h"
#include "lb4/control/sweeper.h"

struct operator
{
    struct runtime *runtime;
    struct reload *reload;
    struct sweeper sweeper;
    struct farewell farewell;
    struct rebalance rebalance;
    struct snapshot_from snapshot; /* what commands look at */
    struct admin admin;
    struct http http;
    struct history *wishes;
    char directive[CONF_PATH_MAX + 6]; /* of the configuration that lb4 was started with */
};

/* Harmless for operator_close(). */
void operator_init(struct operator* operator, struct runtime * runtime, struct reload *reload);

/* Open the sockets that the configuration names, if it does. Before privileges are dropped, for who
 * lb4 will be. Returns 0 or -errno, after a line in the log. */
int operator_open(struct operator* operator, const struct privileges_ids * ids);

/* As the user that lb4 stays, with threads running. The same. */
int operator_start(struct operator* operator, struct loop * loop, const char *config_name);

/* All threads have ended. */
void operator_close(struct operator* operator);

/* An event of a source of the admin socket or the HTTP listener. */
void operator_on_event(struct operator* operator, const struct loop_event * event);

/* Before the events of a turn: what commands are to see of the state. And after them. */
void operator_begin_turn(struct operator* operator, enum lifecycle_state state);
void operator_end_turn(struct operator* operator, uint64_t now_ns);
uint64_t operator_due_ns(const struct operator* operator);

#endif
