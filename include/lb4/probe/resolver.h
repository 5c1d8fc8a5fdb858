/* Host names into addresses, all at the same time and with one deadline for the whole.
 *
 * getaddrinfo(3) may block for as long as resolv.conf(5) says and cannot be called off, so it runs
 * in a child process that is ended at the deadline: no thread is left behind. So it is before the
 * process has threads; later there is resolver_resolve_by_threads(). */
#ifndef LB4_PROBE_RESOLVER_H
#define LB4_PROBE_RESOLVER_H

#include <stddef.h>
#include <stdint.h>

#include "lb4/probe/lookup.h"

/* Fill addrs, n_addrs and error of each. Returns 0, -EINTR when it was given up because a
 * blocked SIGTERM, SIGINT or SIGQUIT is pending, or -errno when no child can be had. */
int resolver_resolve(struct resolver_name *names, size_t n_names, uint64_t timeout_ms);

/* The same once the process has threads. A child would hold copies of all descriptors: connections
 * that close would not end, and stay in epoll sets. So it is threads that look up; those whose
 * names take longer than the deadline end when getaddrinfo(3) lets them, and hold nothing but
 * memory of their own until then. Returns 0, -EINTR as above, or -errno. */
int resolver_resolve_by_threads(struct resolver_name *names, size_t n_names, uint64_t timeout_ms);

#endif
