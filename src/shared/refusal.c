#include "lb4/shared/refusal.h"

#include <stddef.h>

const char *refusal_word(enum refusal refusal)
{
    static const char *const words[] = {
        [REFUSAL_DENIED] = "denied",
        [REFUSAL_BANNED] = "banned",
        [REFUSAL_PEER] = "peer",
        [REFUSAL_HEADER] = "header",
        [REFUSAL_HEADER_LATE] = "header_late",
        [REFUSAL_HEADER_FULL] = "header_full",
        [REFUSAL_PER_SOURCE] = "per_source",
        [REFUSAL_RATE_SOURCE] = "rate_source",
        [REFUSAL_RATE] = "rate",
        [REFUSAL_MAXCONN] = "maxconn",
        [REFUSAL_NONE] = "none",
    };

    return words[refusal];
}

void stats_add_refusal(const struct stats_refusal *from, struct stats_refusal_sum *sum)
{
    for (size_t i = 0; i < REFUSALS; i++)
        sum->clients[i] += stats_read(&from->clients[i]);
}

void stats_carry_refusal(struct stats_refusal_sum *to, const struct stats_refusal_sum *from)
{
    for (size_t i = 0; i < REFUSALS; i++)
        to->clients[i] += from->clients[i];
}

uint64_t stats_refusal_total(const struct stats_refusal_sum *sum)
{
    uint64_t total = 0;

    for (size_t i = 0; i < REFUSALS; i++)
        total += sum->clients[i];
    return total;
}
