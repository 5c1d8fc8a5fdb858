/* A network of IPv4 or IPv6 addresses, as a value: "10.0.0.0/8", "2001:db8::/32", or one address.
 *
 * IPv4-mapped networks (::ffff:10.0.0.0/104) become IPv4, as addresses do (base/addr.h). Bits
 * behind the prefix are zero; interfaces (%eth0) do not count. Pure. */
#ifndef LB4_BASE_PREFIX_H
#define LB4_BASE_PREFIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/addr.h"

struct prefix {
    uint8_t bytes[16]; /* in network order; of IPv4 the first four, the others are zero */
    uint8_t n_bits;    /* 0..32, 0..128 */
    bool is_ipv4;
};

enum { PREFIX_TEXT_MAX = 64, PREFIX_ERROR_MAX = 120 };

/* `text` has n bytes, and no NUL is needed. On false `reterr` says what is wrong, without the
 * input. *ret_is_exact, unless NULL: no bit was set behind the prefix. */
bool prefix_parse(const char *text, size_t n, struct prefix *ret, bool *ret_is_exact,
                  char reterr[static PREFIX_ERROR_MAX]);

/* "10.0.0.0/8"; of a single address without a length. Returns `text`. */
const char *prefix_format(const struct prefix *prefix, char text[static PREFIX_TEXT_MAX]);

/* An address of neither family is in no network. */
bool prefix_has(const struct prefix *prefix, const struct addr *addr);

/* An order: IPv4 first, then by first address, the wider first. As strcmp(3). */
int prefix_compare(const struct prefix *a, const struct prefix *b);

#endif
