/* Clients that are not let in: how they end, and what the log says of them. Whoever turns a client
 * away does it here, whatever the cause. Thread: the worker. */
#ifndef LB4_RELAY_REFUSE_H
#define LB4_RELAY_REFUSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/addr.h"
#include "lb4/loop/deadline.h"
#include "lb4/shared/refusal.h"
#include "lb4/shared/service.h"
#include "lb4/shared/stats.h"

struct conn;
struct tcp_relay;

/* Of a worker. */
struct refuse {
    struct stats_block *stats;
    struct service **untold;       /* whose notes (shared/refusal_note.h) are to be looked at again;
                                      by service->index, NULL = not */
    size_t n_untold;               /* indices below may be there */
    uint64_t due_ns;               /* when; UINT64_MAX = never */
    struct deadline_list *leaving; /* connections that were closed and may still say something */
    uint32_t n_leaving;
};

/* Returns 0 or -ENOMEM; refuse_fini() is due in any case. */
int refuse_init(struct refuse *refuse, struct stats_block *stats, struct deadline_set *deadlines);
void refuse_fini(struct refuse *refuse);

/* The one way to turn a TCP connection away: it is counted, told of, and ends as its service says
 * (`refuse reset|close|silent`). It is CONN_CLOSED afterwards or, for at most a second,
 * CONN_LEAVING: the FIN is sent, and what the client says meanwhile is thrown away, as a close(2)
 * with unread bytes would be a reset. `why` is not REFUSAL_NONE. */
void refuse_conn(struct tcp_relay *relay, struct conn *conn, enum refusal why);

/* Of one that is CONN_LEAVING: there is something to read; its time is over. */
void refuse_on_client(struct tcp_relay *relay, struct conn *conn);
void refuse_on_timeout(struct tcp_relay *relay, struct conn *conn);

/* Count and tell alone: a client of UDP whose datagram is dropped. */
void refuse_tell(struct refuse *refuse, struct service *service, const struct addr *client,
                 enum refusal why, uint64_t now_ns);

/* Once a turn: what is left to say, if the time has come. */
void refuse_expire(struct refuse *refuse, uint64_t now_ns);

#endif
