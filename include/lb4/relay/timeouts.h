/* The deadlines of one service in one worker: lists are shared by equal durations, the connection's
 * state tells which one is meant. */
#ifndef LB4_RELAY_TIMEOUTS_H
#define LB4_RELAY_TIMEOUTS_H

#include "lb4/loop/deadline.h"

struct conn_timeouts {
    struct deadline_list *connect;
    struct deadline_list *idle;
    struct deadline_list *half_close;
    struct deadline_list *hold;  /* for a server; NULL: nobody waits */
    struct deadline_list *queue; /* for a place on one; NULL: the same */
};

#endif
