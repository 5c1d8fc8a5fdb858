/* `affinity source`: a client's next connection, or UDP session, goes to the server that its last
 * one went to, for a time after that began, and for as long as it has any. Of a plan without it
 * nothing here is asked.
 *
 * It is a preference and never a reason to refuse: a server that is not usable, was tried, has no
 * place (`maxconn`), or ranks below another one that could be had does not hold its clients. Then
 * the policy decides, and the client is held where that sends it. Waiting for a place would be a
 * client's loss where others are idle: under `balance source`, where it waits, the policy says so.
 *
 * It is written at the choice, not when the connect has succeeded: a second connection may come
 * while the first one's connect is under way. */
#ifndef LB4_SHARED_AFFINITY_H
#define LB4_SHARED_AFFINITY_H

#include <stdbool.h>
#include <stdint.h>

#include "lb4/base/addr.h"
#include "lb4/shared/affinity_table.h"
#include "lb4/shared/choice.h"
#include "lb4/shared/place.h"
#include "lb4/shared/source_key.h"
#include "lb4/shared/stats_affinity.h"

/* One that comes: its connection's or session's own. */
struct affinity_visit {
    uint64_t now_ns;
    bool is_udp;                /* whom no `maxconn` of a server keeps away */
    struct affinity_hold *hold; /* its; affinity_leave() is owed */
};

static inline bool affinity_is_on(const struct service_plan *plan)
{
    return plan->affinity.lasts_ns > 0;
}

/* In the place of place_take() (of UDP: service_choose()), where affinity_is_on(). *ret_result
 * AFFINITY_NONE unless a place was taken. Thread: any worker. */
enum place_result affinity_take(struct service *service, const struct service_client *client,
                                const struct affinity_visit *visit, struct backend **ret,
                                enum affinity_result *ret_result);

/* The connection or session ends; of one that is not held nothing happens. */
static inline void affinity_leave(struct service *service, struct affinity_hold *hold)
{
    if (hold->slot > 0)
        affinity_table_leave(service->affinity, hold);
}

/* The same, by an operator's wish (kill, rebalance): its client may go anywhere, if it is held by
 * this server still. */
void affinity_break(struct service *service, const struct backend *backend,
                    struct affinity_hold *hold);

/* What is known of a client, and what follows; nothing is changed. */
struct affinity_view {
    bool is_known;    /* the rest is set */
    bool is_held;     /* it goes to `place`, whatever the policy says */
    bool is_present;  /* `place` still is the server's */
    const char *why;  /* not: "is gone", "is down" ...; constant */
    uint32_t place;   /* of the server; of no meaning if that is gone */
    uint32_t n_live;  /* connections and sessions that it has */
    uint64_t left_ns; /* 0: for as long as it has those */
};

/* `choice` as of one that spares nobody, of the service's own slots or of copies. */
void affinity_foresee(const struct choice *choice, const struct addr *client, uint64_t now_ns,
                      struct affinity_view *ret);

/* A plan that is built for the service gets what it needs for affinity, if it wants that. Returns 0
 * or -ENOMEM. Thread: control. */
int affinity_prepare(struct service *service, struct service_plan *plan);

/* Clients that are held now. Thread: control. */
size_t affinity_count(const struct service *service, uint64_t now_ns);

/* One of them. */
struct affinity_guest {
    struct affinity_key key;
    bool is_present; /* its server still is there, at `place` */
    uint32_t place;
    uint32_t n_live;
    uint64_t left_ns; /* 0: for as long as it has those */
};

/* From *at, which begins with 0, the next one. false: that was all. Thread: control. */
bool affinity_next(const struct service *service, uint64_t now_ns, size_t *at,
                   struct affinity_guest *ret);
/* "10.0.0.5", "2001:db8::/64"; returns `text`. */
const char *affinity_format(const struct service_affinity *affinity, const struct affinity_key *key,
                            char text[static SOURCE_TEXT_MAX]);

/* The address that counts, of IPv4 or IPv6: without port, cut to the prefix of the plan. */
struct affinity_key affinity_key_of(const struct service_affinity *affinity,
                                    const struct addr *client);

#endif
