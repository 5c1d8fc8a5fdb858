/* What the UDP sessions of one worker share. Thread: the worker, once it runs. */
#ifndef LB4_RELAY_UDP_RELAY_H
#define LB4_RELAY_UDP_RELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/addr.h"
#include "lb4/base/list.h"
#include "lb4/loop/deadline.h"
#include "lb4/loop/loop.h"
#include "lb4/relay/access.h"
#include "lb4/relay/refuse.h"
#include "lb4/relay/udp_inbox.h"
#include "lb4/relay/udp_listener.h"
#include "lb4/relay/udp_notice.h"
#include "lb4/relay/udp_outbox.h"
#include "lb4/relay/udp_share.h"
#include "lb4/relay/udp_table.h"
#include "lb4/shared/mailbox.h"
#include "lb4/shared/service.h"
#include "lb4/shared/stats.h"
#include "lb4/shared/udp_room.h"

struct service_table;

/* Of one service. */
struct udp_service {
    struct deadline_list *timeout;
    struct udp_share share; /* of the service's room */
    struct udp_tally tally; /* of the lines of all its sessions, since it was last counted */
    struct list counted;    /* relay->uncounted, or on no list */
    uint64_t access_ns;     /* of the access lines of sessions that live; 0 = none */
    struct udp_notice large;
};

/* Embedded in the worker, used by its thread alone. */
struct udp_relay {
    struct loop *loop;
    struct access *access; /* of the worker; NULL: no lines at intervals */
    struct refuse *refuse; /* of the worker */
    struct stats_block *stats;
    struct mailbox *prober;
    struct udp_room *room; /* of the process */
    uint32_t n_workers;
    struct udp_table table;
    struct udp_share share; /* of `room` */
    uint32_t host_max;      /* sessions of one client host */
    uint64_t asked_ns;      /* for room; 0 = never */
    bool is_short;          /* places were missing since then */
    bool has_freed_port; /* a session has just ended: a connect looks for a port, though there was
                            none a moment ago */
    struct udp_inbox *inbox;
    struct udp_outbox *outbox;
    struct udp_packet *unwrapped;      /* UDP_UNWRAP_MAX */
    size_t n_unwrapped;                /* that stand on lines */
    struct list live;                  /* of struct udp_session, the oldest first */
    struct list *cursor, *kill_cursor; /* in live: where sweeps go on; &live = at the end */
    struct list dead;                  /* closed in this turn */
    struct list touched;               /* of sessions: a client's datagrams are to be sent */
    struct list finished;  /* of sessions: all answers have come, they end with the turn */
    struct list uncounted; /* of struct udp_service: the tally is not in the stats yet */
    struct deadline_set deadlines;
    struct deadline_list *quiet;  /* while draining: sessions that were silent for a second go */
    struct deadline_list looks;   /* of listeners */
    struct udp_service *services; /* by service->index */
    size_t n_services;            /* indices below may be in use */
    uint64_t *listener_ports;     /* a bit for each port that a UDP listener of the process has */
    uint64_t random;
    uint32_t n_live;
    bool is_draining;
};

/* `loop`, `stats`, `prober`, `room` and `n_workers` are set by the caller. A room for none = no
 * service listens on UDP, and nothing is allocated. Returns 0, -ENOMEM or -errno of getrandom(2).
 */
int udp_relay_init(struct udp_relay *relay, const struct service_table *services);
/* All sessions have ended. Also of a relay that is all zero. */
void udp_relay_fini(struct udp_relay *relay);

/* The service is new, or has another plan: its timeout counts from now on. Returns 0, or -ENOMEM:
 * the one that it had goes on; a new one has none, and no sessions. */
int udp_relay_adopt(struct udp_relay *relay, struct service *service);

/* The room has, or may have, another limit: so has what one client host may have of it. */
void udp_relay_limit_hosts(struct udp_relay *relay);

/* A UDP listener of the process has this port, or none has it any more. */
void udp_relay_note_port(struct udp_relay *relay, uint16_t port, bool is_ours);

#endif
