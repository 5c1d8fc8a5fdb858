/* A network namespace for the test process alone, with loopback up: what it changes there concerns
 * nobody else. */
#ifndef TEST_NETNS_H
#define TEST_NETNS_H

#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* <linux/ipv6.h> has it, and clashes with <netinet/in.h>. */
struct in6_ifreq {
    struct in6_addr ifr6_addr;
    uint32_t ifr6_prefixlen;
    int ifr6_ifindex;
};

/* MTU of lo; false without the privilege. */
static inline bool netns_set_mtu(int mtu)
{
    struct ifreq request = {.ifr_mtu = mtu};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool is_set;

    memcpy(request.ifr_name, "lo", 3);
    is_set = fd >= 0 && ioctl(fd, SIOCSIFMTU, &request) == 0;
    close(fd);
    return is_set;
}

/* A further IPv6 address of lo; false without the privilege. */
static inline bool netns_add_addr6(const struct in6_addr *addr)
{
    struct in6_ifreq request = {.ifr6_addr = *addr, .ifr6_prefixlen = 128, .ifr6_ifindex = 1};
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool is_added = fd >= 0 && ioctl(fd, SIOCSIFADDR, &request) == 0;

    close(fd);
    return is_added;
}

/* False where the kernel does not allow it; then nothing has changed. */
static inline bool netns_enter(void)
{
    struct ifreq request = {.ifr_flags = IFF_UP};
    bool is_up;
    int fd;

    if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        return false;
    memcpy(request.ifr_name, "lo", 3);
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    is_up = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    close(fd);
    return is_up;
}

#endif
