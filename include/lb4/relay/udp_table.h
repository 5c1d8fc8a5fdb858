/* The UDP sessions of one worker, found by who talks to whom: client address and asked address,
 * each with its port; and where another balancer stands between, which one. Hashes are keyed, so
 * that nobody can choose addresses that collide. It also counts how many sessions each client host
 * has. How many there may be is not its business (udp_share.h). No I/O, no clock. Used by its
 * worker alone. */
#ifndef LB4_RELAY_UDP_TABLE_H
#define LB4_RELAY_UDP_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/addr.h"
#include "lb4/base/siphash.h"

enum { UDP_TABLE_SIZE_MAX = 10000000 };

/* A client that stands behind a balancer before us, which told of it in a PROXY header. */
struct udp_via {
    struct addr peer;  /* the balancer: it sends, and gets the answers */
    struct addr asked; /* its address that the client sends to, as the header says */
};

struct udp_key {
    struct addr client;
    struct addr asked;         /* our address that datagrams are sent to, with the port */
    const struct udp_via *via; /* NULL: the client itself sends them */
};

/* Who sends the datagrams, and is answered. */
static inline const struct addr *udp_key_peer(const struct udp_key *key)
{
    return key->via ? &key->via->peer : &key->client;
}

bool udp_key_equal(const struct udp_key *a, const struct udp_key *b);

/* Embedded in the session. All but `key` is the table's. */
struct udp_entry {
    struct udp_entry *next; /* in its bucket */
    struct udp_key key;
    uint64_t hash;
    uint32_t host; /* which counter of hosts */
};

struct udp_table {
    struct siphash_key secret;
    struct udp_entry **buckets;
    uint32_t *hosts; /* sessions by hashed client host: may count two hosts as one, never too few */
    uint32_t n_slots; /* of buckets and of hosts: a power of two, at least `size` */
    uint32_t n_entries;
};

/* Made for `size` sessions, 1..UDP_TABLE_SIZE_MAX; it works with more, and gets slower. Returns 0,
 * -ENOMEM or -errno of getrandom(2). */
int udp_table_init(struct udp_table *table, uint32_t size);
/* All entries are out. Also of a table that is all zero. */
void udp_table_fini(struct udp_table *table);

/* NULL: no such session. */
struct udp_entry *udp_table_find(const struct udp_table *table, const struct udp_key *key);

/* Put a new entry in. No entry has this key. What key->via points to must live as long. */
void udp_table_add(struct udp_table *table, struct udp_entry *entry, const struct udp_key *key);
void udp_table_remove(struct udp_table *table, struct udp_entry *entry);

/* The counter of this client's host: for table->hosts, and the same as entry->host of each of its
 * sessions. */
uint32_t udp_table_host(const struct udp_table *table, const struct addr *client);

#endif
