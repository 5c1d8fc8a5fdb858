#include "lb4/probe/announce.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "lb4/base/addr.h"

/* Signature, version 2 and LOCAL, no family, nothing that follows. */
const uint8_t announce_local[ANNOUNCE_LOCAL_BYTES] = "\r\n\r\n\0\r\nQUIT\n\x20\0\0";

enum { LINE_MAX_BYTES = 108 };

static int say(int fd, const void *bytes, size_t n)
{
    ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);

    if (sent < 0)
        return errno;
    return (size_t)sent == n ? 0 : EPIPE;
}

static void host_of(const struct addr *addr, char text[static INET6_ADDRSTRLEN])
{
    bool is_ipv4 = addr->sa.sa_family == AF_INET;

    inet_ntop(addr->sa.sa_family,
              is_ipv4 ? (const void *)&addr->in4.sin_addr : (const void *)&addr->in6.sin6_addr,
              text, INET6_ADDRSTRLEN);
}

static int say_line(int fd)
{
    static const char unknown[] = "PROXY UNKNOWN\r\n"; /* a Unix socket's addresses */
    socklen_t lengths[2] = {sizeof(struct addr), sizeof(struct addr)};
    char hosts[2][INET6_ADDRSTRLEN];
    char line[LINE_MAX_BYTES];
    struct addr own = {0};
    struct addr server = {0};
    int n;

    if (getsockname(fd, &own.sa, &lengths[0]) < 0 || getpeername(fd, &server.sa, &lengths[1]) < 0)
        return errno;
    if (addr_is_unix(&own))
        return say(fd, unknown, sizeof(unknown) - 1);
    host_of(&own, hosts[0]);
    host_of(&server, hosts[1]);
    n = snprintf(line, sizeof(line), "PROXY TCP%c %s %s %u %u\r\n",
                 own.sa.sa_family == AF_INET ? '4' : '6', hosts[0], hosts[1], addr_port(&own),
                 addr_port(&server));
    return say(fd, line, (size_t)n);
}

int announce(int fd, int version)
{
    return version == 2 ? say(fd, announce_local, sizeof(announce_local)) : say_line(fd);
}
