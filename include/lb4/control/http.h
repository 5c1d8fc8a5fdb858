/* The clients of the HTTP listener: requests in, answers out (control/http_answer.h says what they
 * say). It only tells; nothing can be changed by it, and nobody is asked who he is. On a loopback
 * address a request by a name with a dot gets a 421: it is some web page's.
 *
 * One answer for each connection. At most HTTP_CLIENTS at a time, one more is told 503 at once; a
 * request must be there within 5 s; an answer must be taken within 60 s, with progress every 10 s.
 * All I/O is non-blocking, in the loop of the control thread; and one answer is written in a turn,
 * so that signals and operators wait for no more than one, however many ask at once. */
#ifndef LB4_CONTROL_HTTP_H
#define LB4_CONTROL_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/addr.h"
#include "lb4/base/list.h"
#include "lb4/control/door.h"
#include "lb4/control/snapshot.h"
#include "lb4/loop/loop.h"

enum {
    HTTP_CLIENTS = 16,
    HTTP_DESCRIPTORS = 1 + HTTP_CLIENTS + 1, /* the listener; one that is told to come later */
    HTTP_REPLY_MAX = 64 * 1024 * 1024,       /* chosen: 30,000 servers */
    HTTP_ERROR_MAX = 256
};

struct http {
    struct door door;
    struct loop *loop;
    const struct snapshot_from *from;
    struct list clients; /* of struct http_client (http.c) */
    struct list dead;    /* closed in this turn: their memory may stand in the batch */
    size_t n_clients;
    bool has_answered; /* in this turn */
    bool is_loopback;  /* the address it listens on */
};

/* Make http_close() harmless on an object that http_open() has not seen yet. */
void http_clear(struct http *http);

/* Listen there. Returns 0 or -errno with a sentence in `reterr`: -EADDRINUSE, -EADDRNOTAVAIL,
 * -EACCES, -EMFILE ... */
int http_open(struct http *http, const struct addr *at, char reterr[static HTTP_ERROR_MAX]);

/* Serve the socket, which http_open() has opened, in this loop. `from` outlives it. Returns 0 or
 * -errno of epoll_ctl(2). */
int http_start(struct http *http, struct loop *loop, const struct snapshot_from *from);

void http_close(struct http *http);

/* SOURCE_HTTP_LISTENER */
void http_on_listener(struct http *http);
/* SOURCE_HTTP_CLIENT */
void http_on_client(struct http *http, struct source *source, uint32_t bits);

/* When http_end_turn() has something to do without an event; UINT64_MAX = never. */
uint64_t http_due_ns(const struct http *http);
/* After every batch: who comes, time-outs, the memory of who has gone. */
void http_end_turn(struct http *http);

#endif
