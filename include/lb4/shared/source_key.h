/* What a source is: the network that a client's address lies in. Pure. */
#ifndef LB4_SHARED_SOURCE_KEY_H
#define LB4_SHARED_SOURCE_KEY_H

#include <stdint.h>

#include "lb4/base/addr.h"

enum { SOURCE_TEXT_MAX = ADDR_TEXT_MAX + 8 };

struct source_key {
    uint64_t net[2];
    uint64_t kind; /* family and bits of the prefix; never 0 */
};

struct source_key source_key_of(const struct addr *client, unsigned prefix4, unsigned prefix6);
/* "10.0.0.5", "10.0.0.0/24", "2001:db8::/64"; returns `text`. */
const char *source_format(const struct source_key *key, char text[static SOURCE_TEXT_MAX]);

#endif
