/* PICK_FULL is set by who takes the last place and cleared by who frees one, two words apart from
 * `active`. Who sets it looks at `active` again, and takes it back if a place is free: both flags
 * are read-modify-writes of one word (acquire and release), so either the setter comes second and
 * sees the place that was freed, or the one who freed it does and clears the flag. */
#include "lb4/shared/place.h"

#include "lb4/shared/choice.h"
#include "lb4/shared/waiting.h"

static bool has_room(const struct backend *backend)
{
    uint32_t limit = backend_limit(backend);

    return limit == 0 || backend_active(backend) < limit;
}

static void clear_full(struct service *service, struct backend *backend)
{
    atomic_fetch_and_explicit(&backend->slot->standing, ~(uint32_t)PICK_FULL, memory_order_acq_rel);
    waiting_wake_next(service);
}

/* Who looked in vain while the flag was there, and should not have been, is woken. */
static void set_full(struct service *service, struct backend *backend)
{
    atomic_fetch_or_explicit(&backend->slot->standing, PICK_FULL, memory_order_acq_rel);
    if (has_room(backend))
        clear_full(service, backend);
}

bool place_take_at(struct service *service, struct backend *backend)
{
    uint32_t limit = backend_limit(backend);
    uint32_t before = backend_active(backend);

    if (limit == 0) {
        backend_acquire(backend);
        return true;
    }
    do {
        if (before >= limit) {
            set_full(service, backend);
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&backend->slot->active, &before, before + 1,
                                                    memory_order_acq_rel, memory_order_relaxed));
    if (before + 1 == limit)
        set_full(service, backend);
    return true;
}

/* Apart from load, from a ramp, and from being back for a moment only. */
static uint32_t kind_at(const struct choice *choice, size_t index)
{
    struct choice sparing_nobody = *choice;

    sparing_nobody.spares = PICK_SPARES_NOBODY;
    return choice_rank_of(&sparing_nobody, choice_standing_at(choice, index));
}

/* Is there one, with a place or without, that comes before the chosen one? */
static bool has_better(const struct choice *choice, const struct backend *chosen, uint32_t full)
{
    uint32_t kind = chosen ? kind_at(choice, chosen->index) : PICK_RANK_NONE;

    for (size_t i = 0; i < choice->plan->n_backends; i++) {
        uint32_t standing = choice_standing_at(choice, i);

        if ((standing & PICK_FULL) == full && kind_at(choice, i) > kind &&
            !pick_set_has(choice->tried, i))
            return true;
    }
    return false;
}

bool place_minds_full(const struct service_plan *plan)
{
    return plan->has_limits && plan->balance != CONF_BALANCE_SOURCE;
}

bool place_must_wait(const struct choice *choice, const struct backend *chosen)
{
    if (chosen && choice_standing_at(choice, chosen->index) & PICK_FULL)
        return true;
    return has_better(choice, chosen, PICK_FULL);
}

/* For one client, beside one for each server that UDP sessions have filled: only a TCP client marks
 * it PICK_FULL. Chosen: servers are full and free again as we look. */
enum { CHOICES_MAX = 16 };

static enum place_result take_limited(struct service *service, const struct service_client *client,
                                      struct backend **ret)
{
    struct choice choice = choice_begin(service, client);

    choice.minds_full = place_minds_full(choice.plan);
    for (size_t i = 0; i < CHOICES_MAX + choice.plan->n_backends; i++) {
        struct backend *chosen = choice_in_turn(&choice, client->addr);

        *ret = NULL;
        if (place_must_wait(&choice, chosen))
            return PLACE_FULL;
        if (has_better(&choice, chosen, 0)) /* it was full a moment ago */
            continue;
        if (!chosen)
            return PLACE_NOBODY;
        if (!choice_may_have(chosen) || !place_take_at(service, chosen))
            continue;
        *ret = chosen;
        return PLACE_TAKEN;
    }
    return PLACE_FULL;
}

enum place_result place_take(struct service *service, const struct service_client *client,
                             struct backend **ret)
{
    if (service_plan(service)->has_limits)
        return take_limited(service, client, ret);
    *ret = service_choose(service, client);
    return *ret ? PLACE_TAKEN : PLACE_NOBODY;
}

void place_give_back(struct service *service, struct backend *backend)
{
    uint32_t limit = backend_limit(backend);
    uint32_t before;

    if (limit == 0) {
        backend_release(backend);
        return;
    }
    before = atomic_fetch_sub_explicit(&backend->slot->active, 1, memory_order_acq_rel);
    if (before == limit || (before < limit && backend_standing(backend) & PICK_FULL))
        clear_full(service, backend);
}

void place_set_limit(struct service *service, struct backend *backend, uint32_t maxconn)
{
    atomic_store_explicit(&backend->maxconn, maxconn, memory_order_relaxed);
    if (has_room(backend))
        place_review(service, backend);
    else
        set_full(service, backend);
}

void place_review(struct service *service, struct backend *backend)
{
    if (has_room(backend) && backend_standing(backend) & PICK_FULL)
        clear_full(service, backend);
}
