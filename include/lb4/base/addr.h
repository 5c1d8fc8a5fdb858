/* An IPv4 or IPv6 address with a port, as a value.
 *
 * IPv4-mapped IPv6 addresses (::ffff:10.0.0.5, RFC 4291 section 2.5.5.2) are normalised to IPv4
 * wherever an address enters: addr_parse() and addr_normalise(). No I/O, no names: a host name is
 * the resolver's business. */
#ifndef LB4_BASE_ADDR_H
#define LB4_BASE_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct addr {
    union {
        struct sockaddr sa;
        struct sockaddr_in in4;
        struct sockaddr_in6 in6;
    };
};

enum { ADDR_TEXT_MAX = 64 }; /* "[v6%scope]:port" and its NUL */

/* Parse a numeric host, IPv6 without brackets ("10.0.0.5", "2001:db8::1", "fe80::1%eth0"). The port
 * becomes 0. Returns 0, or -EINVAL: not a numeric address; *ret is then untouched. */
int addr_parse(const char *host, struct addr *ret);

/* The wildcard of a family: AF_INET or AF_INET6. */
void addr_any(int family, uint16_t port, struct addr *ret);

/* Turn an IPv4-mapped IPv6 address into the IPv4 address, as accept4() on a dual-stack socket needs
 * it. */
void addr_normalise(struct addr *addr);

uint16_t addr_port(const struct addr *addr); /* host byte order */
void addr_set_port(struct addr *addr, uint16_t port);

/* Size for bind(2), connect(2) and sendto(2). */
socklen_t addr_length(const struct addr *addr);

/* Compared by fields: family, address, port, and the scope of link-local addresses. */
bool addr_equal(const struct addr *a, const struct addr *b);
bool addr_equal_host(const struct addr *a, const struct addr *b); /* the same without the port */

/* An order: by family, scope, address, then port. Below, equal to or above 0, as strcmp(3). */
int addr_compare_host(const struct addr *a, const struct addr *b);
int addr_compare(const struct addr *a, const struct addr *b);

bool addr_is_wildcard(const struct addr *addr);
bool addr_is_loopback(const struct addr *addr); /* 127.0.0.0/8 or ::1 */

/* "10.0.0.5:5432" or "[2001:db8::1]:5432" into `text`; returns `text`. */
const char *addr_format(const struct addr *addr, char text[static ADDR_TEXT_MAX]);

#endif
