#include "lb4/base/sock_vanish.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include "lb4/base/sock.h"

void sock_vanish(int fd)
{
    static const char loopback[] = "lo";
    const int hops = 1;

    if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, loopback, sizeof(loopback)) < 0) {
        setsockopt(fd, IPPROTO_IP, IP_TTL, &hops, sizeof(hops));
        setsockopt(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &hops, sizeof(hops));
    }
    sock_reset(fd);
}
