#include "lb4/relay/udp_table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* An address as bytes that are equal exactly when addr_equal() says so: what follows the family is
 * the host, then the scope where it counts. */
enum { HOST_BYTES_MAX = 1 + 16 + 4, KEY_BYTES_MAX = 2 * (HOST_BYTES_MAX + 2) };

static size_t write_host(uint8_t *to, const struct addr *addr)
{
    if (addr->sa.sa_family != AF_INET6) {
        to[0] = 4;
        memcpy(to + 1, &addr->in4.sin_addr, 4);
        return 5;
    }
    to[0] = 6;
    memcpy(to + 1, &addr->in6.sin6_addr, 16);
    if (!IN6_IS_ADDR_LINKLOCAL(&addr->in6.sin6_addr))
        return 17;
    memcpy(to + 17, &addr->in6.sin6_scope_id, 4);
    return HOST_BYTES_MAX;
}

static size_t write_addr(uint8_t *to, const struct addr *addr)
{
    size_t n_bytes = write_host(to, addr);
    uint16_t port = addr_port(addr);

    memcpy(to + n_bytes, &port, sizeof(port));
    return n_bytes + sizeof(port);
}

static uint64_t hash_key(const struct udp_table *table, const struct udp_key *key)
{
    uint8_t bytes[KEY_BYTES_MAX];
    size_t n_bytes = write_addr(bytes, &key->client);

    n_bytes += write_addr(bytes + n_bytes, &key->asked);
    return siphash(&table->secret, bytes, n_bytes);
}

static uint32_t slot_of(const struct udp_table *table, uint64_t hash)
{
    return (uint32_t)hash & (table->n_slots - 1);
}

static uint32_t slot_of_host(const struct udp_table *table, const struct addr *client)
{
    uint8_t bytes[HOST_BYTES_MAX];

    return slot_of(table, siphash(&table->secret, bytes, write_host(bytes, client)));
}

static bool is_key(const struct udp_entry *entry, uint64_t hash, const struct udp_key *key)
{
    return entry->hash == hash && addr_equal(&entry->key.client, &key->client) &&
           addr_equal(&entry->key.asked, &key->asked);
}

/* Half of the places, rounded up so that a table of one has room for something. */
static uint32_t half(const struct udp_table *table)
{
    return (table->cap + 1) / 2;
}

int udp_table_init(struct udp_table *table, uint32_t cap)
{
    int rc;

    assert(cap >= 1 && cap <= UDP_TABLE_CAP_MAX);
    *table = (struct udp_table){.cap = cap, .n_slots = 1};
    list_init(&table->trial);
    list_init(&table->established);
    rc = siphash_key_init(&table->secret);
    if (rc < 0)
        return rc;
    while (table->n_slots < cap)
        table->n_slots *= 2;
    table->buckets = calloc(table->n_slots, sizeof(struct udp_entry *));
    table->hosts = calloc(table->n_slots, sizeof(uint32_t));
    if (table->buckets != NULL && table->hosts != NULL)
        return 0;
    udp_table_fini(table);
    return -ENOMEM;
}

void udp_table_fini(struct udp_table *table)
{
    assert(table->n_trial == 0 && table->n_established == 0);
    free(table->buckets);
    free(table->hosts);
    table->buckets = NULL;
    table->hosts = NULL;
}

struct udp_entry *udp_table_find(const struct udp_table *table, const struct udp_key *key)
{
    uint64_t hash = hash_key(table, key);
    struct udp_entry *entry = table->buckets[slot_of(table, hash)];

    while (entry != NULL && !is_key(entry, hash, key))
        entry = entry->next;
    return entry;
}

enum udp_room udp_table_room(const struct udp_table *table, const struct addr *client,
                             struct udp_entry **ret_victim)
{
    uint32_t host = slot_of_host(table, client);
    struct udp_entry *oldest = NULL;

    if (!list_is_empty(&table->trial))
        oldest = container_of(table->trial.next, struct udp_entry, tier);
    if (table->hosts[host] >= half(table)) {
        if (oldest == NULL || oldest->host != host)
            return UDP_ROOM_HOST;
    } else if (table->n_trial < half(table) && table->n_trial + table->n_established < table->cap) {
        return UDP_ROOM_FREE;
    } else if (oldest == NULL) {
        return UDP_ROOM_NONE;
    }
    *ret_victim = oldest;
    return UDP_ROOM_EVICT;
}

void udp_table_add(struct udp_table *table, struct udp_entry *entry, const struct udp_key *key)
{
    struct udp_entry **bucket;

    assert(table->n_trial + table->n_established < table->cap);
    *entry = (struct udp_entry){
        .key = *key, .hash = hash_key(table, key), .host = slot_of_host(table, &key->client)};
    bucket = &table->buckets[slot_of(table, entry->hash)];
    entry->next = *bucket;
    *bucket = entry;
    list_append(&table->trial, &entry->tier);
    table->n_trial++;
    table->hosts[entry->host]++;
}

void udp_table_remove(struct udp_table *table, struct udp_entry *entry)
{
    struct udp_entry **link = &table->buckets[slot_of(table, entry->hash)];

    while (*link != entry)
        link = &(*link)->next;
    *link = entry->next;
    list_remove(&entry->tier);
    table->hosts[entry->host]--;
    if (entry->is_established)
        table->n_established--;
    else
        table->n_trial--;
}

void udp_table_establish(struct udp_table *table, struct udp_entry *entry)
{
    if (entry->is_established)
        return;
    entry->is_established = true;
    list_remove(&entry->tier);
    list_append(&table->established, &entry->tier);
    table->n_trial--;
    table->n_established++;
}
