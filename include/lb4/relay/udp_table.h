/* The UDP sessions of one worker, found by who talks to whom: client address and asked address,
 * each with its port. Memory for the largest number of sessions is bounded, hashes are keyed.
 *
 * Two tiers (FAULTS.md F82): a session is on trial until somebody has shown that the client is
 * really there; then it is established. When room is needed the oldest on trial goes, never an
 * established one. At most half of the places are for sessions on trial, and at most half of all
 * for one client host; half is rounded up. No I/O, no clock. Used by its worker alone. */
#ifndef LB4_RELAY_UDP_TABLE_H
#define LB4_RELAY_UDP_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/addr.h"
#include "lb4/base/list.h"
#include "lb4/base/siphash.h"

enum { UDP_TABLE_CAP_MAX = 10000000 };

struct udp_key {
    struct addr client;
    struct addr asked; /* our address that the client sends to, with the port */
};

/* Embedded in the session. All but `key` is the table's. */
struct udp_entry {
    struct udp_entry *next; /* in its bucket */
    struct list tier;       /* on table->trial, the oldest first, or table->established */
    struct udp_key key;
    uint64_t hash;
    uint32_t host; /* which counter of hosts */
    bool is_established;
};

struct udp_table {
    struct siphash_key secret;
    struct udp_entry **buckets;
    uint32_t *hosts; /* sessions by hashed client host: may count two hosts as one, never too few */
    uint32_t n_slots; /* of buckets and of hosts: a power of two, at least cap */
    struct list trial;
    struct list established; /* in the order in which they became so */
    uint32_t n_trial;
    uint32_t n_established;
    uint32_t cap;
};

/* Room for `cap` sessions, 1..UDP_TABLE_CAP_MAX. Returns 0, -ENOMEM or -errno of getrandom(2). */
int udp_table_init(struct udp_table *table, uint32_t cap);
/* All entries are out. Also of a table that is all zero. */
void udp_table_fini(struct udp_table *table);

/* NULL: no such session. */
struct udp_entry *udp_table_find(const struct udp_table *table, const struct udp_key *key);

enum udp_room {
    UDP_ROOM_FREE,  /* add it */
    UDP_ROOM_EVICT, /* *ret_victim, on trial, has to go first: remove it, then add */
    UDP_ROOM_HOST,  /* the client's host has its share */
    UDP_ROOM_NONE   /* everything is established */
};

/* Is there room for a new session of this client? A host that has its share may still replace a
 * session of its own, when that is the one on trial for longest. */
enum udp_room udp_table_room(const struct udp_table *table, const struct addr *client,
                             struct udp_entry **ret_victim);

/* Put a new entry in, on trial. There is room, and no entry has this key. */
void udp_table_add(struct udp_table *table, struct udp_entry *entry, const struct udp_key *key);
void udp_table_remove(struct udp_table *table, struct udp_entry *entry);

/* The client has proven to be there. May be called again. */
void udp_table_establish(struct udp_table *table, struct udp_entry *entry);

#endif
