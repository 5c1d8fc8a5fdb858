/* What is said to a MySQL or MariaDB server, and what its answer says about it (probe/talk.h).
 * Pure.
 *
 * A connection that ends before it has logged in, or tried to, is one of those errors of which
 * max_connect_errors (100) in a row make the server block its peer's address, which here is the
 * address of all clients. So the check logs in, as the check's user (`send`; without one, lb4),
 * with an empty password: `access denied` is an answer and no such error. A login that succeeds is
 * ended by COM_QUIT. Errors that are not about the account are wrong, and so is any error in the
 * greeting's place: no client would get further.
 *
 * It says so before the server has greeted it. A server that was stopped for a while, or cannot
 * keep up, finds all the probes that were given up meanwhile when it goes on; each would be a
 * connection that ended too early, and the lot of them block the address. With the login in
 * the socket each is a login. That needs no challenge of the server's, as an empty password does
 * not depend on it.
 *
 * Measured with MariaDB 10.11. */
#ifndef LB4_PROBE_DIALOGUE_MYSQL_H
#define LB4_PROBE_DIALOGUE_MYSQL_H

#include "lb4/probe/talk.h"

enum talk_step dialogue_mysql_open(struct talk *talk);
enum talk_step dialogue_mysql_hear(struct talk *talk);
enum talk_step dialogue_mysql_end(struct talk *talk);

#endif
