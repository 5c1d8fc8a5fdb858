/* A worker's TCP listeners: opened, paused while there is no room, closed; and who serves a
 * connection that was accepted. A part of the worker, split off for size; its thread alone, once it
 * runs. */
#ifndef LB4_WORKER_ACCEPT_H
#define LB4_WORKER_ACCEPT_H

#include <stdbool.h>
#include <stddef.h>

#include "lb4/worker/listener_change.h"
#include "lb4/worker/worker.h"

/* Take the worker's socket of the table; it is not in the loop yet. */
void accept_open(struct worker *worker, size_t index);
bool accept_is_open(const struct worker_listener *listener);

/* Serve who waits in the queue, as far as maxconn allows, and close. */
void accept_close(struct worker *worker, struct worker_listener *listener);

/* A step of a reload, of a TCP listener. */
void accept_take_step(struct worker *worker, const struct listener_step *step);

/* Clients wait in the queue. */
void accept_on_listener(struct worker *worker, struct worker_listener *listener);

/* Serve what other workers have handed over. */
void accept_receive(struct worker *worker);

/* Once a turn: paused listeners that may try again. */
void accept_resume(struct worker *worker);

#endif
