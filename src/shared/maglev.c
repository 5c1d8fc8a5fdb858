#include "lb4/shared/maglev.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/conf/bounds.h"

/* One size, whatever the number of servers: at a step from one size to another nearly all clients
 * would move. A larger one would share more evenly among thousands of servers, but cost each
 * service a megabyte and most of a cache. */
enum { N_ENTRIES = 65537, ENTRY_FREE = UINT16_MAX };

_Static_assert(CONF_SERVERS_MAX <= N_ENTRIES / 16, "16 entries for each server: see the header");

static const uint64_t seed_offset = 0x6c62345f6f666673;
static const uint64_t seed_skip = 0x6c62345f736b6970;
static const uint64_t seed_client = 0x6c62345f636c6e74;

/* splitmix64's finaliser: each bit of the input moves each bit of the output with even odds. */
static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* FNV-1a; its weak upper bits do not matter once mixed. */
static uint64_t hash_name(const char *name, uint64_t seed)
{
    uint64_t hash = 0xcbf29ce484222325u ^ seed;

    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3u;
    return mix(hash);
}

/* By value in network order, so that machines of either byte order agree; without the scope, which
 * is a number of this machine alone. All clients of Unix sockets are one. */
static uint64_t hash_host(const struct addr *addr)
{
    uint64_t halves[2];

    if (addr->sa.sa_family == AF_INET)
        return mix(mix(seed_client) ^ be32toh(addr->in4.sin_addr.s_addr));
    if (addr_is_unix(addr))
        return mix(seed_client);
    memcpy(halves, &addr->in6.sin6_addr, sizeof(halves));
    return mix(mix(mix(~seed_client) ^ be64toh(halves[0])) ^ be64toh(halves[1]));
}

/* One server's walk over the table: it visits every entry once, as the size is a prime. */
struct walk {
    const char *name;
    uint32_t weight;
    uint32_t at;
    uint32_t skip;
    uint16_t index;
    uint16_t end_of_weight; /* the first walk behind this one with another weight */
};

static int compare_walks(const void *left, const void *right)
{
    const struct walk *a = left;
    const struct walk *b = right;

    if (a->weight != b->weight)
        return a->weight > b->weight ? -1 : 1;
    return strcmp(a->name, b->name);
}

static void walks_init(struct walk *walks, const struct maglev_server *servers, size_t n_servers,
                       uint32_t n_entries)
{
    for (size_t i = 0; i < n_servers; i++) {
        const char *name = servers[i].name;

        walks[i] = (struct walk){
            .name = name,
            .weight = servers[i].weight,
            .at = (uint32_t)(hash_name(name, seed_offset) % n_entries),
            .skip = (uint32_t)(hash_name(name, seed_skip) % (n_entries - 1) + 1),
            .index = (uint16_t)i,
        };
    }
    /* From here on nothing depends on the order in which the servers were written. */
    qsort(walks, n_servers, sizeof(*walks), compare_walks);
    for (size_t i = n_servers; i-- > 0;) {
        bool is_last = i + 1 == n_servers || walks[i + 1].weight != walks[i].weight;

        walks[i].end_of_weight = is_last ? (uint16_t)(i + 1) : walks[i + 1].end_of_weight;
    }
}

/* A server of weight w takes its k-th turn (from 0) in round k * most / w, rounded up: the heaviest
 * in every round, and everyone in the first, so that nobody stays without an entry. */
static bool has_turn(uint64_t round, uint32_t weight, uint32_t most)
{
    return round == 0 || round * weight / most != (round - 1) * weight / most;
}

static void take_entry(struct maglev *maglev, struct walk *walk)
{
    uint32_t at = walk->at;

    while (maglev->entries[at] != ENTRY_FREE) {
        at += walk->skip;
        if (at >= maglev->n_entries)
            at -= maglev->n_entries;
    }
    maglev->entries[at] = walk->index;
    walk->at = at;
}

/* How many entries are filled after this round. */
static uint32_t fill_round(struct maglev *maglev, struct walk *walks, size_t n_servers,
                           uint64_t round, uint32_t n_filled)
{
    size_t i = 0;

    while (i < n_servers && n_filled < maglev->n_entries) {
        if (has_turn(round, walks[i].weight, walks[0].weight)) {
            take_entry(maglev, &walks[i++]);
            n_filled++;
        } else {
            i = walks[i].end_of_weight;
        }
    }
    return n_filled;
}

static void fill(struct maglev *maglev, struct walk *walks, size_t n_servers)
{
    uint32_t n_filled = 0;

    for (uint64_t round = 0; n_filled < maglev->n_entries; round++)
        n_filled = fill_round(maglev, walks, n_servers, round, n_filled);
}

int maglev_init(struct maglev *maglev, const struct maglev_server *servers, size_t n_servers)
{
    struct walk *walks = calloc(n_servers, sizeof(*walks));

    *maglev = (struct maglev){.n_entries = N_ENTRIES};
    maglev->entries = malloc(maglev->n_entries * sizeof(*maglev->entries));
    if (!walks || !maglev->entries) {
        free(walks);
        maglev_fini(maglev);
        return -ENOMEM;
    }
    memset(maglev->entries, 0xff, maglev->n_entries * sizeof(*maglev->entries));
    walks_init(walks, servers, n_servers, maglev->n_entries);
    fill(maglev, walks, n_servers);
    free(walks);
    return 0;
}

void maglev_fini(struct maglev *maglev)
{
    free(maglev->entries);
    *maglev = (struct maglev){0};
}

uint32_t maglev_position(const struct maglev *maglev, const struct addr *client)
{
    return (uint32_t)((hash_host(client) >> 32) * maglev->n_entries >> 32);
}
