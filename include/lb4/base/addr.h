/* An IPv4 or IPv6 address with a port, or a Unix stream socket, as a value.
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

/* A path or an abstract name is too long to be carried in every connection: see base/unix_path.h.
 * Not for the kernel: base/sock.h knows how to bind and to connect it. */
struct addr_unix {
    sa_family_t family; /* AF_UNIX */
    bool is_client;     /* that came by this socket, and has no address of its own */
    uint32_t number;    /* 0 = none is known */
};

struct addr {
    union {
        struct sockaddr sa;
        struct sockaddr_in in4;
        struct sockaddr_in6 in6;
        struct addr_unix un;
    };
};

enum { ADDR_TEXT_MAX = 120 }; /* "[v6%scope]:port", "unix:/path", and its NUL */

/* Parse a numeric host, IPv6 without brackets ("10.0.0.5", "2001:db8::1", "fe80::1%eth0"). The port
 * becomes 0. Returns 0, or -EINVAL: not a numeric address; *ret is then untouched. */
int addr_parse(const char *host, struct addr *ret);

/* The wildcard of a family: AF_INET or AF_INET6. */
void addr_any(int family, uint16_t port, struct addr *ret);

/* The Unix socket of a number, or a client that came by it. */
void addr_unix(uint32_t number, struct addr *ret);
void addr_unix_client(uint32_t number, struct addr *ret);

static inline bool addr_is_unix(const struct addr *addr)
{
    return addr->sa.sa_family == AF_UNIX;
}

/* Turn an IPv4-mapped IPv6 address into the IPv4 address, as accept4() on a dual-stack socket needs
 * it. */
void addr_normalise(struct addr *addr);

/* In host byte order. A Unix socket has none: 0, and none can be set. */
uint16_t addr_port(const struct addr *addr);
void addr_set_port(struct addr *addr, uint16_t port);

/* An IP address whose port is 0; of a server, that clients choose the port. */
bool addr_lacks_port(const struct addr *addr);

/* Size for bind(2), connect(2) and sendto(2); IP only. */
socklen_t addr_length(const struct addr *addr);

/* Compared by fields: family, address, port, and the scope of link-local addresses; Unix sockets by
 * their number. */
bool addr_equal(const struct addr *a, const struct addr *b);
bool addr_equal_host(const struct addr *a, const struct addr *b); /* the same without the port */

/* An order: by family, scope, address, then port. Below, equal to or above 0, as strcmp(3). */
int addr_compare_host(const struct addr *a, const struct addr *b);
int addr_compare(const struct addr *a, const struct addr *b);

bool addr_is_wildcard(const struct addr *addr);
bool addr_is_loopback(const struct addr *addr); /* 127.0.0.0/8 or ::1 */

/* "10.0.0.5:5432", "[2001:db8::1]:5432", "unix:/path", "unix:@name", and of a client that came by a
 * Unix socket "unix:", into `text`; returns `text`. */
const char *addr_format(const struct addr *addr, char text[static ADDR_TEXT_MAX]);

#endif
