/* What is asked of an HTTP server, and what its answer says about it (probe/talk.h). Pure.
 *
 * GET, HTTP/1.1, the connection closed after it (RFC 9112). Only the status line is judged, at the
 * moment that it is there: what follows does not matter, and is not read for longer than a server
 * takes to hang up politely. */
#ifndef LB4_PROBE_DIALOGUE_HTTP_H
#define LB4_PROBE_DIALOGUE_HTTP_H

#include "lb4/probe/talk.h"

enum talk_step dialogue_http_open(struct talk *talk);
enum talk_step dialogue_http_hear(struct talk *talk);
enum talk_step dialogue_http_end(struct talk *talk);

#endif
