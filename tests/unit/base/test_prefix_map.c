/* The compiled map says what going through the rules one by one says. */
#include "lb4/base/prefix_map.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "../seed.h"

enum { RULES = 12, PREFIXES = 40, ROUNDS = 400, QUESTIONS = 400, MANY = 100000 };

/* --- rules, one by one ------------------------------------------------------------------------ */

static bool has(const struct prefix_rule *rule, const struct addr *addr)
{
    for (size_t i = 0; i < rule->n_prefixes; i++)
        if (prefix_has(&rule->prefixes[i], addr))
            return true;
    return rule->is_all;
}

static bool naive(const struct prefix_rule *rules, size_t n, bool others, const struct addr *addr)
{
    for (size_t i = 0; i < n; i++)
        if (has(&rules[i], addr))
            return rules[i].allows;
    return others;
}

/* --- random ones ------------------------------------------------------------------------------ */

/* Few distinct bytes, so that networks meet; ends of the space are among them. */
static void random_bytes(struct seed *seed, uint8_t bytes[static 16], size_t n)
{
    static const uint8_t likely[] = {0, 0xff, 0x80, 1, 10};

    for (size_t i = 0; i < n; i++)
        bytes[i] = seed_next(seed, 4) > 0 ? likely[seed_next(seed, sizeof(likely))]
                                          : (uint8_t)seed_next(seed, 256);
}

static struct prefix random_prefix(struct seed *seed)
{
    struct prefix prefix = {.is_ipv4 = seed_next(seed, 2) == 0};
    unsigned max = prefix.is_ipv4 ? 32 : 128;
    char host[INET6_ADDRSTRLEN];
    char text[PREFIX_TEXT_MAX];
    char error[PREFIX_ERROR_MAX];
    unsigned n_bits = (unsigned)seed_next(seed, max + 1);

    random_bytes(seed, prefix.bytes, max / 8);
    inet_ntop(prefix.is_ipv4 ? AF_INET : AF_INET6, prefix.bytes, host, sizeof(host));
    snprintf(text, sizeof(text), "%s/%u", host, n_bits);
    if (!prefix_parse(text, strlen(text), &prefix, NULL, error)) /* a mapped one that is too wide */
        return random_prefix(seed);
    return prefix;
}

static struct addr addr_of(const struct prefix *prefix)
{
    struct addr addr = {.in4 = {.sin_family = AF_INET}};

    if (prefix->is_ipv4) {
        memcpy(&addr.in4.sin_addr, prefix->bytes, 4);
        return addr;
    }
    addr = (struct addr){.in6 = {.sin6_family = AF_INET6}};
    memcpy(&addr.in6.sin6_addr, prefix->bytes, 16);
    return addr;
}

/* Its first address, its last, or the neighbour of one. */
static struct addr edge_of(struct seed *seed, struct prefix prefix)
{
    unsigned max = prefix.is_ipv4 ? 32 : 128;
    int step = (int)seed_next(seed, 3) - 1;

    if (seed_next(seed, 2) == 0)
        for (unsigned i = prefix.n_bits; i < max; i++)
            prefix.bytes[i / 8] |= (uint8_t)(0x80 >> (i % 8));
    for (int i = (int)max / 8 - 1; step != 0 && i >= 0; i--) {
        prefix.bytes[i] = (uint8_t)(prefix.bytes[i] + step);
        if (prefix.bytes[i] != (step > 0 ? 0 : 0xff))
            break;
    }
    return addr_of(&prefix);
}

static void check_round(struct seed *seed)
{
    static struct prefix prefixes[RULES][PREFIXES];
    struct prefix_rule rules[RULES];
    size_t n_rules = (size_t)seed_next(seed, RULES + 1);
    bool others = seed_next(seed, 2) == 0;
    struct prefix_map *map;

    for (size_t i = 0; i < n_rules; i++) {
        rules[i] = (struct prefix_rule){.allows = seed_next(seed, 2) == 0,
                                        .is_all = seed_next(seed, 24) == 0,
                                        .prefixes = prefixes[i]};
        rules[i].n_prefixes = rules[i].is_all ? 0 : (size_t)seed_next(seed, PREFIXES + 1);
        for (size_t k = 0; k < rules[i].n_prefixes; k++)
            prefixes[i][k] = random_prefix(seed);
    }
    map = prefix_map_new(rules, n_rules, others);
    assert_non_null(map);
    for (int i = 0; i < QUESTIONS; i++) {
        size_t rule = n_rules > 0 ? (size_t)seed_next(seed, n_rules) : 0;
        bool is_edge = n_rules > 0 && rules[rule].n_prefixes > 0 && seed_next(seed, 4) > 0;
        struct prefix any = random_prefix(seed);
        struct addr addr =
            is_edge ? edge_of(seed, prefixes[rule][seed_next(seed, rules[rule].n_prefixes)])
                    : addr_of(&any);

        assert_int_equal(prefix_map_allows(map, &addr), naive(rules, n_rules, others, &addr));
    }
    prefix_map_release(map);
}

static void test_it_says_what_the_rules_say(void **state)
{
    struct seed seed = seed_new();

    (void)state;
    for (int i = 0; i < ROUNDS; i++)
        check_round(&seed);
}

/* --- single cases ----------------------------------------------------------------------------- */

static struct prefix network(const char *text)
{
    struct prefix prefix;
    char error[PREFIX_ERROR_MAX];

    assert_true(prefix_parse(text, strlen(text), &prefix, NULL, error));
    return prefix;
}

static bool allows(const struct prefix_map *map, const char *text)
{
    struct addr addr;

    assert_int_equal(addr_parse(text, &addr), 0);
    return prefix_map_allows(map, &addr);
}

static void test_the_first_rule_decides(void **state)
{
    const struct prefix wide = network("10.0.0.0/8");
    const struct prefix narrow = network("10.1.0.0/16");
    const struct prefix_rule rules[] = {
        {.allows = true, .prefixes = &narrow, .n_prefixes = 1},
        {.allows = false, .prefixes = &wide, .n_prefixes = 1},
    };
    const struct prefix_rule reverse[] = {rules[1], rules[0]};
    struct prefix_map *map = prefix_map_new(rules, 2, true);
    struct prefix_map *other = prefix_map_new(reverse, 2, true);

    (void)state;
    assert_true(allows(map, "10.1.2.3"));
    assert_false(allows(map, "10.2.2.3"));
    assert_true(allows(map, "11.0.0.0"));
    assert_true(allows(map, "9.255.255.255"));
    assert_false(allows(other, "10.1.2.3"));
    assert_false(prefix_map_allows_nobody(map));
    prefix_map_release(map);
    prefix_map_release(other);
}

static void test_all_is_also_who_has_no_address(void **state)
{
    const struct addr unnamed = {.sa = {.sa_family = AF_UNIX}};
    const struct prefix half = network("0.0.0.0/1");
    const struct prefix_rule rules[] = {
        {.allows = true, .prefixes = &half, .n_prefixes = 1},
        {.allows = false, .is_all = true},
    };
    struct prefix_map *map = prefix_map_new(rules, 2, true);
    struct prefix_map *nobody = prefix_map_new(rules + 1, 1, true);
    struct prefix_map *empty = prefix_map_new(NULL, 0, false);

    (void)state;
    assert_false(prefix_map_allows(map, &unnamed));
    assert_true(allows(map, "127.255.255.255"));
    assert_false(allows(map, "128.0.0.0"));
    assert_false(allows(map, "::1"));
    assert_false(prefix_map_allows_nobody(map));
    assert_true(prefix_map_allows_nobody(nobody));
    assert_true(prefix_map_allows_nobody(empty));
    prefix_map_release(map);
    prefix_map_release(nobody);
    prefix_map_release(empty);
}

static void test_it_lives_as_long_as_it_has_users(void **state)
{
    struct prefix_map *map = prefix_map_new(NULL, 0, true);

    (void)state;
    assert_ptr_equal(prefix_map_hold(map), map);
    prefix_map_release(map);
    assert_true(allows(map, "10.0.0.1"));
    prefix_map_release(map);
    assert_null(prefix_map_hold(NULL));
    prefix_map_release(NULL);
}

/* --- many ------------------------------------------------------------------------------------- */

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Told, not judged: the machine may be busy. */
static void measure(struct seed *seed, const char *what, const struct prefix_rule *rule)
{
    double start = seconds();
    struct prefix_map *map = prefix_map_new(rule, 1, true);
    double built = seconds();
    size_t n_allowed = 0;
    struct addr *addrs = calloc(MANY, sizeof(*addrs));

    assert_non_null(map);
    assert_non_null(addrs);
    for (size_t i = 0; i < MANY; i++)
        addrs[i] = edge_of(seed, rule->prefixes[seed_next(seed, rule->n_prefixes)]);
    double asked = seconds();
    for (size_t i = 0; i < MANY; i++)
        n_allowed += prefix_map_allows(map, &addrs[i]);
    printf("%s: built in %.1f ms, %.0f ns a look-up, %zu bytes, %zu allowed\n", what,
           (built - start) * 1e3, (seconds() - asked) / MANY * 1e9, prefix_map_bytes(map),
           n_allowed);
    assert_true(prefix_map_bytes(map) <=
                (rule->prefixes[0].is_ipv4 ? 8.3 : 33.2) * (double)rule->n_prefixes + 1000);
    free(addrs);
    prefix_map_release(map);
}

static void test_many_take_little_memory(void **state)
{
    struct prefix *prefixes = calloc(MANY, sizeof(*prefixes));
    const struct prefix_rule rule = {.prefixes = prefixes, .n_prefixes = MANY};
    struct seed seed = seed_new();

    (void)state;
    assert_non_null(prefixes);
    for (int family = 0; family < 2; family++) {
        for (size_t i = 0; i < MANY; i++) {
            prefixes[i] = (struct prefix){.is_ipv4 = family == 0, .n_bits = family == 0 ? 32 : 64};
            for (size_t k = 0; k < (family == 0 ? 4 : 8); k++)
                prefixes[i].bytes[k] = (uint8_t)seed_next(&seed, 256);
        }
        measure(&seed, family == 0 ? "100,000 of IPv4" : "100,000 of IPv6", &rule);
    }
    free(prefixes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_says_what_the_rules_say),
        cmocka_unit_test(test_the_first_rule_decides),
        cmocka_unit_test(test_all_is_also_who_has_no_address),
        cmocka_unit_test(test_it_lives_as_long_as_it_has_users),
        cmocka_unit_test(test_many_take_little_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
