#include "lb4/relay/admit.h"

enum refusal admit_ask(struct service *service, const struct addr *client, uint64_t now_ns,
                       struct admission *ret)
{
    const struct service_plan *plan = service_plan(service);

    (void)now_ns;
    *ret = (struct admission){0};
    if (plan->access && !prefix_map_allows(plan->access, client))
        return REFUSAL_DENIED;
    return REFUSAL_NONE;
}

void admit_leave(struct service *service, struct admission *admission)
{
    (void)service;
    *admission = (struct admission){0};
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
