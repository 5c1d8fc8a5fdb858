/* The UDP relay of one worker: sessions between clients and servers.
 *
 * A session is the datagrams of one client address to one asked address. It has a socket of its
 * own, connected to its server, and one place on that server (backend_acquire), until it has been
 * silent for `timeout udp`, has got its `udp-responses`, or is evicted for want of room
 * (udp_share.h). It belongs to the worker whose listening socket got its first datagram: the
 * kernel's hash sends the others there too, as the number of sockets never changes (FAULTS.md K12).
 *
 * It moves to another server (rebind) when its own is down (unless `udp-on-down keep`) at its next
 * datagram, or refuses (ICMP): then at once, with the datagram that was lost if no answer came
 * since. Answers leave from the very address that the client asked.
 *
 * A turn: udp_on_listener() and udp_on_server() for the events of the batch, in any order, then
 * udp_end_turn(), which sends the answers. All functions: the worker's thread. */
#ifndef LB4_RELAY_UDP_H
#define LB4_RELAY_UDP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/addr.h"
#include "lb4/base/list.h"
#include "lb4/loop/deadline.h"
#include "lb4/loop/loop.h"
#include "lb4/relay/access.h"
#include "lb4/relay/udp_inbox.h"
#include "lb4/relay/udp_listener.h"
#include "lb4/relay/udp_outbox.h"
#include "lb4/relay/udp_share.h"
#include "lb4/relay/udp_table.h"
#include "lb4/shared/mailbox.h"
#include "lb4/shared/service.h"
#include "lb4/shared/stats.h"
#include "lb4/shared/udp_room.h"

/* Of one service. */
struct udp_service {
    struct deadline_list *timeout;
    struct udp_share share; /* of the service's room */
    struct udp_tally tally; /* of the lines of all its sessions, since it was last counted */
    struct list counted;    /* relay->uncounted, or on no list */
    uint64_t access_ns;     /* of the access lines of sessions that live; 0 = none */
};

/* Embedded in the worker, used by its thread alone. */
struct udp_relay {
    struct loop *loop;
    struct access *access; /* of the worker; NULL: no lines at intervals */
    struct stats_block *stats;
    struct mailbox *prober;
    struct udp_room *room; /* of the process */
    uint32_t n_workers;
    struct udp_table table;
    struct udp_share share; /* of `room` */
    uint32_t host_max;      /* sessions of one client host */
    uint64_t asked_ns;      /* for room; 0 = never */
    bool is_short;          /* places were missing since then */
    struct udp_inbox *inbox;
    struct udp_outbox *outbox;
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

/* End the sessions of this listener, which is to be closed. */
void udp_end_of_listener(struct udp_relay *relay, const struct udp_listener *listener);

/* Datagrams wait at a listener: takes one batch. What is left brings the next event. */
void udp_on_listener(struct udp_relay *relay, struct udp_listener *listener);
/* An event of a session's socket: answers, or an error. */
void udp_on_server(struct udp_relay *relay, struct source *source, uint32_t bits);

/* Once a turn, in this order: send what is to be sent, expire, free what was closed. */
void udp_end_turn(struct udp_relay *relay);
void udp_expire(struct udp_relay *relay);
void udp_reap(struct udp_relay *relay);
/* When udp_expire() is next due; UINT64_MAX = never. */
uint64_t udp_next_due_ns(const struct udp_relay *relay);

/* Behind a turn: true = there was no room for a client, and the other workers are to be told that
 * it was asked for (udp_room.h); and when another one has asked. */
bool udp_ask_for_room(struct udp_relay *relay);
void udp_give_room(struct udp_relay *relay);

/* From now on no new sessions; live ones end once they are silent for a second. */
void udp_start_draining(struct udp_relay *relay);
/* End every session. */
void udp_end_all(struct udp_relay *relay);

#endif
