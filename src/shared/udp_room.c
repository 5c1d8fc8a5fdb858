#include "lb4/shared/udp_room.h"

static void quota_init(struct udp_quota *quota, uint32_t limit)
{
    capacity_init(&quota->capacity, limit);
    atomic_init(&quota->ask, 0);
}

void udp_room_init(struct udp_room *room, uint32_t n_sessions)
{
    quota_init(&room->sessions, n_sessions);
    quota_init(&room->trial, n_sessions / 2 + n_sessions % 2);
}

void udp_room_set_limit(struct udp_room *room, uint32_t n_sessions)
{
    capacity_set_limit(&room->sessions.capacity, n_sessions);
    capacity_set_limit(&room->trial.capacity, n_sessions / 2 + n_sessions % 2);
}

void udp_quota_ask(struct udp_quota *quota, uint32_t n_wanted, uint32_t n_mine)
{
    atomic_store_explicit(&quota->ask, (uint64_t)n_wanted << 32 | n_mine, memory_order_relaxed);
}

/* Rounded up for one who has nothing at all: the last place goes, too. */
static uint32_t surplus(uint32_t n_mine, uint32_t n_askers)
{
    uint32_t n_more = n_mine > n_askers ? n_mine - n_askers : 0;

    return n_more / 2 + (n_askers == 0 ? n_more % 2 : 0);
}

uint32_t udp_quota_owed(struct udp_quota *quota, uint32_t n_mine)
{
    uint64_t ask = atomic_load_explicit(&quota->ask, memory_order_relaxed);
    uint32_t n_owed;

    if (capacity_used(&quota->capacity) < capacity_limit(&quota->capacity))
        return 0;
    do {
        uint32_t n_wanted = (uint32_t)(ask >> 32);

        n_owed = surplus(n_mine, (uint32_t)ask);
        if (n_owed > n_wanted)
            n_owed = n_wanted;
        if (n_owed == 0)
            return 0;
    } while (!atomic_compare_exchange_weak_explicit(&quota->ask, &ask,
                                                    ask - ((uint64_t)n_owed << 32),
                                                    memory_order_relaxed, memory_order_relaxed));
    return n_owed;
}
