#include "lb4/base/prefix.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "lb4/base/number.h"

enum { BITS_IPV4 = 32, BITS_IPV6 = 128, BITS_MAPPED = 96, LENGTH_TEXT_MAX = 8 };

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff}; /* RFC 4291 section 2.5.5.2 */

static bool fail(char *reterr, const char *text)
{
    snprintf(reterr, PREFIX_ERROR_MAX, "%s", text);
    return false;
}

/* Clear what is behind the prefix; was there anything? */
static bool trim(struct prefix *prefix)
{
    bool is_exact = true;

    for (unsigned i = prefix->n_bits / 8; i < sizeof(prefix->bytes); i++) {
        unsigned kept = i == prefix->n_bits / 8 ? prefix->n_bits % 8 : 0;
        uint8_t mask = (uint8_t) ~(0xff >> kept);

        is_exact &= (prefix->bytes[i] & ~mask) == 0;
        prefix->bytes[i] &= mask;
    }
    return is_exact;
}

/* false: an IPv4-mapped address whose network is wider than all of IPv4. */
static bool unmap(struct prefix *prefix)
{
    if (prefix->is_ipv4 || memcmp(prefix->bytes, mapped, sizeof(mapped)) != 0)
        return true;
    if (prefix->n_bits < BITS_MAPPED)
        return false;
    memmove(prefix->bytes, prefix->bytes + sizeof(mapped), 4);
    memset(prefix->bytes + 4, 0, sizeof(prefix->bytes) - 4);
    prefix->n_bits -= BITS_MAPPED;
    prefix->is_ipv4 = true;
    return true;
}

static bool parse_host(const char *text, size_t n, struct prefix *ret)
{
    char host[INET6_ADDRSTRLEN];

    if (n == 0 || n >= sizeof(host) || memchr(text, '\0', n))
        return false;
    memcpy(host, text, n);
    host[n] = '\0';
    *ret = (struct prefix){.is_ipv4 = !strchr(host, ':')};
    return inet_pton(ret->is_ipv4 ? AF_INET : AF_INET6, host, ret->bytes) == 1;
}

static bool parse_length(const char *text, size_t n, unsigned max, uint64_t *ret)
{
    char length[LENGTH_TEXT_MAX];

    if (n == 0 || n >= sizeof(length))
        return false;
    memcpy(length, text, n);
    length[n] = '\0';
    return number_parse(length, 0, max, ret) == 0;
}

bool prefix_parse(const char *text, size_t n, struct prefix *ret, bool *ret_is_exact,
                  char reterr[static PREFIX_ERROR_MAX])
{
    const char *slash = memchr(text, '/', n);
    size_t n_host = slash ? (size_t)(slash - text) : n;
    uint64_t n_bits;
    bool is_exact;

    if (!parse_host(text, n_host, ret))
        return fail(reterr, "not a network; accepted: 10.0.0.0/8, 10.0.0.9, 2001:db8::/32");
    n_bits = ret->is_ipv4 ? BITS_IPV4 : BITS_IPV6;
    if (slash && !parse_length(slash + 1, n - n_host - 1, (unsigned)n_bits, &n_bits))
        return fail(reterr, ret->is_ipv4 ? "the length of the prefix is outside 0..32"
                                         : "the length of the prefix is outside 0..128");
    ret->n_bits = (uint8_t)n_bits;
    if (!unmap(ret))
        return fail(reterr, "IPv4-mapped networks have a length in 96..128");
    is_exact = trim(ret);
    if (ret_is_exact)
        *ret_is_exact = is_exact;
    return true;
}

const char *prefix_format(const struct prefix *prefix, char text[static PREFIX_TEXT_MAX])
{
    char host[INET6_ADDRSTRLEN] = "";
    unsigned bits_max = prefix->is_ipv4 ? BITS_IPV4 : BITS_IPV6;

    inet_ntop(prefix->is_ipv4 ? AF_INET : AF_INET6, prefix->bytes, host, sizeof(host));
    if (prefix->n_bits == bits_max)
        snprintf(text, PREFIX_TEXT_MAX, "%s", host);
    else
        snprintf(text, PREFIX_TEXT_MAX, "%s/%u", host, prefix->n_bits);
    return text;
}

bool prefix_has(const struct prefix *prefix, const struct addr *addr)
{
    const uint8_t *bytes;
    unsigned n_whole = prefix->n_bits / 8;
    unsigned n_rest = prefix->n_bits % 8;

    if (addr->sa.sa_family != (prefix->is_ipv4 ? AF_INET : AF_INET6))
        return false;
    bytes = prefix->is_ipv4 ? (const uint8_t *)&addr->in4.sin_addr : addr->in6.sin6_addr.s6_addr;
    if (memcmp(bytes, prefix->bytes, n_whole) != 0)
        return false;
    return n_rest == 0 || (uint8_t)(bytes[n_whole] >> (8 - n_rest)) ==
                              (uint8_t)(prefix->bytes[n_whole] >> (8 - n_rest));
}

int prefix_compare(const struct prefix *a, const struct prefix *b)
{
    int order = (int)b->is_ipv4 - (int)a->is_ipv4;

    if (order == 0)
        order = memcmp(a->bytes, b->bytes, sizeof(a->bytes));
    return order != 0 ? order : (int)a->n_bits - (int)b->n_bits;
}
