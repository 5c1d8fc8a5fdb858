/* What is said to a PostgreSQL server, and what its answer says about it (probe/talk.h). Pure.
 *
 * Without a user (the check's `send`): GSSENCRequest, "may I encrypt by GSSAPI?", which G or N
 * answers, and then nothing but a FIN. Of all that a postmaster answers before it knows who is
 * there, that alone leaves no line in its log: after SSLRequest's S a server with `ssl = on` (as
 * Debian's) complains of the TLS that did not come, of a key to cancel that nobody has it complains
 * too, and of a message cut short. It is answered by a process that the postmaster forked for it:
 * so the postmaster lives and forks; but also while the database starts, recovers, shuts down or
 * has no connection left, as none of that is looked at before a StartupMessage.
 *
 * With a user: StartupMessage. That a password is asked for is good, the FIN then is what psql does
 * before it asks its user, and leaves no line either; a server that lets us in is heard until it is
 * ready for a query. An error is wrong: "the database system is starting up", "sorry, too many
 * clients already", no entry in pg_hba.conf.
 *
 * Measured with PostgreSQL 15 and PgBouncer 1.18. */
#ifndef LB4_PROBE_DIALOGUE_POSTGRES_H
#define LB4_PROBE_DIALOGUE_POSTGRES_H

#include "lb4/probe/talk.h"

enum talk_step dialogue_postgres_open(struct talk *talk);
enum talk_step dialogue_postgres_hear(struct talk *talk);
enum talk_step dialogue_postgres_end(struct talk *talk);

#endif
