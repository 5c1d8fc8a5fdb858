#include "lb4/shared/maglev.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "lb4/conf/bounds.h"

#include "../seed.h"

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

static int allocations_left = -1; /* -1 = no end */

static bool may_allocate(void)
{
    return allocations_left < 0 || allocations_left-- > 0;
}

void *__wrap_calloc(size_t n, size_t size)
{
    return may_allocate() ? __real_calloc(n, size) : NULL;
}

void *__wrap_malloc(size_t size)
{
    return may_allocate() ? __real_malloc(size) : NULL;
}

enum { N_CLIENTS = 2000, N_NAMES = 4 };

static const char *const name_formats[N_NAMES] = {"db%zu", "s%zu", "web-%04zu.example", "%zu"};

static char names[CONF_SERVERS_MAX][CONF_NAME_MAX + 1];
static struct maglev_server servers[CONF_SERVERS_MAX];

static void name_servers(const char *format, size_t n)
{
    for (size_t i = 0; i < n; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(names[i], sizeof(names[i]), format, i + 1);
#pragma GCC diagnostic pop
        servers[i] = (struct maglev_server){names[i], 1};
    }
}

static struct addr host(uint32_t number)
{
    struct addr addr;

    addr_any(AF_INET, 0, &addr);
    addr.in4.sin_addr.s_addr = htonl(number);
    return addr;
}

static uint16_t server_of(const struct maglev *maglev, const struct addr *client)
{
    uint32_t position = maglev_position(maglev, client);

    assert_true(position < maglev->n_entries);
    return maglev->entries[position];
}

static void test_table_is_whole(void **state)
{
    static const size_t sizes[] = {1, 2, 3, 100, 655, 656, CONF_SERVERS_MAX};

    (void)state;
    name_servers("s%zu", CONF_SERVERS_MAX);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t n = sizes[i];
        uint32_t *counts = calloc(n, sizeof(*counts));
        struct maglev maglev;

        assert_int_equal(maglev_init(&maglev, servers, n), 0);
        assert_int_equal(maglev.n_entries, 65537);
        for (uint32_t divisor = 2; divisor * divisor <= maglev.n_entries; divisor++)
            assert_int_not_equal(maglev.n_entries % divisor, 0);
        for (uint32_t at = 0; at < maglev.n_entries; at++) {
            assert_true(maglev.entries[at] < n);
            counts[maglev.entries[at]]++;
        }
        for (size_t server = 0; server < n; server++) {
            assert_true(counts[server] >= maglev.n_entries / n);
            assert_true(counts[server] <= maglev.n_entries / n + 1);
        }
        free(counts);
        maglev_fini(&maglev);
        assert_null(maglev.entries);
    }
}

/* What is known by heart of a hash cannot change without clients moving at an upgrade. */
static void test_positions_are_pinned(void **state)
{
    struct maglev maglev;
    struct addr v4 = host(0x0a010203);
    struct addr v6;

    (void)state;
    name_servers("db%zu", 3);
    assert_int_equal(addr_parse("2001:db8::7", &v6), 0);
    assert_int_equal(maglev_init(&maglev, servers, 3), 0);
    assert_int_equal(maglev_position(&maglev, &v4), 56370);
    assert_int_equal(maglev_position(&maglev, &v6), 57710);
    assert_int_equal(server_of(&maglev, &v4), 2);
    assert_int_equal(server_of(&maglev, &v6), 2);
    maglev_fini(&maglev);
}

static void test_port_and_scope_do_not_count(void **state)
{
    struct maglev maglev;
    struct addr v4 = host(0xc0000201);
    struct addr v6;
    struct addr other;

    (void)state;
    name_servers("s%zu", 3);
    assert_int_equal(maglev_init(&maglev, servers, 3), 0);
    assert_int_equal(addr_parse("fe80::1", &v6), 0);
    other = v6;
    other.in6.sin6_scope_id = 5;
    addr_set_port(&other, 5);
    assert_int_equal(maglev_position(&maglev, &v6), maglev_position(&maglev, &other));
    other = v4;
    addr_set_port(&other, 40000);
    assert_int_equal(maglev_position(&maglev, &v4), maglev_position(&maglev, &other));
    /* Each half of an IPv6 address counts. */
    assert_int_equal(addr_parse("fe80::2", &other), 0);
    assert_int_not_equal(maglev_position(&maglev, &v6), maglev_position(&maglev, &other));
    assert_int_equal(addr_parse("fe81::1", &other), 0);
    assert_int_not_equal(maglev_position(&maglev, &v6), maglev_position(&maglev, &other));
    maglev_fini(&maglev);
}

/* However the servers are written down, with whatever weights: the same table by name. */
static void test_order_of_servers_does_not_count(void **state)
{
    struct seed seed = seed_new();

    (void)state;
    for (int round = 0; round < 20; round++) {
        size_t n = 2 + seed_next(&seed, 40);
        struct maglev_server shuffled[42];
        struct maglev a;
        struct maglev b;

        name_servers("s%zu", n);
        for (size_t i = 0; i < n; i++)
            servers[i].weight = 1 + (uint32_t)seed_next(&seed, 4);
        memcpy(shuffled, servers, n * sizeof(*servers));
        for (size_t i = n; i-- > 1;) {
            size_t with = seed_next(&seed, i + 1);
            struct maglev_server kept = shuffled[i];

            shuffled[i] = shuffled[with];
            shuffled[with] = kept;
        }
        assert_int_equal(maglev_init(&a, servers, n), 0);
        assert_int_equal(maglev_init(&b, shuffled, n), 0);
        for (uint32_t at = 0; at < a.n_entries; at++)
            assert_ptr_equal(servers[a.entries[at]].name, shuffled[b.entries[at]].name);
        maglev_fini(&a);
        maglev_fini(&b);
    }
}

enum client_kind { CLIENT_RANDOM, CLIENT_CONSECUTIVE, CLIENT_NETWORK, CLIENT_KINDS };

static struct addr make_client(enum client_kind kind, struct seed *seed, uint32_t first, uint32_t i)
{
    struct addr client;

    if (kind == CLIENT_RANDOM)
        return host((uint32_t)seed_next(seed, UINT32_MAX));
    if (kind == CLIENT_CONSECUTIVE)
        return host(0x0a000000 + (first & 0xffffff) + i);
    /* IPv6, a /64 for each. */
    addr_any(AF_INET6, 0, &client);
    client.in6.sin6_addr.s6_addr32[0] = htonl(first);
    client.in6.sin6_addr.s6_addr32[1] = htonl(i);
    return client;
}

/* The most clients that one of 10 servers has. */
static uint32_t most_of_ten(const struct maglev *maglev, enum client_kind kind, struct seed *seed)
{
    uint32_t first = (uint32_t)seed_next(seed, UINT32_MAX);
    uint32_t counts[10] = {0};
    uint32_t most = 0;

    for (uint32_t i = 0; i < N_CLIENTS; i++) {
        struct addr client = make_client(kind, seed, first, i);
        uint16_t server = server_of(maglev, &client);

        if (++counts[server] > most)
            most = counts[server];
    }
    return most;
}

/* Perfect hashing has one set of addresses in a thousand beyond 1.25 times the mean by chance:
 * hence many sets, and a fixed seed. */
static void test_clients_spread(void **state)
{
    struct seed seed = {42};
    int n_beyond = 0;

    (void)state;
    for (int round = 0; round < N_NAMES * CLIENT_KINDS; round++) {
        struct maglev maglev;

        name_servers(name_formats[round % N_NAMES], 10);
        assert_int_equal(maglev_init(&maglev, servers, 10), 0);
        for (int set = 0; set < 40; set++) {
            uint32_t most = most_of_ten(&maglev, (enum client_kind)(round / N_NAMES), &seed);

            assert_true(most < 2 * N_CLIENTS / 10);
            n_beyond += most > N_CLIENTS / 10 * 125 / 100;
        }
        maglev_fini(&maglev);
    }
    assert_in_range(n_beyond, 0, 3);
}

/* Of the clients that were not on server `gone` of n, those that move. In thousandths. */
static uint32_t moved_without(size_t n, size_t gone, const struct maglev *before)
{
    static struct maglev_server rest[CONF_SERVERS_MAX];
    struct maglev after;
    uint32_t n_moved = 0;
    uint32_t n_others = 0;

    for (size_t i = 0; i + 1 < n; i++)
        rest[i] = servers[i < gone ? i : i + 1];
    assert_int_equal(maglev_init(&after, rest, n - 1), 0);
    for (uint32_t i = 0; i < N_CLIENTS; i++) {
        struct addr client = host(0x0a000000 + i * 77);
        uint16_t server = server_of(before, &client);

        if (server == gone)
            continue;
        n_others++;
        n_moved += rest[server_of(&after, &client)].name != servers[server].name;
    }
    maglev_fini(&after);
    return n_moved * 1000 / n_others;
}

static void test_few_clients_move(void **state)
{
    uint32_t most = 0;

    (void)state;
    for (size_t format = 0; format < N_NAMES; format++) {
        for (size_t n = 3; n <= 20; n += format == 0 ? 1 : 7) {
            struct maglev before;

            name_servers(name_formats[format], n);
            assert_int_equal(maglev_init(&before, servers, n), 0);
            for (size_t gone = 0; gone < n; gone++) {
                uint32_t moved = moved_without(n, gone, &before);

                most = moved > most ? moved : most;
                if (moved > 20)
                    fail_msg("%zu servers: without server %zu, %u of 1,000 moved", n, gone, moved);
            }
            maglev_fini(&before);
        }
    }
    printf("at most %u of 1,000 clients moved\n", most);
}

/* There is no number of servers at which one more or less moves everybody. */
static void test_few_clients_move_however_many_servers(void **state)
{
    static const size_t sizes[] = {2, 100, 655, 656, 657, 1000, 1024, 2049, CONF_SERVERS_MAX};

    (void)state;
    name_servers("s%zu", CONF_SERVERS_MAX);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct maglev before;
        uint32_t moved;

        assert_int_equal(maglev_init(&before, servers, sizes[i]), 0);
        moved = moved_without(sizes[i], sizes[i] / 2, &before);
        printf("%zu servers: without one, %u of 1,000 of the others' clients moved\n", sizes[i],
               moved);
        assert_in_range(moved, 0, 20);
        maglev_fini(&before);
    }
}

static void test_shares_follow_weights(void **state)
{
    static const uint32_t cases[][3] = {{1, 2, 4}, {256, 1, 1}, {3, 3, 3}, {100, 99, 1}};

    (void)state;
    name_servers("s%zu", 3);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint32_t counts[3] = {0};
        uint32_t sum = 0;
        struct maglev maglev;

        for (size_t server = 0; server < 3; server++)
            sum += servers[server].weight = cases[i][server];
        assert_int_equal(maglev_init(&maglev, servers, 3), 0);
        for (uint32_t at = 0; at < maglev.n_entries; at++)
            counts[maglev.entries[at]]++;
        for (size_t server = 0; server < 3; server++) {
            double share = (double)maglev.n_entries * cases[i][server] / sum;

            assert_true(counts[server] > 0.98 * share - 2 && counts[server] < 1.02 * share + 2);
        }
        maglev_fini(&maglev);
    }
}

/* Nobody stays without clients, and no set of weights takes long. */
static void test_extreme_weights(void **state)
{
    static bool is_seen[CONF_SERVERS_MAX];
    struct timespec start;
    struct timespec end;

    (void)state;
    name_servers("s%zu", CONF_SERVERS_MAX);
    for (size_t i = 0; i < CONF_SERVERS_MAX; i++)
        servers[i].weight = CONF_WEIGHT_MAX;
    servers[7].weight = 1;
    for (int round = 0; round < 2; round++) {
        struct maglev maglev;

        memset(is_seen, 0, sizeof(is_seen));
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &start);
        assert_int_equal(maglev_init(&maglev, servers, CONF_SERVERS_MAX), 0);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
        /* 20 ms without sanitizers. */
        assert_true((end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000 <
                    1000);
        for (uint32_t at = 0; at < maglev.n_entries; at++)
            is_seen[maglev.entries[at]] = true;
        for (size_t i = 0; i < CONF_SERVERS_MAX; i++)
            assert_true(is_seen[i]);
        maglev_fini(&maglev);
        for (size_t i = 0; i < CONF_SERVERS_MAX; i++)
            servers[i].weight = 1 + (i == 7) * (CONF_WEIGHT_MAX - 1u);
    }
}

static void test_out_of_memory(void **state)
{
    (void)state;
    name_servers("s%zu", 3);
    for (int n = 0; n < 2; n++) {
        struct maglev maglev;

        allocations_left = n;
        assert_int_equal(maglev_init(&maglev, servers, 3), -ENOMEM);
        allocations_left = -1;
        assert_null(maglev.entries);
        maglev_fini(&maglev);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_is_whole),
        cmocka_unit_test(test_positions_are_pinned),
        cmocka_unit_test(test_port_and_scope_do_not_count),
        cmocka_unit_test(test_order_of_servers_does_not_count),
        cmocka_unit_test(test_clients_spread),
        cmocka_unit_test(test_few_clients_move),
        cmocka_unit_test(test_few_clients_move_however_many_servers),
        cmocka_unit_test(test_shares_follow_weights),
        cmocka_unit_test(test_extreme_weights),
        cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
