#include "lb4/control/sources_sum.h"

#include "lb4/base/clock.h"

bool sources_sum_add(const struct service *service, struct sources_sum *sum)
{
    const struct sources *sources = service->guard.sources;

    if (!sources)
        return false;
    sum->n += sources->n_tracked;
    sum->limit += sources->n_sets * SOURCES_WAYS;
    sum->n_evicted += sources->n_evicted;
    sum->n_shared += sources->n_shared;
    sum->n_banned += sources_count_bans(sources, clock_now_ns());
    sum->n_bans += service->guard.n_bans;
    return true;
}
