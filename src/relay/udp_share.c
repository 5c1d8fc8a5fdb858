#include "lb4/relay/udp_share.h"

#include <assert.h>
#include <stddef.h>

void udp_share_init(struct udp_share *share, struct udp_room *room)
{
    *share = (struct udp_share){.room = room};
    for (size_t i = 0; i < UDP_TIERS; i++)
        list_init(&share->tiers[i]);
}

struct udp_session *udp_share_longest(const struct udp_share *share, enum udp_tier tier)
{
    if (list_is_empty(&share->tiers[tier]))
        return NULL;
    return container_of(share->tiers[tier].next, struct udp_place, link)->session;
}

struct udp_session *udp_share_victim(const struct udp_share *share)
{
    static const enum udp_tier order[] = {UDP_TIER_ANSWERED, UDP_TIER_TRIAL, UDP_TIER_LASTING};
    struct udp_session *victim = NULL;

    for (size_t i = 0; !victim && i < sizeof(order) / sizeof(order[0]); i++)
        victim = udp_share_longest(share, order[i]);
    return victim;
}

struct udp_session *udp_share_spare(const struct udp_share *share)
{
    uint32_t n_proven =
        share->n[UDP_TIER_ANSWERED] + share->n[UDP_TIER_LASTING] + share->n[UDP_TIER_ESTABLISHED];

    if (share->n[UDP_TIER_TRIAL] > n_proven)
        return udp_share_longest(share, UDP_TIER_TRIAL);
    return udp_share_victim(share);
}

bool udp_share_take(struct udp_share *share, struct udp_session **ret_victim)
{
    if (!capacity_acquire(&share->room->trial.capacity)) {
        share->n_trial_short++;
        *ret_victim = udp_share_longest(share, UDP_TIER_TRIAL);
        return false;
    }
    if (capacity_acquire(&share->room->sessions.capacity))
        return true;
    capacity_release(&share->room->trial.capacity);
    share->n_sessions_short++;
    *ret_victim = udp_share_victim(share);
    return false;
}

void udp_share_untake(struct udp_share *share)
{
    capacity_release(&share->room->trial.capacity);
    capacity_release(&share->room->sessions.capacity);
}

static void enter_tier(struct udp_share *share, struct udp_place *place, enum udp_tier tier)
{
    place->tier = tier;
    list_append(&share->tiers[tier], &place->link);
    share->n[tier]++;
}

static void leave_tier(struct udp_share *share, struct udp_place *place)
{
    assert(share->n[place->tier] > 0);
    list_remove(&place->link);
    share->n[place->tier]--;
    if (place->tier == UDP_TIER_TRIAL)
        capacity_release(&share->room->trial.capacity);
}

void udp_share_enter(struct udp_share *share, struct udp_place *place, struct udp_session *session)
{
    place->session = session;
    enter_tier(share, place, UDP_TIER_TRIAL);
}

void udp_share_promote(struct udp_share *share, struct udp_place *place, enum udp_tier tier)
{
    if (place->tier >= tier)
        return;
    leave_tier(share, place);
    enter_tier(share, place, tier);
}

void udp_share_leave(struct udp_share *share, struct udp_place *place)
{
    leave_tier(share, place);
    capacity_release(&share->room->sessions.capacity);
}

/* What this worker could give up itself. */
static uint32_t count_evictable(const struct udp_share *share)
{
    return share->n[UDP_TIER_TRIAL] + share->n[UDP_TIER_ANSWERED] + share->n[UDP_TIER_LASTING];
}

bool udp_share_ask(struct udp_share *share)
{
    bool is_short = share->n_trial_short > 0 || share->n_sessions_short > 0;

    if (share->n_trial_short > 0)
        udp_quota_ask(&share->room->trial, share->n_trial_short, share->n[UDP_TIER_TRIAL]);
    if (share->n_sessions_short > 0)
        udp_quota_ask(&share->room->sessions, share->n_sessions_short, count_evictable(share));
    share->n_trial_short = 0;
    share->n_sessions_short = 0;
    return is_short;
}

struct udp_debt udp_share_debt(struct udp_share *share)
{
    return (struct udp_debt){udp_quota_owed(&share->room->trial, share->n[UDP_TIER_TRIAL]),
                             udp_quota_owed(&share->room->sessions, count_evictable(share))};
}
