/* Whether a client may come in: asked once for each connection and for each UDP session, when the
 * client's address is known (at the accept; behind a PROXY header if there is one), before a server
 * is chosen. Thread: the worker. */
#ifndef LB4_RELAY_ADMIT_H
#define LB4_RELAY_ADMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "lb4/base/addr.h"
#include "lb4/shared/guard.h"
#include "lb4/shared/refusal.h"
#include "lb4/shared/service.h"
#include "lb4/shared/stats.h"

/* What a client that is in has taken of limits, in its connection or session. All zero: nothing. */
struct admission {
    struct guard_places guard;
};

/* `is_session`: for a UDP session, not for a connection. REFUSAL_NONE: it is in, and admit_leave()
 * is owed when it ends. */
enum refusal admit_ask(struct service *service, const struct addr *client, bool is_session,
                       uint64_t now_ns, struct admission *ret);

/* The one way to end what admit_ask() began; of one that was never in, nothing happens. */
void admit_leave(struct service *service, struct admission *admission);

/* Refused before it could be asked, for its PROXY header: counts towards a ban. */
void admit_note_refusal(struct service *service, const struct addr *client, enum refusal refusal,
                        uint64_t now_ns);

/* CLOSE_DENIED or CLOSE_LIMIT; UDP_DROP_DENIED or UDP_DROP_LIMIT. */
enum close_reason admit_close_reason(enum refusal refusal);
enum udp_drop admit_drop_reason(enum refusal refusal);

#endif
