#include "lb4/relay/udp_table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* An address as bytes that are equal exactly when addr_equal() says so: what follows the family is
 * the host, then the scope where it counts. */
enum { HOST_BYTES_MAX = 1 + 16 + 4, KEY_BYTES_MAX = 4 * (HOST_BYTES_MAX + 2) };

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
    if (key->via) {
        n_bytes += write_addr(bytes + n_bytes, &key->via->peer);
        n_bytes += write_addr(bytes + n_bytes, &key->via->asked);
    }
    return siphash(&table->secret, bytes, n_bytes);
}

static uint32_t slot_of(const struct udp_table *table, uint64_t hash)
{
    return (uint32_t)hash & (table->n_slots - 1);
}

uint32_t udp_table_host(const struct udp_table *table, const struct addr *client)
{
    uint8_t bytes[HOST_BYTES_MAX];

    return slot_of(table, siphash(&table->secret, bytes, write_host(bytes, client)));
}

static bool is_same_via(const struct udp_via *a, const struct udp_via *b)
{
    if (!a || !b)
        return a == b;
    return addr_equal(&a->peer, &b->peer) && addr_equal(&a->asked, &b->asked);
}

bool udp_key_equal(const struct udp_key *a, const struct udp_key *b)
{
    return addr_equal(&a->client, &b->client) && addr_equal(&a->asked, &b->asked) &&
           is_same_via(a->via, b->via);
}

static bool is_key(const struct udp_entry *entry, uint64_t hash, const struct udp_key *key)
{
    return entry->hash == hash && udp_key_equal(&entry->key, key);
}

int udp_table_init(struct udp_table *table, uint32_t size)
{
    int rc;

    assert(size >= 1 && size <= UDP_TABLE_SIZE_MAX);
    *table = (struct udp_table){.n_slots = 1};
    rc = siphash_key_init(&table->secret);
    if (rc < 0)
        return rc;
    while (table->n_slots < size)
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
    assert(table->n_entries == 0);
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

void udp_table_add(struct udp_table *table, struct udp_entry *entry, const struct udp_key *key)
{
    struct udp_entry **bucket;

    *entry = (struct udp_entry){
        .key = *key, .hash = hash_key(table, key), .host = udp_table_host(table, &key->client)};
    bucket = &table->buckets[slot_of(table, entry->hash)];
    entry->next = *bucket;
    *bucket = entry;
    table->n_entries++;
    table->hosts[entry->host]++;
}

void udp_table_remove(struct udp_table *table, struct udp_entry *entry)
{
    struct udp_entry **link = &table->buckets[slot_of(table, entry->hash)];

    while (*link != entry)
        link = &(*link)->next;
    *link = entry->next;
    table->n_entries--;
    table->hosts[entry->host]--;
}
