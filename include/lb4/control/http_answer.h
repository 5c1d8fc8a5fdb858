/* What the HTTP listener has to say: which path is which page, and the head before it.
 *
 *    /                 the live page               /ready           200; 503 while starting,
 * draining /metrics          Prometheus text             /ready/SERVICE   200; 503 also while no
 * server of /status.json      JSON                                         it takes new clients;
 * 404
 *
 * Thread: control. */
#ifndef LB4_CONTROL_HTTP_ANSWER_H
#define LB4_CONTROL_HTTP_ANSWER_H

#include "lb4/control/http_request.h"
#include "lb4/control/reply.h"
#include "lb4/control/snapshot.h"

/* The whole answer, head and body (HEAD: the head alone), into an empty reply. One that finds no
 * memory, or is too long, is a 500; without memory even for that the reply stays empty. The
 * connection ends with it. */
void http_answer(const struct snapshot_from *from, const struct http_request *request,
                 struct reply *reply);

/* The same for a status alone, with its name as the body. */
void http_answer_status(unsigned status, struct reply *reply);

#endif
