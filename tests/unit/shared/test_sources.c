#include "lb4/shared/sources.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "../seed.h"

static const uint64_t S = 1000000000;

static struct addr v4(uint32_t number)
{
    struct addr addr;

    addr_any(AF_INET, 7, &addr);
    addr.in4.sin_addr.s_addr = htonl(number);
    return addr;
}

static struct source_key key_of(uint32_t number)
{
    struct addr addr = v4(number);

    return source_key_of(&addr, 32, 64);
}

static struct sources *table(size_t n_sets, size_t *ret_real)
{
    struct sources *sources = sources_new(1);

    assert_non_null(sources);
    *ret_real = sources->n_sets;
    sources->n_sets = n_sets;
    return sources;
}

static void drop(struct sources *sources, size_t n_real)
{
    sources->n_sets = n_real;
    sources_free(sources);
}

static void test_a_limit_of_one_source(void **state)
{
    size_t n_real;
    struct sources *sources = table(SOURCES_SETS_MIN, &n_real);
    struct source_key key = key_of(1);
    struct source_entry *source = NULL;

    (void)state;
    assert_null(sources_find(sources, &key));
    for (int i = 0; i < 3; i++) {
        source = sources_enter(sources, &key, S);
        assert_true(source_take(source, 3));
    }
    assert_ptr_equal(sources_enter(sources, &key, S), source);
    assert_false(source_take(source, 3));
    source_unpin(source);
    assert_int_equal(source_live(source), 3);
    source_give(source);
    assert_int_equal(source_live(source), 2);
    assert_int_equal(sources->n_tracked, 1);
    drop(sources, n_real);
}

static void enter_and_go(struct sources *sources, uint32_t number, uint64_t now_ns)
{
    struct source_key key = key_of(number);

    source_unpin(sources_enter(sources, &key, now_ns));
}

/* Of each kind of knowledge there is one that strangers must not push out. */
static void test_what_says_something_stays(void **state)
{
    const struct rate rate = rate_from(&(struct conf_rate){1, 1000, 5});
    size_t n_real;
    struct sources *sources = table(1, &n_real);
    struct source_key keys[5];
    struct source_entry *known[5];

    (void)state;
    for (uint32_t i = 0; i < 5; i++) {
        keys[i] = key_of(i);
        known[i] = sources_enter(sources, &keys[i], S);
    }
    assert_true(source_take(known[0], 1));
    assert_int_equal(rate_take(&rate, &known[1]->arrivals, S, 5), 5);
    assert_int_equal(rate_take(&rate, &known[2]->datagrams, S, 1), 1);
    sources_ban(sources, known[3], 3 * S);
    assert_int_equal(source_note_refusal(known[4], S, S), 1);
    for (uint32_t i = 1; i < 5; i++)
        source_unpin(known[i]);
    for (uint32_t i = 100; i < 1000; i++)
        enter_and_go(sources, i, S + S / 2);
    for (uint32_t i = 0; i < 4; i++) {
        struct source_entry *found = sources_find(sources, &keys[i]);

        assert_ptr_equal(found, known[i]);
        source_unpin(found);
    }
    /* One way was enough for all strangers. */
    assert_int_equal(sources->n_tracked, 6);
    assert_int_equal(sources->n_evicted, 899);
    assert_int_equal(sources->n_shared, 0);
    assert_int_equal(sources_count_bans(sources, 2 * S), 1);
    /* What is over says nothing. */
    for (uint32_t i = 1000; i < 2000; i++)
        enter_and_go(sources, i, 9 * S);
    assert_null(sources_find(sources, &keys[1]));
    assert_int_equal(sources_count_bans(sources, 9 * S), 0);
    drop(sources, n_real);
}

static void test_strangers_share_where_a_set_is_full(void **state)
{
    size_t n_real;
    struct sources *sources = table(1, &n_real);
    struct source_key stranger = key_of(99);
    struct source_key other = key_of(98);
    struct source_entry *ways[SOURCES_WAYS];
    struct source_entry *shared;

    (void)state;
    for (uint32_t i = 0; i < SOURCES_WAYS; i++) {
        struct source_key key = key_of(i);

        ways[i] = sources_enter(sources, &key, S);
        assert_true(source_take(ways[i], 2));
    }
    shared = sources_enter(sources, &stranger, S);
    assert_true(source_is_shared(sources, shared));
    assert_false(source_is_shared(sources, ways[0]));
    assert_true(source_take(shared, 2));
    /* A place is free, but strangers are in together: who comes joins them. */
    source_give(ways[3]);
    assert_ptr_equal(sources_enter(sources, &other, S), shared);
    assert_true(source_take(shared, 2));
    assert_ptr_equal(sources_enter(sources, &stranger, S), shared);
    assert_false(source_take(shared, 2));
    source_unpin(shared);
    assert_int_equal(sources->n_shared, 3);
    /* The last one has left. */
    source_give(shared);
    source_give(shared);
    assert_ptr_equal(sources_enter(sources, &stranger, S), ways[3]);
    drop(sources, n_real);
}

static void test_refusals_count_from_the_first(void **state)
{
    size_t n_real;
    struct sources *sources = table(1, &n_real);
    struct source_key key = key_of(1);
    struct source_entry *source = sources_enter(sources, &key, S);

    (void)state;
    for (uint32_t i = 1; i <= 10; i++)
        assert_int_equal(source_note_refusal(source, i * S, 20 * S), i);
    assert_int_equal(source_refusals(source, 20 * S), 10);
    assert_int_equal(source_refusals(source, 22 * S), 0);
    assert_int_equal(source_note_refusal(source, 22 * S, 20 * S), 1);
    sources_ban(sources, source, 30 * S);
    assert_true(source_pardon(source, 29 * S));
    assert_false(source_pardon(source, 29 * S));
    assert_int_equal(source_refusals(source, 22 * S), 0);
    source_unpin(source);
    drop(sources, n_real);
}

static void test_all_that_is_known_can_be_read(void **state)
{
    size_t n_real;
    struct sources *sources = table(SOURCES_SETS_MIN, &n_real);
    struct source_view row;
    uint64_t n_live = 0;
    size_t n = 0;
    size_t at = 0;

    (void)state;
    for (uint32_t i = 0; i < 1000; i++) {
        struct source_key key = key_of(i % 100);

        assert_true(source_take(sources_enter(sources, &key, S), 0));
    }
    while (sources_next(sources, S, &at, &row)) {
        n_live += row.n_live;
        n++;
    }
    assert_int_equal(n, 100);
    assert_int_equal(n_live, 1000);
    drop(sources, n_real);
}

/* Also who owes something, and who is banned: for how long, and for what. */
static void test_debts_and_bans_can_be_read(void **state)
{
    const struct rate rate = rate_from(&(struct conf_rate){1, 1000, 4});
    size_t n_real;
    struct sources *sources = table(1, &n_real);
    struct source_entry *source[3];
    struct source_view row;
    size_t at = 0;

    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        struct source_key key = key_of(i);

        source[i] = sources_enter(sources, &key, S); /* and stays, as it is pinned */
    }
    assert_false(sources_next(sources, S, &at, &row)); /* nothing is known of any */
    assert_int_equal(rate_take(&rate, &source[0]->arrivals, S, 3), 3);
    sources_ban(sources, source[1], 31 * S);
    source_blame(source[1], 10000, 15);
    assert_int_equal(source_refusals(source[1], S), 0);
    assert_int_equal(source_note_refusal(source[2], S, S), 1);
    for (at = 0; sources_next(sources, S, &at, &row);) {
        bool is_banned = row.key.net[0] == key_of(1).net[0];

        assert_int_equal(row.banned_ns, is_banned ? 30 * S : 0);
        if (is_banned) {
            assert_int_equal(row.n_refused, 10000);
            assert_int_equal(row.cause, 15);
        } else if (row.key.net[0] == key_of(0).net[0]) {
            assert_int_equal(rate_room_at(&rate, row.arrivals_ns, S), 1);
        } else {
            assert_int_equal(row.n_refused, 1);
        }
    }
    assert_int_equal(at, SOURCES_WAYS);
    assert_int_equal(sources_count_bans(sources, S), 1);
    assert_int_equal(sources_count_bans(sources, 31 * S), 0);
    /* The blame counts for nothing when the ban is over. */
    assert_int_equal(source_note_refusal(source[1], 31 * S, S), 1);
    assert_int_equal(sources_pardon_all(sources, S), 1);
    assert_int_equal(sources_pardon_all(sources, S), 0);
    assert_int_equal(sources_count_bans(sources, S), 0);
    drop(sources, n_real);
}

/* Invented addresses, each seen once, while one source is at its limit. */
static void test_a_flood_disarms_nothing(void **state)
{
    const struct rate rate = rate_from(&(struct conf_rate){1, 60000, 1});
    size_t n_real;
    struct sources *sources = table(SOURCES_SETS_MIN, &n_real);
    struct source_key mine = key_of(0xffffffff);
    struct source_entry *source = sources_enter(sources, &mine, S);
    uint64_t n_strangers_in = 0;

    (void)state;
    assert_true(source_take(source, 1));
    for (uint32_t i = 0; i < 1000000; i++) {
        struct source_key key = key_of(i);
        struct source_entry *stranger = sources_enter(sources, &key, S);

        n_strangers_in += rate_take(&rate, &stranger->arrivals, S, 1);
        source_unpin(stranger);
        if (i % 1000 == 0) {
            assert_ptr_equal(sources_enter(sources, &mine, S), source);
            assert_false(source_take(source, 1));
            source_unpin(source);
        }
    }
    /* Every way, and what is shared, once: no stranger had more than one. */
    assert_in_range(n_strangers_in, SOURCES_SETS_MIN * SOURCES_WAYS - 1,
                    SOURCES_SETS_MIN * (SOURCES_WAYS + 1));
    assert_int_equal(sources->n_tracked, SOURCES_SETS_MIN * SOURCES_WAYS);
    assert_int_equal(sources_bytes(sources), SOURCES_SETS_MIN * 640);
    drop(sources, n_real);
}

static void test_sizes(void **state)
{
    struct sources *small = sources_new(1);
    struct sources *large = sources_new(10000000);

    (void)state;
    assert_int_equal(small->n_sets, SOURCES_SETS_MIN);
    assert_int_equal(large->n_sets, SOURCES_SETS_MAX);
    sources_free(small);
    sources_free(large);
    sources_free(NULL);
}

/* Threads that come and go on one set, with more sources than it has ways. */
enum { THREADS = 6, STEPS = 60000, KEYS = 20, LIMIT = 2, HELD = 4, NEW = 500 };

static struct {
    struct sources *sources;
    _Atomic int n_in[KEYS];
    _Atomic int n_most;
    _Atomic uint64_t n_refused;
} crowd;

struct held {
    struct source_entry *source;
    uint32_t key;
};

static void leave(struct held *held)
{
    if (!held->source)
        return;
    atomic_fetch_sub(&crowd.n_in[held->key], 1);
    source_give(held->source);
    held->source = NULL;
}

static void come(struct held *held, uint32_t number)
{
    struct source_key key = key_of(number);
    struct source_entry *source = sources_enter(crowd.sources, &key, S);
    int n;

    if (!source_take(source, LIMIT)) {
        source_unpin(source);
        atomic_fetch_add(&crowd.n_refused, 1);
        return;
    }
    *held = (struct held){source, number};
    n = atomic_fetch_add(&crowd.n_in[number], 1) + 1;
    if (n > crowd.n_most)
        crowd.n_most = n;
}

static void *wander(void *arg)
{
    struct seed seed = {(uintptr_t)arg};
    struct held held[HELD] = {0};

    for (int i = 0; i < STEPS; i++) {
        size_t at = seed_next(&seed, HELD);

        leave(&held[at]);
        if (seed_next(&seed, 3) > 0)
            come(&held[at], (uint32_t)seed_next(&seed, KEYS));
        if (seed_next(&seed, 64) == 0)
            sched_yield();
    }
    for (size_t i = 0; i < HELD; i++)
        leave(&held[i]);
    return NULL;
}

static void test_exact_over_threads(void **state)
{
    struct seed seed = seed_new();
    pthread_t threads[THREADS];
    size_t n_real;

    (void)state;
    memset(&crowd, 0, sizeof(crowd));
    crowd.sources = table(1, &n_real);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, wander,
                                        (void *)(uintptr_t)seed_next(&seed, UINT64_MAX)),
                         0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(crowd.n_most, LIMIT);
    assert_true(crowd.n_refused > 0);
    assert_true(crowd.sources->n_evicted > 100);
    assert_true(crowd.sources->n_shared > 100);
    assert_true(crowd.sources->n_tracked <= SOURCES_WAYS);
    assert_int_equal(source_live(&crowd.sources->sets->shared), 0);
    for (int i = 0; i < SOURCES_WAYS; i++)
        assert_int_equal(source_live(&crowd.sources->sets->ways[i]), 0);
    drop(crowd.sources, n_real);
}

/* All at once, for one source that nobody knew: one place, listed once. So few that no set is full
 * (once in 10^5 runs). */
static pthread_barrier_t gate;

static void *rush(void *arg)
{
    (void)arg;
    for (uint32_t i = 0; i < NEW; i++) {
        struct source_key key = key_of(i);

        pthread_barrier_wait(&gate);
        assert_true(source_take(sources_enter(crowd.sources, &key, S), 0));
    }
    return NULL;
}

static void test_a_new_source_is_listed_once(void **state)
{
    pthread_t threads[THREADS];
    struct source_view row;
    size_t n_real;
    size_t n = 0;
    size_t at = 0;

    (void)state;
    crowd.sources = table(SOURCES_SETS_MIN, &n_real);
    pthread_barrier_init(&gate, NULL, THREADS);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, rush, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&gate);
    for (; sources_next(crowd.sources, S, &at, &row); n++)
        assert_int_equal(row.n_live, THREADS);
    assert_int_equal(n, NEW);
    assert_int_equal(crowd.sources->n_tracked, NEW);
    drop(crowd.sources, n_real);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_limit_of_one_source),
        cmocka_unit_test(test_what_says_something_stays),
        cmocka_unit_test(test_strangers_share_where_a_set_is_full),
        cmocka_unit_test(test_refusals_count_from_the_first),
        cmocka_unit_test(test_all_that_is_known_can_be_read),
        cmocka_unit_test(test_debts_and_bans_can_be_read),
        cmocka_unit_test(test_a_flood_disarms_nothing),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_exact_over_threads),
        cmocka_unit_test(test_a_new_source_is_listed_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
