/* What is said to a MySQL server, and what its answer says about it (probe/talk.h). Pure. */
#ifndef LB4_PROBE_DIALOGUE_MYSQL_H
#define LB4_PROBE_DIALOGUE_MYSQL_H

#include "lb4/probe/talk.h"

enum talk_step dialogue_mysql_open(struct talk *talk);
enum talk_step dialogue_mysql_hear(struct talk *talk);
enum talk_step dialogue_mysql_end(struct talk *talk);

#endif
