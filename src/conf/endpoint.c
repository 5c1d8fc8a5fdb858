#include "lb4/conf/endpoint.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lb4/base/number.h"
#include "lb4/conf/model.h"

enum { HOST_LABEL_MAX = 63 }; /* RFC 1035 section 2.3.4 */

static bool fail(char *reterr, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool fail(char *reterr, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(reterr, ENDPOINT_ERROR_MAX, format, args);
    va_end(args);
    return false;
}

static bool parse_port(const char *text, uint16_t *ret, char *reterr)
{
    uint64_t port;

    switch (number_parse(text, 1, UINT16_MAX, &port)) {
    case 0:
        *ret = (uint16_t)port;
        return true;
    case -ERANGE:
        return fail(reterr, "port %.20s is outside 1..65535", text);
    default:
        return fail(reterr, "the port is not a number in 1..65535");
    }
}

/* "5432" or "9000-9100" */
static bool parse_ports(const char *text, struct endpoint *ret, char *reterr)
{
    const char *dash = strchr(text, '-');
    char first[16];

    if (!dash) {
        if (!parse_port(text, &ret->first_port, reterr))
            return false;
        ret->last_port = ret->first_port;
        return true;
    }
    if ((size_t)(dash - text) >= sizeof(first))
        return fail(reterr, "the port is not a number in 1..65535");
    memcpy(first, text, (size_t)(dash - text));
    first[dash - text] = '\0';
    if (!parse_port(first, &ret->first_port, reterr) ||
        !parse_port(dash + 1, &ret->last_port, reterr))
        return false;
    if (ret->last_port < ret->first_port)
        return fail(reterr, "the range of ports %u-%u ends before it begins", ret->first_port,
                    ret->last_port);
    return true;
}

static bool label_is_valid(const char *label, size_t n)
{
    if (n == 0 || n > HOST_LABEL_MAX || label[0] == '-' || label[n - 1] == '-')
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isascii(label[i]) || (!isalnum(label[i]) && label[i] != '-' && label[i] != '_'))
            return false;
    return true;
}

/* A last label of digits is a mistyped IPv4 address, never a top-level domain (RFC 3696). */
static bool host_is_valid(const char *host)
{
    const char *last = host;

    if (strlen(host) > CONF_HOST_MAX)
        return false;
    for (const char *label = host; label; label = strchr(label, '.')) {
        label += label > host ? 1 : 0;
        if (!label_is_valid(label, strcspn(label, ".")))
            return false;
        last = label;
    }
    return last[strspn(last, "0123456789")] != '\0';
}

static bool parse_host(const char *host, struct endpoint *ret, char *reterr)
{
    ret->kind = ENDPOINT_ADDR;
    if (addr_parse(host, &ret->addr) == 0)
        return true;
    ret->kind = ENDPOINT_HOST;
    return host_is_valid(host) || fail(reterr, "not an address");
}

static bool parse_unix(const char *path, struct endpoint *ret, char *reterr)
{
    ret->kind = ENDPOINT_UNIX;
    if ((path[0] != '/' && path[0] != '@') || path[1] == '\0' || strlen(path) > CONF_PATH_MAX)
        return fail(reterr,
                    "unix: needs an absolute path of at most %d bytes, or @ and an abstract name",
                    CONF_PATH_MAX);
    return true;
}

/* "[2001:db8::1]" with what follows */
static bool parse_bracketed(const char *text, struct endpoint *ret, char *reterr)
{
    char host[ADDR_TEXT_MAX];
    const char *closing = strchr(text, ']');
    size_t n = closing ? (size_t)(closing - text) - 1 : 0;

    if (!closing || n >= sizeof(host) || (closing[1] != '\0' && closing[1] != ':'))
        return fail(reterr, "not an address");
    memcpy(host, text + 1, n);
    host[n] = '\0';
    ret->kind = ENDPOINT_ADDR;
    if (!strchr(host, ':') || addr_parse(host, &ret->addr) < 0)
        return fail(reterr, "no IPv6 address between the brackets");
    return closing[1] == '\0' || parse_ports(closing + 2, ret, reterr);
}

/* "10.0.0.5", "db.example", "" with or without ":PORTS" */
static bool parse_plain(const char *text, struct endpoint *ret, char *reterr)
{
    char host[CONF_HOST_MAX + 1];
    const char *colon = strchr(text, ':');
    size_t n = colon ? (size_t)(colon - text) : strlen(text);

    if (colon && strchr(colon + 1, ':'))
        return fail(reterr, "an IPv6 address needs brackets: [2001:db8::1]:5432");
    if (n >= sizeof(host))
        return fail(reterr, "a host name has at most %d bytes", CONF_HOST_MAX);
    memcpy(host, text, n);
    host[n] = '\0';
    if (colon && n == 0) {
        ret->kind = ENDPOINT_ANY;
        addr_any(AF_INET6, 0, &ret->addr);
    } else if (!parse_host(host, ret, reterr)) {
        return false;
    }
    return !colon || parse_ports(colon + 1, ret, reterr);
}

bool endpoint_parse(const char *text, struct endpoint *ret, char reterr[static ENDPOINT_ERROR_MAX])
{
    static const char unix_prefix[] = "unix:";
    bool is_valid;

    *ret = (struct endpoint){.kind = ENDPOINT_ADDR};
    if (strncmp(text, unix_prefix, sizeof(unix_prefix) - 1) == 0)
        return parse_unix(text + sizeof(unix_prefix) - 1, ret, reterr);
    is_valid = text[0] == '[' ? parse_bracketed(text, ret, reterr) : parse_plain(text, ret, reterr);
    if (is_valid && (ret->kind == ENDPOINT_ADDR || ret->kind == ENDPOINT_ANY))
        addr_set_port(&ret->addr, ret->first_port);
    return is_valid;
}

bool endpoint_check_cidr(const char *text, char reterr[static ENDPOINT_ERROR_MAX])
{
    char host[ADDR_TEXT_MAX];
    size_t n = strcspn(text, "/");
    struct addr addr;
    uint64_t bits;
    unsigned bits_max;

    if (n >= sizeof(host))
        return fail(reterr, "not a network; accepted: 10.0.0.0/8, 2001:db8::/32");
    memcpy(host, text, n);
    host[n] = '\0';
    if (addr_parse(host, &addr) < 0)
        return fail(reterr, "not a network; accepted: 10.0.0.0/8, 2001:db8::/32");
    bits_max = addr.sa.sa_family == AF_INET ? 32 : 128;
    if (text[n] == '/' && number_parse(text + n + 1, 0, bits_max, &bits) < 0)
        return fail(reterr, "the length of the prefix is outside 0..%u", bits_max);
    return true;
}

static bool addr_is_multicast(const struct addr *addr)
{
    if (addr->sa.sa_family == AF_INET)
        return IN_MULTICAST(ntohl(addr->in4.sin_addr.s_addr));
    return IN6_IS_ADDR_MULTICAST(&addr->in6.sin6_addr);
}

/* connect(2) and bind(2) answer EINVAL: which network is meant? (ipv6(7), sin6_scope_id) */
static bool addr_lacks_scope(const struct addr *addr)
{
    return addr->sa.sa_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&addr->in6.sin6_addr) &&
           addr->in6.sin6_scope_id == 0;
}

bool endpoint_can_listen(const struct addr *addr, const char **reterr)
{
    if (addr_is_multicast(addr))
        *reterr = "a multicast address; accepted: unicast addresses";
    else if (addr->sa.sa_family == AF_INET && addr->in4.sin_addr.s_addr == INADDR_BROADCAST)
        *reterr = "the broadcast address; accepted: unicast addresses";
    else if (addr_lacks_scope(addr))
        *reterr = "a link-local address needs its interface: [fe80::1%eth0]:5432";
    else
        return true;
    return false;
}

bool endpoint_can_connect(const struct addr *addr, const char **reterr)
{
    if (!addr_is_wildcard(addr))
        return endpoint_can_listen(addr, reterr);
    *reterr = "a wildcard is no server's address";
    return false;
}
