#include "lb4/relay/admit.h"

enum refusal admit_ask(struct service *service, const struct addr *client, bool is_session,
                       uint64_t now_ns, struct admission *ret)
{
    const struct prefix_map *access = addr_is_unix(client) ? NULL : service_plan(service)->access;
    enum refusal refusal = REFUSAL_DENIED;

    if (!access || prefix_map_allows(access, client))
        refusal = guard_ask(service, client, is_session, now_ns, &ret->guard);
    if (refusal != REFUSAL_NONE)
        guard_note_refusal(service, client, refusal, now_ns);
    return refusal;
}

void admit_note_refusal(struct service *service, const struct addr *client, enum refusal refusal,
                        uint64_t now_ns)
{
    guard_note_refusal(service, client, refusal, now_ns);
}

void admit_leave(struct service *service, struct admission *admission)
{
    guard_leave(service, &admission->guard);
}

enum close_reason admit_close_reason(enum refusal refusal)
{
    switch (refusal) {
    case REFUSAL_DENIED:
    case REFUSAL_BANNED:
    case REFUSAL_PEER:
    case REFUSAL_HEADER:
    case REFUSAL_HEADER_LATE:
        return CLOSE_DENIED;
    case REFUSAL_HEADER_FULL:
    case REFUSAL_PER_SOURCE:
    case REFUSAL_RATE_SOURCE:
    case REFUSAL_RATE:
    case REFUSAL_MAXCONN:
        return CLOSE_LIMIT;
    case REFUSAL_NONE:
        break;
    }
    return CLOSE_NONE;
}

enum udp_drop admit_drop_reason(enum refusal refusal)
{
    return admit_close_reason(refusal) == CLOSE_DENIED ? UDP_DROP_DENIED : UDP_DROP_LIMIT;
}
