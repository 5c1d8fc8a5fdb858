/* The operators' clients at the admin socket: who may ask, lines in, replies out (control/command.h
 * says what they mean).
 *
 * root and lb4's own uid may do everything (SO_PEERCRED, unix(7)); anybody else is told so and
 * closed. At most ADMIN_CLIENTS at a time; each has 10 s to send a line, and 10 s to take a reply.
 * A client may send several lines at once, end its side (shutdown(2)) or close: what it sent is
 * carried out in order. All I/O is non-blocking, in the loop of the control thread. */
#ifndef LB4_CONTROL_ADMIN_H
#define LB4_CONTROL_ADMIN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lb4/base/list.h"
#include "lb4/control/admin_socket.h"
#include "lb4/control/command.h"
#include "lb4/control/door.h"
#include "lb4/control/privileges.h"
#include "lb4/loop/loop.h"

enum {
    ADMIN_CLIENTS = 8,
    ADMIN_DESCRIPTORS = 1 + ADMIN_CLIENTS + 1, /* the listener; one that is told to come later */
    ADMIN_REPLY_MAX = 8 * 1024 * 1024,
    ADMIN_PATIENCE_MS = 10000
};

struct admin {
    struct admin_socket socket;
    struct door door;
    struct loop *loop;
    const struct snapshot_from *from;
    uid_t uid;           /* lb4's own */
    struct list clients; /* of struct admin_client (admin.c) */
    struct list dead;    /* closed in this turn: their memory may stand in the batch */
    size_t n_clients;
    uint64_t told_ns; /* the last time somebody was refused by uid, for the log; 0 = never */
};

/* Make admin_close() harmless on an object that admin_start() has not seen yet. */
void admin_clear(struct admin *admin);

/* Listen at "unix:/path", as the directive says it, on behalf of who lb4 will be. Returns 0 or
 * -errno with a sentence in `reterr` (control/admin_socket.h). */
int admin_open(struct admin *admin, const char *directive, const struct privileges_ids *ids,
               char reterr[static ADMIN_SOCKET_ERROR_MAX]);

/* Serve the socket, which admin_open() has opened, in this loop. `from` outlives it. Returns 0
 * or -errno of epoll_ctl(2). Call it as the user that lb4 stays. */
int admin_start(struct admin *admin, struct loop *loop, const struct snapshot_from *from);

/* Closes all clients, and removes the socket. */
void admin_close(struct admin *admin);

/* SOURCE_ADMIN_LISTENER */
void admin_on_listener(struct admin *admin);
/* SOURCE_ADMIN_CLIENT */
void admin_on_client(struct admin *admin, struct source *source, uint32_t bits);

/* When admin_end_turn() has something to do without an event; UINT64_MAX = never. */
uint64_t admin_due_ns(const struct admin *admin);
/* After every batch: commands that wait, time-outs, the memory of who has gone. */
void admin_end_turn(struct admin *admin);

#endif
