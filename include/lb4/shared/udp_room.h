/* How many UDP sessions there may be: of one service, or of the process, over all workers.
 *
 * A room has two quotas: of sessions, and of those that are on trial (relay/udp_share.h), which is
 * half of it. Limits are exact, whoever holds the places. When all are taken a worker makes room by
 * giving up a session of its own; the others' it cannot touch. One that has few or none to give up
 * asks instead, and whoever has more gives some up, to anybody who is quick: so what workers hold
 * follows from what their clients ask for. There is one ask at a time, the latest; to wake the
 * others is the asker's business. */
#ifndef LB4_SHARED_UDP_ROOM_H
#define LB4_SHARED_UDP_ROOM_H

#include <stdatomic.h>
#include <stdint.h>

#include "lb4/shared/capacity.h"

struct udp_quota {
    struct capacity capacity;
    _Atomic uint64_t ask; /* places asked for, 32 bits, and those that the asker has to give up */
};

struct udp_room {
    struct udp_quota sessions;
    struct udp_quota trial;
};

/* Half is rounded up, so that a room for one has room for something. */
void udp_room_init(struct udp_room *room, uint32_t n_sessions);

/* Control; what is in use beyond it stays. */
void udp_room_set_limit(struct udp_room *room, uint32_t n_sessions);

static inline uint32_t udp_room_limit(const struct udp_room *room)
{
    return capacity_limit(&room->sessions.capacity);
}

static inline uint32_t udp_room_used(const struct udp_room *room)
{
    return capacity_used(&room->sessions.capacity);
}

/* Any worker: it could use `n_wanted` places more, and has `n_mine` that it could give up. */
void udp_quota_ask(struct udp_quota *quota, uint32_t n_wanted, uint32_t n_mine);

/* Any worker: how many of the `n_mine` places that it could give up it owes to the one that has
 * asked: at most half of what it has more, and none while places are free. They count as given. */
uint32_t udp_quota_owed(struct udp_quota *quota, uint32_t n_mine);

#endif
