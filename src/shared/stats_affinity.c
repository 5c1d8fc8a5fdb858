#include "lb4/shared/stats_affinity.h"

#include <stddef.h>

const char *affinity_result_word(enum affinity_result result)
{
    static const char *const words[] = {
        [AFFINITY_KEPT] = "kept",
        [AFFINITY_MOVED] = "moved",
        [AFFINITY_NEW] = "new",
        [AFFINITY_NONE] = "none",
    };

    return words[result];
}

void stats_add_affinity(const struct stats_affinity *from, struct stats_affinity_sum *sum)
{
    for (size_t i = 0; i < AFFINITY_RESULTS; i++)
        sum->choices[i] += stats_read(&from->choices[i]);
}

void stats_carry_affinity(struct stats_affinity_sum *to, const struct stats_affinity_sum *from)
{
    for (size_t i = 0; i < AFFINITY_RESULTS; i++)
        to->choices[i] += from->choices[i];
}
