/* What one worker holds of a room for UDP sessions that all workers share: of one service's, or of
 * the whole process's. A session has a place in both.
 *
 * Sessions stand in four tiers (FAULTS.md F82):
 *
 *    trial        nobody has answered, and the client has not come back
 *    answered     a server has; that proves nothing of the client, whose address may be forged
 *    lasting      the client came back a second or more after it began, and nobody ever answers
 *    established  the client came back after an answer
 *
 * Those on trial may fill half of the room, those that were answered all of it: so a flood that
 * nobody answers leaves half alone, and services with one question a client use the whole. When a
 * place is needed the longest on trial goes if their half is full, else the one that was answered
 * longest ago, else the longest on trial, else the longest lasting, which loses nothing but its
 * port: else two datagrams from each invented address would shut everybody out. Never an
 * established one.
 *
 * No I/O, no clock. Used by its worker alone, but for the quotas. */
#ifndef LB4_RELAY_UDP_SHARE_H
#define LB4_RELAY_UDP_SHARE_H

#include <stdbool.h>
#include <stdint.h>

#include "lb4/base/list.h"
#include "lb4/shared/udp_room.h"

enum udp_tier {
    UDP_TIER_TRIAL,
    UDP_TIER_ANSWERED,
    UDP_TIER_LASTING,
    UDP_TIER_ESTABLISHED,
    UDP_TIERS
};

struct udp_session;

/* Embedded in the session. */
struct udp_place {
    struct list link; /* of its tier */
    struct udp_session *session;
    enum udp_tier tier;
};

struct udp_share {
    struct udp_room *room;
    struct list tiers[UDP_TIERS]; /* of struct udp_place, the longest there first */
    uint32_t n[UDP_TIERS];
    uint32_t n_sessions_short; /* places that were missing since the last udp_share_ask() */
    uint32_t n_trial_short;
};

void udp_share_init(struct udp_share *share, struct udp_room *room);

/* Take a place of each quota. False: one is full, nothing was taken, and *ret_victim has to end
 * first, then try again; NULL: there is none here. Counts as missing in any case. */
bool udp_share_take(struct udp_share *share, struct udp_session **ret_victim);
/* Give back what udp_share_take() took, for a session that did not come about. */
void udp_share_untake(struct udp_share *share);

/* A session that starts on trial, with the places taken before. */
void udp_share_enter(struct udp_share *share, struct udp_place *place, struct udp_session *session);
/* To a higher tier; nothing to do if it is there. */
void udp_share_promote(struct udp_share *share, struct udp_place *place, enum udp_tier tier);
/* Gives the places back. */
void udp_share_leave(struct udp_share *share, struct udp_place *place);

/* Ask the other workers for what was missing. False: nothing was. */
bool udp_share_ask(struct udp_share *share);

/* What other workers have asked for: sessions of this one that are to end for them, by tier. */
struct udp_debt {
    uint32_t n_trial;
    uint32_t n_any; /* in the order of udp_share_victim() */
};
struct udp_debt udp_share_debt(struct udp_share *share);

/* The longest of this tier; the longest answered, else on trial, else lasting. NULL: there is none.
 */
struct udp_session *udp_share_longest(const struct udp_share *share, enum udp_tier tier);
struct udp_session *udp_share_victim(const struct udp_share *share);
/* Who goes where the machine has less than the room says, and no quota tells whose turn it is: the
 * longest on trial if those are more than half of what is here, else udp_share_victim(). */
struct udp_session *udp_share_spare(const struct udp_share *share);

#endif
