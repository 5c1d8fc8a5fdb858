#include "lb4/base/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "lb4/base/number.h"
#include "lb4/base/unix_path.h"

/* A scope is the name of an interface, or its number as addr_format() writes it for an interface
 * that has gone. */
static int parse_scope(const char *text, uint32_t *ret_scope)
{
    uint64_t number;

    *ret_scope = if_nametoindex(text);
    if (*ret_scope != 0)
        return 0;
    if (number_parse(text, 1, UINT32_MAX, &number) < 0)
        return -EINVAL;
    *ret_scope = (uint32_t)number;
    return 0;
}

static int parse_in6(const char *host, struct addr *ret)
{
    struct addr addr = {.in6 = {.sin6_family = AF_INET6}};
    const char *percent = strchrnul(host, '%');
    char digits[INET6_ADDRSTRLEN];
    size_t length = (size_t)(percent - host);

    if (length >= sizeof(digits))
        return -EINVAL;
    memcpy(digits, host, length);
    digits[length] = '\0';
    if (inet_pton(AF_INET6, digits, &addr.in6.sin6_addr) != 1)
        return -EINVAL;
    if (*percent != '\0') {
        /* Elsewhere the kernel ignores a scope, so there it can only be a mistake. */
        if (!IN6_IS_ADDR_LINKLOCAL(&addr.in6.sin6_addr))
            return -EINVAL;
        if (parse_scope(percent + 1, &addr.in6.sin6_scope_id) < 0)
            return -EINVAL;
    }
    addr_normalise(&addr);
    *ret = addr;
    return 0;
}

int addr_parse(const char *host, struct addr *ret)
{
    struct addr addr;

    memset(&addr, 0, sizeof(addr));
    addr.in4.sin_family = AF_INET;
    if (inet_pton(AF_INET, host, &addr.in4.sin_addr) != 1)
        return parse_in6(host, ret);
    *ret = addr;
    return 0;
}

void addr_any(int family, uint16_t port, struct addr *ret)
{
    memset(ret, 0, sizeof(*ret)); /* INADDR_ANY and in6addr_any are all zero */
    ret->sa.sa_family = (sa_family_t)family;
    addr_set_port(ret, port);
}

void addr_unix(uint32_t number, struct addr *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->un.family = AF_UNIX;
    ret->un.number = number;
}

void addr_unix_client(uint32_t number, struct addr *ret)
{
    addr_unix(number, ret);
    ret->un.is_client = true;
}

void addr_normalise(struct addr *addr)
{
    struct addr mapped;

    if (addr->sa.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&addr->in6.sin6_addr))
        return;
    memset(&mapped, 0, sizeof(mapped));
    mapped.in4.sin_family = AF_INET;
    mapped.in4.sin_port = addr->in6.sin6_port;
    memcpy(&mapped.in4.sin_addr, &addr->in6.sin6_addr.s6_addr[12], sizeof(mapped.in4.sin_addr));
    *addr = mapped;
}

uint16_t addr_port(const struct addr *addr)
{
    if (addr_is_unix(addr))
        return 0;
    return ntohs(addr->sa.sa_family == AF_INET6 ? addr->in6.sin6_port : addr->in4.sin_port);
}

void addr_set_port(struct addr *addr, uint16_t port)
{
    if (addr->sa.sa_family == AF_INET6)
        addr->in6.sin6_port = htons(port);
    else if (!addr_is_unix(addr))
        addr->in4.sin_port = htons(port);
}

bool addr_lacks_port(const struct addr *addr)
{
    return !addr_is_unix(addr) && addr_port(addr) == 0;
}

socklen_t addr_length(const struct addr *addr)
{
    return addr->sa.sa_family == AF_INET6 ? sizeof(addr->in6) : sizeof(addr->in4);
}

bool addr_equal_host(const struct addr *a, const struct addr *b)
{
    if (a->sa.sa_family != b->sa.sa_family)
        return false;
    if (addr_is_unix(a))
        return a->un.number == b->un.number && a->un.is_client == b->un.is_client;
    if (a->sa.sa_family != AF_INET6)
        return a->in4.sin_addr.s_addr == b->in4.sin_addr.s_addr;
    if (!IN6_ARE_ADDR_EQUAL(&a->in6.sin6_addr, &b->in6.sin6_addr))
        return false;
    return !IN6_IS_ADDR_LINKLOCAL(&a->in6.sin6_addr) ||
           a->in6.sin6_scope_id == b->in6.sin6_scope_id;
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
    return addr_equal_host(a, b) && addr_port(a) == addr_port(b);
}

static int compare_unix(const struct addr_unix *a, const struct addr_unix *b)
{
    if (a->number != b->number)
        return a->number < b->number ? -1 : 1;
    return (int)a->is_client - (int)b->is_client;
}

int addr_compare_host(const struct addr *a, const struct addr *b)
{
    if (a->sa.sa_family != b->sa.sa_family)
        return a->sa.sa_family < b->sa.sa_family ? -1 : 1;
    if (addr_is_unix(a))
        return compare_unix(&a->un, &b->un);
    if (a->sa.sa_family == AF_INET)
        return memcmp(&a->in4.sin_addr, &b->in4.sin_addr, sizeof(a->in4.sin_addr));
    if (a->in6.sin6_scope_id != b->in6.sin6_scope_id)
        return a->in6.sin6_scope_id < b->in6.sin6_scope_id ? -1 : 1;
    return memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr));
}

int addr_compare(const struct addr *a, const struct addr *b)
{
    int order = addr_compare_host(a, b);

    return order != 0 ? order : (int)addr_port(a) - (int)addr_port(b);
}

bool addr_is_wildcard(const struct addr *addr)
{
    if (addr->sa.sa_family == AF_INET6)
        return IN6_IS_ADDR_UNSPECIFIED(&addr->in6.sin6_addr);
    return !addr_is_unix(addr) && addr->in4.sin_addr.s_addr == htonl(INADDR_ANY);
}

bool addr_is_loopback(const struct addr *addr)
{
    if (addr->sa.sa_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&addr->in6.sin6_addr);
    return !addr_is_unix(addr) && ntohl(addr->in4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

static void format_scope(uint32_t scope, char text[static IF_NAMESIZE + 1])
{
    text[0] = '\0';
    if (scope == 0)
        return;
    text[0] = '%';
    if (if_indextoname(scope, text + 1) == NULL)
        snprintf(text + 1, IF_NAMESIZE, "%u", scope);
}

const char *addr_format(const struct addr *addr, char text[static ADDR_TEXT_MAX])
{
    char digits[INET6_ADDRSTRLEN];
    char scope[IF_NAMESIZE + 1];

    if (addr_is_unix(addr)) {
        snprintf(text, ADDR_TEXT_MAX, "unix:%s",
                 addr->un.is_client ? "" : unix_path_text(addr->un.number));
    } else if (addr->sa.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &addr->in6.sin6_addr, digits, sizeof(digits));
        format_scope(addr->in6.sin6_scope_id, scope);
        /* inet_ntop(3) writes 39 bytes at most: dotted quads only follow zeros and ffff. */
        snprintf(text, ADDR_TEXT_MAX, "[%.39s%s]:%u", digits, scope, addr_port(addr));
    } else {
        inet_ntop(AF_INET, &addr->in4.sin_addr, digits, sizeof(digits));
        snprintf(text, ADDR_TEXT_MAX, "%s:%u", digits, addr_port(addr));
    }
    return text;
}
