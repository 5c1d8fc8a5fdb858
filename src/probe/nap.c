#include "lb4/probe/nap.h"

static const uint64_t GAP_MAX_NS = 16 * 1000000ull;

enum { PART_OF_INTERVAL = 128, PART_OF_TIMEOUT = 64 };

static uint64_t shorter(uint64_t a_ns, uint64_t b_ns)
{
    return a_ns < b_ns ? a_ns : b_ns;
}

void nap_init(struct nap *nap)
{
    *nap = (struct nap){.gap_ns = GAP_MAX_NS};
}

void nap_heed(struct nap *nap, uint64_t interval_ns, uint64_t timeout_ns)
{
    nap->gap_ns = shorter(nap->gap_ns, interval_ns / PART_OF_INTERVAL);
    nap->gap_ns = shorter(nap->gap_ns, timeout_ns / PART_OF_TIMEOUT);
}

uint64_t nap_take(struct nap *nap, uint64_t now_ns)
{
    uint64_t free_until_ns = now_ns + NAP_FREE * nap->gap_ns;

    if (nap->paid_ns < now_ns)
        nap->paid_ns = now_ns;
    nap->paid_ns += nap->gap_ns;
    if (nap->paid_ns <= free_until_ns)
        return 0;
    return shorter(nap->paid_ns - free_until_ns, nap->gap_ns);
}
