#include "lb4/relay/udp_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../seed.h"

enum { N_HOSTS = 6, N_PORTS = 30, N_ASKED = 3, N_STEPS = 60000, N_MODEL = 65 };

static struct addr make_addr(const char *host, uint16_t port)
{
    struct addr addr;

    assert_int_equal(addr_parse(host, &addr), 0);
    addr_set_port(&addr, port);
    return addr;
}

static struct addr ipv4(uint32_t host, uint16_t port)
{
    struct addr addr;

    addr_any(AF_INET, port, &addr);
    addr.in4.sin_addr.s_addr = htonl(host);
    return addr;
}

static struct udp_key make_key(uint32_t host, uint16_t port)
{
    return (struct udp_key){.client = ipv4(host, port), .asked = make_addr("10.0.0.1", 53)};
}

/* A session of the tests is a bare entry on the heap, so that ASan sees a leak or a late use. */
static struct udp_entry *add(struct udp_table *table, const struct udp_key *key)
{
    struct udp_entry *entry = malloc(sizeof(*entry));

    assert_non_null(entry);
    memset(entry, 0xa5, sizeof(*entry)); /* udp_table_add() takes raw memory */
    udp_table_add(table, entry, key);
    return entry;
}

static void drop(struct udp_table *table, struct udp_entry *entry)
{
    udp_table_remove(table, entry);
    free(entry);
}

static void drop_all(struct udp_table *table)
{
    for (uint32_t i = 0; i < table->n_slots; i++)
        while (table->buckets[i] != NULL)
            drop(table, table->buckets[i]);
}

static void fini(struct udp_table *table)
{
    drop_all(table);
    for (uint32_t i = 0; i < table->n_slots; i++)
        assert_int_equal(table->hosts[i], 0);
    udp_table_fini(table);
}

/* Hosts from `first` on, each with a counter of its own. */
static void pick_hosts(struct udp_table *table, uint32_t first, uint32_t *ret, size_t n)
{
    bool is_taken[1024] = {false};

    assert_true(table->n_slots <= 1024 && n <= table->n_slots);
    for (size_t i = 0; i < n; first++) {
        struct udp_key key = make_key(first, 1);
        struct udp_entry *entry = add(table, &key);

        if (!is_taken[entry->host])
            ret[i++] = first;
        is_taken[entry->host] = true;
        drop(table, entry);
    }
}

static void test_find_by_every_field(void **state)
{
    static const char *const hosts[] = {"10.0.0.1", "10.0.0.2", "2001:db8::1", "fe80::1%7",
                                        "fe80::1%8"};
    enum { N = sizeof(hosts) / sizeof(hosts[0]) };
    struct udp_entry *entries[N][2][N][2];
    struct udp_table table;

    (void)state;
    assert_int_equal(udp_table_init(&table, 4 * N * N), 0);
    for (size_t i = 0; i < 4 * N * N; i++) {
        struct udp_key key = {.client = make_addr(hosts[i / 4 % N], (uint16_t)(7 + i % 2)),
                              .asked = make_addr(hosts[i / 4 / N], (uint16_t)(7 + i / 2 % 2))};

        assert_null(udp_table_find(&table, &key));
        entries[i / 4 % N][i % 2][i / 4 / N][i / 2 % 2] = add(&table, &key);
    }
    for (size_t i = 0; i < 4 * N * N; i++) {
        struct udp_key key = {.client = make_addr(hosts[i / 4 % N], (uint16_t)(7 + i % 2)),
                              .asked = make_addr(hosts[i / 4 / N], (uint16_t)(7 + i / 2 % 2))};

        assert_ptr_equal(udp_table_find(&table, &key),
                         entries[i / 4 % N][i % 2][i / 4 / N][i / 2 % 2]);
    }
    fini(&table);
}

/* Clients behind balancers: each field of what the balancer says and is tells sessions apart, also
 * from one of a client that sends itself; where it is written does not. */
static void test_find_behind_a_balancer(void **state)
{
    static const char *const hosts[] = {"10.0.0.1", "10.0.0.2", "2001:db8::1"};
    enum { N = 3, N_KEYS = 4 * N * N };
    struct udp_via vias[N_KEYS];
    struct udp_entry *entries[N_KEYS];
    struct udp_key key = make_key(1, 1);
    struct udp_entry *direct;
    struct udp_table table;

    (void)state;
    assert_int_equal(udp_table_init(&table, 2 * N_KEYS), 0);
    direct = add(&table, &key);
    for (size_t i = 0; i < N_KEYS; i++) {
        vias[i] = (struct udp_via){.peer = make_addr(hosts[i / 4 % N], (uint16_t)(7 + i % 2)),
                                   .asked = make_addr(hosts[i / 4 / N], (uint16_t)(7 + i / 2 % 2))};
        key.via = &vias[i];
        assert_null(udp_table_find(&table, &key));
        entries[i] = add(&table, &key);
    }
    for (size_t i = 0; i < N_KEYS; i++) {
        const struct udp_via copy = vias[i];

        key.via = &copy;
        assert_ptr_equal(udp_table_find(&table, &key), entries[i]);
    }
    key.via = NULL;
    assert_ptr_equal(udp_table_find(&table, &key), direct);
    /* It is the client's host that counts. */
    assert_int_equal(table.hosts[udp_table_host(&table, &key.client)], N_KEYS + 1);
    fini(&table);
}

/* What addr_equal() ignores must not count: a scope where it means nothing, flow labels, padding.
 */
static void test_find_ignores_the_rest(void **state)
{
    struct udp_key key = {.client = make_addr("2001:db8::1", 1),
                          .asked = make_addr("10.0.0.1", 53)};
    struct udp_table table;
    struct udp_entry *entry;

    (void)state;
    assert_int_equal(udp_table_init(&table, 8), 0);
    entry = add(&table, &key);
    key.client.in6.sin6_scope_id = 3;
    key.client.in6.sin6_flowinfo = 9;
    memset(key.asked.in4.sin_zero, 1, sizeof(key.asked.in4.sin_zero));
    assert_ptr_equal(udp_table_find(&table, &key), entry);
    fini(&table);
}

static void test_all_in_one_bucket(void **state)
{
    struct udp_table table;
    struct udp_entry *entries[3];

    (void)state;
    assert_int_equal(udp_table_init(&table, 1), 0); /* one slot */
    for (uint16_t i = 0; i < 3; i++) {
        struct udp_key key = make_key(1, i);

        entries[i] = add(&table, &key);
    }
    drop(&table, entries[1]);
    for (uint16_t i = 0; i < 3; i++) {
        struct udp_key key = make_key(1, i);

        assert_ptr_equal(udp_table_find(&table, &key), i == 1 ? NULL : entries[i]);
    }
    fini(&table);
}

/* Two keys may have one hash: what counts is the key. */
static void test_equal_hashes(void **state)
{
    struct udp_key keys[3] = {make_key(1, 1), make_key(2, 1), make_key(1, 1)};
    struct udp_table table;
    struct udp_entry *entry;

    (void)state;
    addr_set_port(&keys[2].asked, 54);
    for (int i = 1; i < 3; i++) {
        uint64_t hash;

        assert_int_equal(udp_table_init(&table, 1), 0); /* one slot */
        entry = add(&table, &keys[i]);
        hash = entry->hash;
        drop(&table, entry);
        entry = add(&table, &keys[0]);
        entry->hash = hash;
        assert_null(udp_table_find(&table, &keys[i]));
        fini(&table);
    }
}

/* All sessions of a host, whatever their ports, count as its; what is no part of the address counts
 * for nothing. */
static void test_hosts_are_counted(void **state)
{
    struct udp_table table;
    uint32_t hosts[2];
    struct udp_key key;
    uint32_t host;

    (void)state;
    assert_int_equal(udp_table_init(&table, 10), 0);
    pick_hosts(&table, 1, hosts, 2);
    for (uint16_t port = 1; port <= 5; port++) {
        key = make_key(hosts[0], port);
        host = udp_table_host(&table, &key.client);
        assert_int_equal(add(&table, &key)->host, host);
        assert_int_equal(table.hosts[host], port);
    }
    key = make_key(hosts[1], 1);
    assert_int_equal(table.hosts[udp_table_host(&table, &key.client)], 0);
    key =
        (struct udp_key){.client = make_addr("2001:db8::1", 1), .asked = make_addr("10.0.0.1", 53)};
    host = udp_table_host(&table, &key.client);
    key.client.in6.sin6_scope_id = 3;
    assert_int_equal(udp_table_host(&table, &key.client), host);
    fini(&table);
}

/* The reference: sessions in an array, everything by scanning. */
struct model {
    struct row {
        struct udp_key key;
        struct udp_entry *entry;
    } rows[N_MODEL];
    size_t n;
};

static struct row *model_find(struct model *model, const struct udp_key *key)
{
    for (size_t i = 0; i < model->n; i++)
        if (addr_equal(&model->rows[i].key.client, &key->client) &&
            addr_equal(&model->rows[i].key.asked, &key->asked))
            return &model->rows[i];
    return NULL;
}

static void model_remove(struct model *model, struct row *row)
{
    size_t i = (size_t)(row - model->rows);

    memmove(row, row + 1, (model->n - i - 1) * sizeof(*row));
    model->n--;
}

static void check_host(struct model *model, const struct udp_table *table,
                       const struct addr *client)
{
    uint32_t n_host = 0;

    for (size_t i = 0; i < model->n; i++)
        n_host += addr_equal_host(&model->rows[i].key.client, client);
    assert_int_equal(table->hosts[udp_table_host(table, client)], n_host);
}

/* A datagram of a random key, and then what may happen to its session. */
static void step(struct model *model, struct udp_table *table, const struct udp_key *key,
                 uint64_t what)
{
    struct row *row = model_find(model, key);
    struct udp_entry *entry = udp_table_find(table, key);

    assert_ptr_equal(entry, row != NULL ? row->entry : NULL);
    check_host(model, table, &key->client);
    if (row == NULL && model->n < N_MODEL) {
        model->rows[model->n++] = (struct row){*key, add(table, key)};
    } else if (row != NULL && what < 5) {
        drop(table, entry);
        model_remove(model, row);
    }
}

static void run_model(struct seed *seed, uint32_t size)
{
    struct model model = {0};
    struct udp_table table;
    uint32_t hosts[N_HOSTS];
    size_t n_hosts;

    assert_int_equal(udp_table_init(&table, size), 0);
    n_hosts = table.n_slots < N_HOSTS ? table.n_slots : N_HOSTS;
    pick_hosts(&table, (uint32_t)seed_next(seed, 1u << 30), hosts, n_hosts);
    for (int i = 0; i < N_STEPS; i++) {
        struct udp_key key =
            make_key(hosts[seed_next(seed, n_hosts)], (uint16_t)seed_next(seed, N_PORTS));

        addr_set_port(&key.asked, (uint16_t)seed_next(seed, N_ASKED));
        step(&model, &table, &key, seed_next(seed, 10));
        assert_int_equal(table.n_entries, model.n);
    }
    fini(&table);
}

static void test_against_model(void **state)
{
    static const uint32_t sizes[] = {1, 2, 3, 8, 33, 64, N_MODEL};
    struct seed seed = seed_new();

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        run_model(&seed, sizes[i]);
}

static void test_fini_of_nothing(void **state)
{
    struct udp_table table = {0};

    (void)state;
    udp_table_fini(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find_by_every_field),   cmocka_unit_test(test_find_behind_a_balancer),
        cmocka_unit_test(test_find_ignores_the_rest), cmocka_unit_test(test_all_in_one_bucket),
        cmocka_unit_test(test_equal_hashes),          cmocka_unit_test(test_hosts_are_counted),
        cmocka_unit_test(test_against_model),         cmocka_unit_test(test_fini_of_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
