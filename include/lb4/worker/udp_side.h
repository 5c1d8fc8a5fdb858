/* UDP in a worker: its listening sockets, and the relay behind them. Where no service listens on
 * UDP all of it is empty and costs nothing.
 *
 * Embedded in the worker; its thread alone, once it runs, but for udp_side_prepare(). Events go to
 * the relay directly (worker.c's switch). */
#ifndef LB4_WORKER_UDP_SIDE_H
#define LB4_WORKER_UDP_SIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/loop/loop.h"
#include "lb4/relay/udp.h"
#include "lb4/shared/mailbox.h"
#include "lb4/shared/service.h"
#include "lb4/shared/service_table.h"
#include "lb4/shared/stats.h"
#include "lb4/shared/udp_room.h"
#include "lb4/worker/listener.h"
#include "lb4/worker/listener_change.h"

struct udp_side {
    struct udp_relay relay;
    struct udp_listener *listeners; /* LISTENER_TABLE_MAX places, as in the listener table */
    size_t n_places; /* below may be open; 0: no UDP yet, nothing else is looked at */
    size_t n_open;
};

struct udp_side_options {
    struct loop *loop;
    struct access *access; /* of the worker, or NULL */
    struct refuse *refuse; /* of the worker */
    struct stats_block *stats;
    struct mailbox *prober;
    struct udp_room *room; /* of the process */
    const struct service_table *services;
    size_t worker;      /* whose sockets of the table */
    uint32_t n_workers; /* that share the room */
};

/* Memory for UDP, which a side has from its first listener on. Control; may be called while the
 * worker runs, as long as the side has had no listener, and again. Returns 0 or -errno. */
int udp_side_prepare(struct udp_side *side, const struct udp_side_options *options);

/* Takes the worker's UDP sockets of the table into the loop. Returns 0 or -errno; udp_side_fini()
 * is due in any case. */
int udp_side_init(struct udp_side *side, struct listener_table *table,
                  const struct udp_side_options *options);
/* All sessions have ended. Also of a side that is all zero. */
void udp_side_fini(struct udp_side *side);

/* A step of a reload, of a UDP listener. The side is prepared. Returns 0 or -errno of epoll_ctl(2):
 * the listener is deaf. */
int udp_side_take_step(struct udp_side *side, struct listener_table *table, size_t worker,
                       const struct listener_step *step);

/* Once a turn, behind its events. */
void udp_side_end_turn(struct udp_side *side, bool is_resetting);
uint64_t udp_side_next_due_ns(const struct udp_side *side);
uint32_t udp_side_live(const struct udp_side *side); /* sessions */

/* True: the other workers are to be told that this one has asked for room. */
bool udp_side_ask_for_room(struct udp_side *side);
/* Another one has. */
void udp_side_give_room(struct udp_side *side);

/* No new sessions; the sockets stay open. */
void udp_side_start_draining(struct udp_side *side);
/* No session is left, here or in any worker. */
void udp_side_close_listeners(struct udp_side *side);
bool udp_side_is_open(const struct udp_side *side);

#endif
