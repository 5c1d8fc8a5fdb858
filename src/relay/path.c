#include "lb4/relay/path.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/socket.h>

enum { NEEDED = offsetof(struct tcp_info, tcpi_total_retrans) + sizeof(uint32_t) };

/* Before the handshake is over there is no round trip to tell of, and the kernel says 0. */
void path_read(int fd, struct path *ret)
{
    struct tcp_info info;
    socklen_t n_bytes = sizeof(info);

    *ret = (struct path){0};
    if (fd < 0 || getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n_bytes) < 0 || n_bytes < NEEDED ||
        info.tcpi_rtt == 0)
        return;
    *ret = (struct path){
        .is_known = true, .rtt_us = info.tcpi_rtt, .retransmits = info.tcpi_total_retrans};
}
