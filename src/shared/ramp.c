#include "lb4/shared/ramp.h"

static void add(struct ramp *ramp, uint32_t standing, struct pick_load load)
{
    uint32_t part = pick_part(standing);

    ramp->weight += load.weight;
    ramp->parts += (uint64_t)part * load.weight;
    if (part > 0)
        return;
    ramp->steady_weight += load.weight;
    ramp->steady_load += load.active + 1ull;
}

struct ramp ramp_sum(const struct choice *choice)
{
    struct ramp ramp = {.rank = PICK_RANK_NONE}; /* below the healthy nothing but rank counts */

    for (size_t i = 0; i < choice->plan->n_backends; i++) {
        uint32_t rank = choice_rank_at(choice, i);

        if (rank > ramp.rank)
            ramp = (struct ramp){.rank = rank};
        if (rank == ramp.rank && rank >= PICK_RANK_HEALTHY)
            add(&ramp, choice_standing_at(choice, i), choice_load_at(choice, i));
    }
    ramp.whole = PICK_PART_WHOLE * ramp.weight;
    if (ramp.steady_weight == 0 || ramp.parts > ramp.whole)
        ramp.whole = ramp.parts;
    return ramp;
}

uint64_t ramp_part_at(const struct choice *choice, const struct ramp *ramp, size_t index)
{
    uint64_t part = pick_part(choice_standing_at(choice, index));

    if (part == 0 || ramp->rank < PICK_RANK_HEALTHY || choice_rank_at(choice, index) != ramp->rank)
        return 0;
    return part * choice_load_at(choice, index).weight;
}

bool ramp_may_have(const struct choice *choice, const struct ramp *ramp, size_t index)
{
    struct pick_load load = choice_load_at(choice, index);
    uint64_t mine = (load.active + 1ull) * ramp->steady_weight;
    uint64_t theirs = ramp->steady_load * load.weight;

    if (ramp->steady_weight == 0 || !choice_follows_load(choice->plan))
        return true;
    if (pick_part(choice_standing_at(choice, index)) == PICK_PART_LEVEL)
        return mine < theirs;
    return mine <= 2 * theirs;
}

struct backend *ramp_turn(struct choice *choice)
{
    const uint32_t spares = choice->spares;
    struct backend *chosen = NULL;
    struct ramp ramp;
    uint64_t left;

    choice->spares = PICK_SPARES_NOBODY;
    ramp = ramp_sum(choice);
    left = ramp.parts > 0 ? choice_draw(choice, ramp.whole) : 0;
    for (size_t i = 0; ramp.parts > 0 && i < choice->plan->n_backends; i++) {
        uint64_t part = ramp_part_at(choice, &ramp, i);

        if (left < part) {
            chosen = ramp_may_have(choice, &ramp, i) ? &choice->service->backends[i] : NULL;
            break;
        }
        left -= part;
    }
    choice->spares = spares | PICK_SPARES_RAMPED;
    return chosen;
}
