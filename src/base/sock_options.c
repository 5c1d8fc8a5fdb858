#include "lb4/base/sock_options.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static int set_int(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

int sock_attach(int fd, const char *interface, uint32_t mark)
{
    if (interface && interface[0] != '\0' &&
        setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface, (socklen_t)strlen(interface)) < 0)
        return -errno;
    return mark != 0 ? set_int(fd, SOL_SOCKET, SO_MARK, (int)mark) : 0;
}

void sock_tune_listener(int listener_fd, uint32_t fastopen, uint32_t defer_s)
{
    set_int(listener_fd, IPPROTO_TCP, TCP_FASTOPEN, (int)fastopen);
    set_int(listener_fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, (int)defer_s);
}

void sock_delay_ack(int fd)
{
    set_int(fd, IPPROTO_TCP, TCP_QUICKACK, 0);
}

void sock_limit_unsent(int fd, uint32_t bytes)
{
    set_int(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, (int)bytes);
}

size_t sock_unsent(int fd)
{
    int n = 0;

    return ioctl(fd, SIOCOUTQNSD, &n) == 0 && n > 0 ? (size_t)n : 0;
}
