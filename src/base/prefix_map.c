/* Compiling: of all networks, in the order of their first addresses and the wider first, those that
 * the present one lies within are a stack. What decides within a network is the earliest rule of it
 * and of those around it, so each entry of the stack carries that. At the beginning of a network,
 * and behind its end, the verdict may change; changes that would not be one are left out. */
#include "lb4/base/prefix_map.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/base/scope.h"

enum {
    STRIDE = 32, /* changes of a block, whose first one is in `heads`; chosen: two or four cache
                    lines of IPv4, eight of IPv6 */
    DEPTH_MAX = 130
};

struct wide { /* an address of IPv6, in the order of numbers */
    uint64_t high;
    uint64_t low;
};

struct prefix_map {
    uint32_t *narrow; /* of IPv4: where the verdict changes */
    uint32_t *narrow_heads;
    struct wide *wides; /* the same of IPv6 */
    struct wide *wide_heads;
    size_t n_narrow;
    size_t n_wide;
    bool first_narrow; /* the verdict before the first change */
    bool first_wide;
    bool others;
    uint32_t n_users;
};

/* --- looking up ------------------------------------------------------------------------------- */

static bool is_above(struct wide a, struct wide b)
{
    return a.high != b.high ? a.high > b.high : a.low > b.low;
}

/* How many of the first n are not above the address. */
static size_t count_narrow(const uint32_t *keys, size_t n, uint32_t address)
{
    size_t from = 0;

    while (n > 0) {
        size_t half = n / 2;

        if (keys[from + half] > address) {
            n = half;
        } else {
            from += half + 1;
            n -= half + 1;
        }
    }
    return from;
}

static size_t count_wide(const struct wide *keys, size_t n, struct wide address)
{
    size_t from = 0;

    while (n > 0) {
        size_t half = n / 2;

        if (is_above(keys[from + half], address)) {
            n = half;
        } else {
            from += half + 1;
            n -= half + 1;
        }
    }
    return from;
}

static size_t n_heads(size_t n)
{
    return (n + STRIDE - 1) / STRIDE;
}

/* The block that the count ends in: `at` is its first change, *ret_n how many it has. */
static size_t find_block(size_t n_heads_below, size_t n, size_t *ret_n)
{
    size_t at = (n_heads_below - 1) * STRIDE;

    *ret_n = n - at < STRIDE ? n - at : STRIDE;
    return at;
}

static bool allows_narrow(const struct prefix_map *map, uint32_t address)
{
    size_t n_below = count_narrow(map->narrow_heads, n_heads(map->n_narrow), address);
    size_t n;
    size_t at;

    if (n_below == 0)
        return map->first_narrow;
    at = find_block(n_below, map->n_narrow, &n);
    return map->first_narrow ^ ((at + count_narrow(map->narrow + at, n, address)) & 1);
}

static bool allows_wide(const struct prefix_map *map, struct wide address)
{
    size_t n_below = count_wide(map->wide_heads, n_heads(map->n_wide), address);
    size_t n;
    size_t at;

    if (n_below == 0)
        return map->first_wide;
    at = find_block(n_below, map->n_wide, &n);
    return map->first_wide ^ ((at + count_wide(map->wides + at, n, address)) & 1);
}

static struct wide wide_of(const uint8_t bytes[static 16])
{
    struct wide wide = {0, 0};

    for (size_t i = 0; i < 8; i++) {
        wide.high = wide.high << 8 | bytes[i];
        wide.low = wide.low << 8 | bytes[8 + i];
    }
    return wide;
}

bool prefix_map_allows(const struct prefix_map *map, const struct addr *addr)
{
    if (addr->sa.sa_family == AF_INET)
        return allows_narrow(map, ntohl(addr->in4.sin_addr.s_addr));
    if (addr->sa.sa_family == AF_INET6)
        return allows_wide(map, wide_of(addr->in6.sin6_addr.s6_addr));
    return map->others;
}

bool prefix_map_allows_nobody(const struct prefix_map *map)
{
    return !map->first_narrow && map->n_narrow == 0 && !map->first_wide && map->n_wide == 0;
}

size_t prefix_map_bytes(const struct prefix_map *map)
{
    return sizeof(*map) + (map->n_narrow + n_heads(map->n_narrow)) * sizeof(*map->narrow) +
           (map->n_wide + n_heads(map->n_wide)) * sizeof(*map->wides);
}

/* --- compiling -------------------------------------------------------------------------------- */

struct entry {
    struct prefix prefix;
    uint32_t rule;
};

/* A network that the sweep is within. */
struct level {
    struct wide last; /* its last address */
    uint32_t rule;    /* that decides here */
};

struct sweep {
    const struct prefix_rule *rules;
    size_t n_rules;
    bool allows_others;
    struct wide *changes;
    size_t n_changes;
    bool first;
    struct level levels[DEPTH_MAX];
    size_t n_levels;
};

static int compare_entries(const void *left, const void *right)
{
    const struct entry *a = left;
    const struct entry *b = right;
    int order = prefix_compare(&a->prefix, &b->prefix);

    return order != 0 ? order : (a->rule > b->rule) - (a->rule < b->rule);
}

/* Both families are swept as numbers of 128 bits; of IPv4 the upper 96 are zero. */
static struct wide first_of(const struct prefix *prefix)
{
    struct wide wide = wide_of(prefix->bytes);

    return prefix->is_ipv4 ? (struct wide){0, wide.high >> 32} : wide;
}

static struct wide last_of(const struct prefix *prefix)
{
    struct wide wide = first_of(prefix);
    unsigned n_host = (prefix->is_ipv4 ? 32u : 128u) - prefix->n_bits;

    if (n_host > 64)
        wide.high |= n_host - 64 < 64 ? (1ull << (n_host - 64)) - 1 : UINT64_MAX;
    wide.low |= n_host < 64 ? (1ull << n_host) - 1 : UINT64_MAX;
    return wide;
}

static bool verdict(const struct sweep *sweep, uint32_t rule)
{
    return rule < sweep->n_rules ? sweep->rules[rule].allows : sweep->allows_others;
}

static bool current(const struct sweep *sweep)
{
    return sweep->first ^ (sweep->n_changes & 1);
}

/* From `at` on, until the next call, it is this verdict; it may have been another for no address.
 */
static void change(struct sweep *sweep, struct wide at, bool allows)
{
    size_t n = sweep->n_changes;

    if (n > 0 && !is_above(at, sweep->changes[n - 1]))
        sweep->n_changes--;
    if (current(sweep) == allows)
        return;
    if (at.high == 0 && at.low == 0)
        sweep->first = allows;
    else
        sweep->changes[sweep->n_changes++] = at;
}

static uint32_t rule_here(const struct sweep *sweep)
{
    return sweep->n_levels > 0 ? sweep->levels[sweep->n_levels - 1].rule : (uint32_t)sweep->n_rules;
}

static void leave_level(struct sweep *sweep)
{
    struct wide next = sweep->levels[--sweep->n_levels].last;

    if (++next.low == 0 && ++next.high == 0)
        return; /* there is no address behind it */
    change(sweep, next, verdict(sweep, rule_here(sweep)));
}

static void take_entry(struct sweep *sweep, const struct entry *entry)
{
    struct wide first = first_of(&entry->prefix);
    uint32_t around;

    while (sweep->n_levels > 0 && is_above(first, sweep->levels[sweep->n_levels - 1].last))
        leave_level(sweep);
    around = rule_here(sweep);
    if (entry->rule >= around)
        return; /* what is around it decides */
    sweep->levels[sweep->n_levels++] = (struct level){last_of(&entry->prefix), entry->rule};
    change(sweep, first, verdict(sweep, entry->rule));
}

/* IPv4 ends at 2^32: a change there is of no address. */
static void sweep_family(struct sweep *sweep, const struct entry *entries, size_t n, bool is_ipv4)
{
    sweep->n_changes = 0;
    sweep->n_levels = 0;
    sweep->first = sweep->allows_others;
    for (size_t i = 0; i < n; i++)
        if (entries[i].prefix.is_ipv4 == is_ipv4)
            take_entry(sweep, &entries[i]);
    while (sweep->n_levels > 0)
        leave_level(sweep);
    if (is_ipv4 && sweep->n_changes > 0 && sweep->changes[sweep->n_changes - 1].low > UINT32_MAX)
        sweep->n_changes--;
}

static bool put_narrow(struct prefix_map *map, const struct sweep *sweep)
{
    map->first_narrow = sweep->first;
    map->n_narrow = sweep->n_changes;
    map->narrow = calloc(map->n_narrow + 1, sizeof(*map->narrow));
    map->narrow_heads = calloc(n_heads(map->n_narrow) + 1, sizeof(*map->narrow));
    if (!map->narrow || !map->narrow_heads)
        return false;
    for (size_t i = 0; i < map->n_narrow; i++) {
        map->narrow[i] = (uint32_t)sweep->changes[i].low;
        if (i % STRIDE == 0)
            map->narrow_heads[i / STRIDE] = map->narrow[i];
    }
    return true;
}

static bool put_wide(struct prefix_map *map, const struct sweep *sweep)
{
    map->first_wide = sweep->first;
    map->n_wide = sweep->n_changes;
    map->wides = calloc(map->n_wide + 1, sizeof(*map->wides));
    map->wide_heads = calloc(n_heads(map->n_wide) + 1, sizeof(*map->wides));
    if (!map->wides || !map->wide_heads)
        return false;
    for (size_t i = 0; i < map->n_wide; i++) {
        map->wides[i] = sweep->changes[i];
        if (i % STRIDE == 0)
            map->wide_heads[i / STRIDE] = map->wides[i];
    }
    return true;
}

static size_t count_prefixes(const struct prefix_rule *rules, size_t n_rules)
{
    size_t n = 0;

    for (size_t i = 0; i < n_rules; i++)
        n += rules[i].is_all ? 2 : rules[i].n_prefixes;
    return n;
}

static struct entry *list_entries(const struct prefix_rule *rules, size_t n_rules, size_t n)
{
    static const struct prefix whole[2] = {{.is_ipv4 = true}, {.is_ipv4 = false}};
    struct entry *entries = calloc(n + 1, sizeof(*entries));
    size_t at = 0;

    for (size_t i = 0; entries && i < n_rules; i++) {
        const struct prefix *prefixes = rules[i].is_all ? whole : rules[i].prefixes;
        size_t n_here = rules[i].is_all ? 2 : rules[i].n_prefixes;

        for (size_t k = 0; k < n_here; k++)
            entries[at++] = (struct entry){prefixes[k], (uint32_t)i};
    }
    if (entries)
        qsort(entries, n, sizeof(*entries), compare_entries);
    return entries;
}

static bool word_for_others(const struct prefix_rule *rules, size_t n_rules, bool allows_others)
{
    for (size_t i = 0; i < n_rules; i++)
        if (rules[i].is_all)
            return rules[i].allows;
    return allows_others;
}

static bool compile(struct prefix_map *map, struct sweep *sweep, const struct entry *entries,
                    size_t n)
{
    sweep_family(sweep, entries, n, true);
    if (!put_narrow(map, sweep))
        return false;
    sweep_family(sweep, entries, n, false);
    return put_wide(map, sweep);
}

struct prefix_map *prefix_map_new(const struct prefix_rule *rules, size_t n_rules,
                                  bool allows_others)
{
    size_t n = count_prefixes(rules, n_rules);
    scope_free struct entry *entries = list_entries(rules, n_rules, n);
    scope_free struct wide *changes = calloc(2 * n + 1, sizeof(*changes));
    struct prefix_map *map = calloc(1, sizeof(*map));
    struct sweep sweep = {
        .rules = rules, .n_rules = n_rules, .allows_others = allows_others, .changes = changes};

    if (map) {
        map->n_users = 1;
        map->others = word_for_others(rules, n_rules, allows_others);
    }
    if (entries && changes && map && compile(map, &sweep, entries, n))
        return map;
    prefix_map_release(map);
    return NULL;
}

struct prefix_map *prefix_map_hold(struct prefix_map *map)
{
    if (map)
        map->n_users++;
    return map;
}

void prefix_map_release(struct prefix_map *map)
{
    if (!map || --map->n_users > 0)
        return;
    free(map->narrow);
    free(map->narrow_heads);
    free(map->wides);
    free(map->wide_heads);
    free(map);
}
