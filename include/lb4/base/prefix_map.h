/* Who may come in: ordered rules over networks, compiled for look-ups.
 *
 * The first rule that has the address decides; where none has it, the map's own word does. Since
 * networks lie within each other or apart, that is the same as a set of ranges, each allowed or
 * denied, and neighbours of one verdict are one range. What is kept are the addresses at which the
 * verdict changes, in order: a look-up counts those that are not above an address. It takes two
 * binary searches, of a few cache lines.
 * Memory: at most two changes for each network, of 4 bytes (IPv4) or 16 (IPv6), and a sixteenth
 * more: 100,000 networks of IPv4 are 0.85 MB, of IPv6 3.4 MB.
 *
 * Immutable; any thread may ask. Its users are counted by one thread at a time (control, and who
 * reads the configuration before control has it). */
#ifndef LB4_BASE_PREFIX_MAP_H
#define LB4_BASE_PREFIX_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/prefix.h"

struct prefix_rule {
    bool allows;
    bool is_all;                   /* every address, of whatever family */
    const struct prefix *prefixes; /* the caller's; not if is_all */
    size_t n_prefixes;
};

struct prefix_map;

/* `rules` in their order; together at most UINT32_MAX / 2 networks. NULL: no memory. The caller is
 * its user. */
struct prefix_map *prefix_map_new(const struct prefix_rule *rules, size_t n_rules,
                                  bool allows_others);

/* One more user, one less: the last one frees it. NULL is fine. */
struct prefix_map *prefix_map_hold(struct prefix_map *map);
void prefix_map_release(struct prefix_map *map);

/* Is the address (normalised, base/addr.h) allowed? One of neither family has what `all`, or the
 * map's own word, says. */
bool prefix_map_allows(const struct prefix_map *map, const struct addr *addr);

/* Is nobody allowed, whatever the address? */
bool prefix_map_allows_nobody(const struct prefix_map *map);

size_t prefix_map_bytes(const struct prefix_map *map); /* that it takes */

#endif
