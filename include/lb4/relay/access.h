/* Access lines: what became of a connection or UDP session, in one line of the log at its end, and,
 * where the service wants it, one each time an interval has passed (reason=live).
 *
 *    access client=10.0.0.9:51234 service=postgres server=db1 listener=10.0.0.1:5432 queue_ms=0
 *           connect_ms=0.4 total_ms=532 in=123 out=456 reason=client_fin tries=1
 *
 * (one line); of a UDP session with " transport=udp datagrams_in=1 datagrams_out=1" at its end.
 *    listener     the address and port that the client asked for
 *    queue_ms     that the client has waited for a server, or a place on one; 0 over UDP
 *    connect_ms   beside that until the server was connected, or the last one given up: all tries
 *                 together
 *    tries        servers that were asked
 *    in, out      bytes that the client, the server has sent
 * Where the service wants none, the end of each is a debug line.
 *
 * A connection that is not told of at intervals pays a branch at its begin and at its end. Thread:
 * the worker. */
#ifndef LB4_RELAY_ACCESS_H
#define LB4_RELAY_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/addr.h"
#include "lb4/base/log_event.h"
#include "lb4/loop/deadline.h"
#include "lb4/shared/service.h"

struct conn;
struct udp_session;

/* Connections, or sessions, until their next line. */
struct access_ticks {
    struct deadline_set set;
    struct deadline_list **lists; /* by service->index; NULL: no interval */
};

/* Of a worker. */
struct access {
    struct access_ticks tcp;
    struct access_ticks udp;
    uint64_t not_before_ns; /* the log had no room for more */
};

/* Returns 0 or -ENOMEM; access_fini() is due in any case. */
int access_init(struct access *access);
void access_fini(struct access *access);

/* The service is new, or has another plan. *ret_changed: connections that are there want
 * access_begin() anew. Returns 0 or -ENOMEM: nothing has changed. */
int access_adopt(struct access *access, const struct service *service, bool *ret_changed);

/* Until the next line of one that lives long. Few services have such lines: the memory comes with
 * the first interval, to a pointer of the connection or session. */
struct access_tick {
    struct deadline deadline;
    void *owner; /* struct conn or udp_session, as the ticks are */
};

/* The list of the service's intervals; NULL: it has none, as if `ticks` is NULL. */
static inline struct deadline_list *access_list(const struct access_ticks *ticks,
                                                const struct service *service)
{
    return ticks && ticks->lists ? ticks->lists[service->index] : NULL;
}

/* An interval of the owner begins, instead of the one that it is in. No memory: its end is all that
 * will be told. NULL for `list`: no interval. */
void access_begin(struct deadline_list *list, struct access_tick **tick, void *owner,
                  uint64_t now_ns);
/* The owner ends. */
void access_end(struct access_tick **tick);

/* Once a turn: lines of those whose interval is over, as long as the log has room. */
void access_expire(struct access *access, uint64_t now_ns);
/* When it is next needed; UINT64_MAX = never. */
uint64_t access_next_due_ns(const struct access *access);

enum { ACCESS_VALUES = 14 };

/* What is to be said of one that ends, taken before it gives up what is told here, and said after
 * that. */
struct access_line {
    bool is_wanted;
    bool is_debug; /* not wanted, but debug lines are */
    bool is_udp;
    struct addr asked;
    union log_value values[ACCESS_VALUES];
};

void access_note_conn(struct access_line *line, const struct conn *conn, uint64_t now_ns);
void access_note_session(struct access_line *line, const struct udp_session *session,
                         const char *reason, uint64_t now_ns);
void access_say(const struct access_line *line);

#endif
