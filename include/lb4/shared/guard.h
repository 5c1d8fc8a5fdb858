/* Who of a service's clients is let in by its limits, rates and bans (conf/guard.h).
 *
 * Exact over all workers: at no moment are more in than a limit allows. A limit that a reload
 * brings counts from then on. Of the questions the first that says no is the reason: is it banned,
 * has its rate room, is there a place for its source, has the service's rate room, is there a place
 * in the service. Nobody owes anything for a refusal, but for its count towards a ban. */
#ifndef LB4_SHARED_GUARD_H
#define LB4_SHARED_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#include "lb4/base/addr.h"
#include "lb4/conf/guard.h"
#include "lb4/shared/capacity.h"
#include "lb4/shared/rate.h"
#include "lb4/shared/refusal.h"
#include "lb4/shared/sources.h"

struct service;

/* Part of a plan; all zero = everybody is let in. */
struct guard_plan {
    bool is_on;
    bool has_sources; /* the service's table of sources is there */
    uint8_t prefix4;
    uint8_t prefix6;
    uint32_t per_source; /* 0 = no limit, as of the others */
    uint32_t maxconn;
    struct rate rate_source;
    struct rate rate_datagrams;
    struct rate rate;
    uint32_t ban_after;
    uint64_t ban_within_ns;
    uint64_t ban_for_ns;
};

struct guard_plan guard_plan_from(const struct conf_guard *conf);

/* Part of a service; what outlives its plans. All zero = nobody is in. */
struct guard {
    rate_debt arrivals; /* of all clients */
    struct capacity connections;
    struct sources *sources; /* made with the first plan that has some, then it stays; readers look
                                at it only if their plan has */
    rate_debt told;          /* lines of the log about bans */
    _Atomic uint32_t n_untold; /* bans since the last one */
    _Atomic uint64_t n_bans;   /* ever */
};

/* What a client that is in has taken. All zero: nothing. */
struct guard_places {
    struct source_entry *source;
    bool has_connection;
};

/* REFUSAL_NONE: it is in, and guard_leave() is owed. A session (UDP) takes no place of `maxconn`,
 * and its first datagram counts as one. Any worker. */
enum refusal guard_ask(struct service *service, const struct addr *client, bool is_session,
                       uint64_t now_ns, struct guard_places *ret);
void guard_leave(struct service *service, struct guard_places *places);

/* The client was refused, by the guard or by others: with `ban`, this counts, unless the reason is
 * not the client's doing, and may be one too many. */
void guard_note_refusal(struct service *service, const struct addr *client, enum refusal refusal,
                        uint64_t now_ns);

/* `n` datagrams of a session, `n_first` of which began it and are let in already: returns how many
 * are let in. To be asked only where the plan has a rate of datagrams. */
uint32_t guard_ask_datagrams(struct service *service, const struct addr *client,
                             struct guard_places *places, uint64_t now_ns, uint32_t n);
void guard_charge_datagrams(struct service *service, const struct guard_places *places,
                            uint64_t now_ns, uint32_t n);

/* Control. Before a plan with sources is seen: the table, for so many clients at once. Returns 0 or
 * -ENOMEM. */
int guard_prepare(struct guard *guard, const struct guard_plan *plan, uint64_t n_clients);
/* Before the plan `now` takes the place of `before`: bans end with the word, and with another
 * size of sources. Returns how many did. */
size_t guard_adopt(struct guard *guard, const struct guard_plan *before,
                   const struct guard_plan *now, uint64_t now_ns);
/* Nobody is in any more. */
void guard_fini(struct guard *guard);

/* Control, for an operator: the source of this address. false: it was not banned. */
bool guard_pardon(struct service *service, const struct addr *client, uint64_t now_ns);
/* All sources; returns how many were banned. */
size_t guard_pardon_all(struct service *service, uint64_t now_ns);

/* What the client would meet now. Control. */
struct guard_outlook {
    enum refusal refusal; /* REFUSAL_NONE = it would be let in */
    char source[SOURCE_TEXT_MAX];
    uint32_t n_live;    /* of its source */
    uint32_t n_refused; /* that count towards a ban */
    uint64_t banned_ns; /* for so much longer */
    uint32_t rate_room; /* that would be let in at once; UINT32_MAX = any number */
    uint32_t datagrams_room;
    uint32_t service_rate_room;
    uint32_t n_connections; /* of the service, of those that take a place of maxconn */
};
void guard_foresee(struct service *service, const struct addr *client, uint64_t now_ns,
                   struct guard_outlook *ret);

#endif
