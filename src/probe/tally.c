#include "lb4/probe/tally.h"

#include <string.h>

static void forget_old(struct tally *tally, uint64_t part)
{
    if (part < tally->part || part - tally->part >= TALLY_PARTS) /* or of another length before */
        memset(tally->n, 0, sizeof(tally->n));
    else
        while (tally->part < part)
            tally->n[++tally->part % TALLY_PARTS] = 0;
    tally->part = part;
}

uint64_t tally_add(struct tally *tally, uint64_t within_ns, uint32_t n, uint64_t now_ns)
{
    uint64_t part_ns = within_ns / TALLY_PARTS;
    uint64_t sum = 0;

    forget_old(tally, now_ns / (part_ns ? part_ns : 1));
    tally->n[tally->part % TALLY_PARTS] += n;
    for (int i = 0; i < TALLY_PARTS; i++)
        sum += tally->n[i];
    return sum;
}
