#include "lb4/relay/udp_notice.h"

#include <stdio.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"

static const uint64_t EACH_NS = 1000 * CLOCK_NS_PER_MS;

void udp_notice_large(struct udp_notice *notice, const struct udp_large *large, uint64_t now_ns)
{
    char client[ADDR_TEXT_MAX];
    char others[64] = "";

    notice->n_unsaid += large->n;
    if (now_ns < notice->next_ns)
        return;
    if (notice->n_unsaid > 1)
        snprintf(others, sizeof(others), "; so were %llu others",
                 (unsigned long long)notice->n_unsaid - 1);
    notice->n_unsaid = 0;
    notice->next_ns = now_ns + EACH_NS;
    log_warn("service %s: dropped a datagram of client %s: with the PROXY header for server %s it "
             "is longer than a datagram can be%s",
             large->service, addr_format(large->client, client), large->server, others);
}
