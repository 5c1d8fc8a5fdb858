/* What is said to a PostgreSQL server, and what its answer says about it (probe/talk.h). Pure. */
#ifndef LB4_PROBE_DIALOGUE_POSTGRES_H
#define LB4_PROBE_DIALOGUE_POSTGRES_H

#include "lb4/probe/talk.h"

enum talk_step dialogue_postgres_open(struct talk *talk);
enum talk_step dialogue_postgres_hear(struct talk *talk);
enum talk_step dialogue_postgres_end(struct talk *talk);

#endif
