/* The part of an attempt (probe/attempt.h) that holds a conversation over TCP (probe/talk.h): its
 * I/O. Of the prober's thread, as the attempt is.
 *
 * The socket is connected, non-blocking and edge-triggered: what can be sent is sent, what can be
 * read is read, before the kernel is waited for. */
#ifndef LB4_PROBE_CONVERSE_H
#define LB4_PROBE_CONVERSE_H

#include "lb4/probe/attempt.h"

/* Begin, and go on after an event. 0: all is as it should be. -EAGAIN: there is no verdict yet.
 * -EBADMSG: it is not, attempt->reason says what is wrong. Others: of send(2) and recv(2). */
int converse_open(struct attempt *attempt);
int converse(struct attempt *attempt);

/* Let the attempt have this reason, which may be a text of its talk, or NULL. */
void converse_keep_reason(struct attempt *attempt, const char *reason);

#endif
