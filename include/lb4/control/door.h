/* A listening socket in the loop of the control thread. Who comes is accepted at the end of a turn,
 * after the events of those who are in, so that who has left makes room; and not for a while when
 * descriptors or memory have run out. Thread: control. */
#ifndef LB4_CONTROL_DOOR_H
#define LB4_CONTROL_DOOR_H

#include <stdbool.h>
#include <stdint.h>

#include "lb4/loop/loop.h"

struct door {
    struct source source;
    struct loop *loop;
    bool has_callers;   /* connections wait to be accepted, at the end of this turn */
    bool was_full;      /* when the first of them was */
    uint32_t n_callers; /* accepted in this turn */
    uint64_t resume_ns; /* the socket is out of the loop until then; 0 = it is in */
};

/* Not in a loop yet. `fd` is the caller's; -1 = there is none. */
void door_init(struct door *door, enum source_kind kind, int fd);

/* Returns 0 or -errno of epoll_ctl(2). */
int door_open(struct door *door, struct loop *loop);

/* Out of the loop, with its descriptor, which the caller closes at once; -1 if there is none. */
int door_take_fd(struct door *door);

/* An event of its source. */
void door_on_event(struct door *door);

/* At the end of a turn, again and again: the next one that was accepted, or -1. Those that find no
 * room are let in, to be told so, only if there was none before the first of this turn: who was let
 * in may be done at the next. */
int door_accept(struct door *door, bool has_room);

/* After that. And when it has something to do without an event; UINT64_MAX = never. */
void door_end_turn(struct door *door);
uint64_t door_due_ns(const struct door *door);

#endif
