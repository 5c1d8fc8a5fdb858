/* Clients of one worker that wait for a server: parked, in the order in which they came, with
 * nothing of theirs read and no server's socket. Here is who waits, for what and until when;
 * relay/resume.h finds them servers. All functions: the worker's thread. */
#ifndef LB4_RELAY_PARKING_H
#define LB4_RELAY_PARKING_H

#include <stdbool.h>
#include <stdint.h>

#include "lb4/base/list.h"
#include "lb4/shared/waiting.h"

struct conn;
struct service_plan;
struct tcp_relay;

/* Those of one service. */
struct parking_room {
    struct list clients;  /* of struct conn, by conn->parked, in order of accept */
    struct list occupied; /* on parking->occupied while somebody is in it */
    struct service *service;
};

struct parking {
    struct parking_room *rooms; /* SERVICE_TABLE_MAX, by service->index */
    struct waiting_mark *marks; /* the same; other threads read them */
    struct list occupied;       /* of struct parking_room */
    uint64_t look_ns; /* look for servers then (relay/resume.h); UINT64_MAX = once woken */
    bool is_woken;    /* another thread has said so, since then */
    bool is_called;   /* while we look: it had */
    bool is_draining; /* lb4 is on its way out: nobody waits for a server any more */
};

/* Returns 0 or -ENOMEM; parking_fini() is due in any case. Nobody waits at its end. */
int parking_init(struct parking *parking);
void parking_fini(struct parking *parking);

/* What a client waits for that finds nobody now: the one or the other, by the plan. */
bool parking_is_open(const struct tcp_relay *relay, const struct service *service,
                     enum waiting_for what);

/* The connection waits from now on: CONN_WAITING. false: it may not, or so many do already; nothing
 * has changed. */
bool parking_enter(struct tcp_relay *relay, struct conn *conn, enum waiting_for what);

/* Its servers have no place for it any more, they are gone: it waits for one that returns. false:
 * it may not. */
bool parking_move_to_server(struct tcp_relay *relay, struct conn *conn);

/* It waits no more; CONN_CONNECTING to nobody, until the caller knows better. */
void parking_leave(struct tcp_relay *relay, struct conn *conn, enum waiting_end end);

/* How long it has waited in all. */
uint64_t parking_waited_ns(const struct conn *conn, uint64_t now_ns);

#endif
