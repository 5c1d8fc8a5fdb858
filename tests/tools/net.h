/* What the load tools need of sockets: literal addresses, non-blocking listeners and connections,
 * deliberate resets. On purpose without the daemon's own code, so that a fault there cannot hide
 * itself in the tool that looks for it. */
#ifndef LB4_TESTS_TOOLS_NET_H
#define LB4_TESTS_TOOLS_NET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct net_addr {
    struct sockaddr_storage storage;
    socklen_t length;
};

/* Parse "127.0.0.1:80" or "[::1]:80"; no names. Returns false if it is neither. */
bool net_parse(const char *text, struct net_addr *ret_addr);

/* A listening, non-blocking socket with the longest backlog; @is_shared adds SO_REUSEPORT (one
 * listener per thread). Returns the descriptor or -errno. */
int net_listen(const struct net_addr *addr, bool is_shared);

/* Start a non-blocking connect, TCP_NODELAY set. Returns the descriptor (EINPROGRESS is success) or
 * -errno. */
int net_connect(const struct net_addr *addr);

/* Accept one connection, non-blocking, TCP_NODELAY set. Returns the descriptor or -errno. */
int net_accept(int listen_fd);

/* Close with a RST instead of a FIN; bytes still queued are thrown away by the kernel (SO_LINGER,
 * socket(7)). */
void net_close_reset(int fd);

/* Raise RLIMIT_NOFILE to the hard limit and ignore SIGPIPE. */
void net_prepare_process(void);

/* Monotonic time. */
uint64_t net_now_ns(void);

#endif
