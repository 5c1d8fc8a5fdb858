#include "net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static bool parse_v4(const char *host, uint16_t port, struct net_addr *ret_addr)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};

    if (inet_pton(AF_INET, host, &in.sin_addr) != 1)
        return false;
    memcpy(&ret_addr->storage, &in, sizeof(in));
    ret_addr->length = sizeof(in);
    return true;
}

static bool parse_v6(const char *host, uint16_t port, struct net_addr *ret_addr)
{
    struct sockaddr_in6 in = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

    if (inet_pton(AF_INET6, host, &in.sin6_addr) != 1)
        return false;
    memcpy(&ret_addr->storage, &in, sizeof(in));
    ret_addr->length = sizeof(in);
    return true;
}

bool net_parse(const char *text, struct net_addr *ret_addr)
{
    const char *colon = strrchr(text, ':');
    char host[64];
    char *end;

    if (!colon || (size_t)(colon - text) >= sizeof(host))
        return false;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (end == colon + 1 || *end || port == 0 || port > 65535)
        return false;

    size_t length = (size_t)(colon - text);
    bool is_bracketed = length > 2 && text[0] == '[' && colon[-1] == ']';
    memset(ret_addr, 0, sizeof(*ret_addr));
    snprintf(host, sizeof(host), "%.*s", (int)(length - (is_bracketed ? 2 : 0)),
             text + (is_bracketed ? 1 : 0));
    return is_bracketed ? parse_v6(host, (uint16_t)port, ret_addr)
                        : parse_v4(host, (uint16_t)port, ret_addr);
}

static void set_flag(int fd, int level, int option)
{
    int one = 1;
    (void)setsockopt(fd, level, option, &one, sizeof(one));
}

static int close_failed(int fd)
{
    int error = errno;
    close(fd);
    return -error;
}

int net_listen(const struct net_addr *addr, bool is_shared)
{
    int fd = socket(addr->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    set_flag(fd, SOL_SOCKET, SO_REUSEADDR);
    if (is_shared)
        set_flag(fd, SOL_SOCKET, SO_REUSEPORT);
    if (bind(fd, (const struct sockaddr *)&addr->storage, addr->length) < 0)
        return close_failed(fd);
    if (listen(fd, SOMAXCONN) < 0)
        return close_failed(fd);
    return fd;
}

int net_connect(const struct net_addr *addr)
{
    int fd = socket(addr->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    set_flag(fd, IPPROTO_TCP, TCP_NODELAY);
    if (connect(fd, (const struct sockaddr *)&addr->storage, addr->length) < 0 &&
        errno != EINPROGRESS)
        return close_failed(fd);
    return fd;
}

int net_accept(int listen_fd)
{
    int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0)
        return -errno;
    set_flag(fd, IPPROTO_TCP, TCP_NODELAY);
    return fd;
}

void net_close_reset(int fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};

    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(fd);
}

void net_prepare_process(void)
{
    struct rlimit limit;

    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

uint64_t net_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
