/* What is said to a Redis server, and what its answer says about it (probe/talk.h). Pure.
 *
 * Without a wanted role PING: +PONG is good, and so is -NOAUTH, as the server works and only wants
 * a password. All else is wrong, -LOADING and -MASTERDOWN too. With a role ROLE, of whose answer
 * the first element counts. No QUIT: a FIN is as polite, and Redis logs neither. */
#ifndef LB4_PROBE_DIALOGUE_REDIS_H
#define LB4_PROBE_DIALOGUE_REDIS_H

#include "lb4/probe/talk.h"

enum talk_step dialogue_redis_open(struct talk *talk);
enum talk_step dialogue_redis_hear(struct talk *talk);
enum talk_step dialogue_redis_end(struct talk *talk);

#endif
