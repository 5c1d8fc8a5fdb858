#include "lb4/base/log_ring.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_RECORDS = 100000 };

static struct log_ring *ring;

static int set_up(void **state)
{
    (void)state;
    ring = log_ring_new("a name of more than fifteen");
    return ring ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    free(ring);
    return 0;
}

static void put_at(enum log_level level, uint64_t number, size_t n_bytes)
{
    struct log_record record = {
        .time_ns = number, .n_bytes = (uint16_t)n_bytes, .level = (uint8_t)level};
    char bytes[LOG_PAYLOAD_MAX];
    size_t n_rest = n_bytes / 3;

    memset(bytes, (int)(number % 251), n_bytes);
    log_ring_put(ring, &record, bytes, bytes + n_bytes - n_rest, n_rest);
}

static void put(uint64_t number, size_t n_bytes)
{
    put_at(LOG_LEVEL_INFO, number, n_bytes);
}

static bool take(uint64_t number)
{
    struct log_record record;
    char bytes[LOG_PAYLOAD_MAX];

    if (!log_ring_take(ring, atomic_load(&ring->head), &record, bytes))
        return false;
    assert_int_equal(record.time_ns, number);
    for (size_t i = 0; i < record.n_bytes; i++)
        assert_int_equal((unsigned char)bytes[i], number % 251);
    return true;
}

static void test_name(void **state)
{
    (void)state;
    assert_string_equal(ring->name, "a name of more ");
}

static void test_records_of_all_lengths(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 5000; i++) {
        put(i, i % (LOG_PAYLOAD_MAX + 1));
        assert_true(take(i));
        assert_false(take(i + 1));
    }
}

static void test_full(void **state)
{
    uint64_t n = 0;

    (void)state;
    while (atomic_load(&ring->dropped) == 0)
        put(n++, 1000);
    assert_in_range(n, 124, 132);
    assert_false(log_ring_has_room(ring));
    put(n, 60000 % LOG_PAYLOAD_MAX);
    assert_int_equal(atomic_load(&ring->dropped), 2);
    for (uint64_t i = 0; i < n - 1; i++)
        assert_true(take(i));
    assert_false(take(n));
    assert_true(log_ring_has_room(ring));
}

static void test_room(void **state)
{
    size_t used = 0;
    uint64_t n = 0;

    (void)state;
    for (; used < LOG_RING_BYTES / 4; used = atomic_load(&ring->head)) {
        assert_true(log_ring_has_room(ring));
        put_at(LOG_LEVEL_DEBUG, n++, 1000);
    }
    assert_false(log_ring_has_room(ring));
    assert_true(take(0));
    assert_true(log_ring_has_room(ring));
}

/* A record of no bytes more than the room is taken, one of a byte more is not. */
static void fill_exactly(enum log_level level, size_t limit)
{
    size_t head = sizeof(struct log_record);
    size_t used = atomic_load(&ring->head) - atomic_load(&ring->tail);
    uint64_t dropped = atomic_load(&ring->dropped);

    for (; limit - used > LOG_PAYLOAD_MAX + 2 * head; used += head + 1000)
        put_at(level, 0, 1000);
    put_at(level, 0, (limit - used - head) / 2);
    used += head + (limit - used - head) / 2;
    put_at(level, 0, limit - used - head + 1);
    assert_int_equal(atomic_load(&ring->dropped), dropped + 1);
    put_at(level, 0, limit - used - head);
    assert_int_equal(atomic_load(&ring->dropped), dropped + 1);
    assert_int_equal(atomic_load(&ring->head) - atomic_load(&ring->tail), limit);
}

static void test_to_the_last_byte(void **state)
{
    (void)state;
    fill_exactly(LOG_LEVEL_DEBUG, LOG_RING_BYTES / 2);
    fill_exactly(LOG_LEVEL_ERROR, LOG_RING_BYTES);
}

static uint64_t put_until_dropped(enum log_level level, uint64_t number)
{
    uint64_t before = atomic_load(&ring->dropped);

    while (atomic_load(&ring->dropped) == before)
        put_at(level, number++, 1000);
    return number - 1;
}

/* A thousand servers are probed at debug level: that they are down is told, too. */
static void test_debug_leaves_half(void **state)
{
    uint64_t half;
    uint64_t all;

    (void)state;
    half = put_until_dropped(LOG_LEVEL_DEBUG, 0);
    assert_in_range(half, 62, 66);
    all = put_until_dropped(LOG_LEVEL_WARN, half);
    assert_in_range(all, 124, 132);
    put_at(LOG_LEVEL_DEBUG, all, 0);
    assert_int_equal(atomic_load(&ring->dropped), 3);
    for (uint64_t i = 0; i < all; i++)
        assert_true(take(i));
    assert_false(take(all));
}

static void *produce(void *unused)
{
    for (uint64_t i = 0; i < N_RECORDS; i++)
        put(i, (size_t)(i * 7 % 300));
    return unused;
}

/* One puts, one takes: whole records, in order, and what is missing was counted. */
static void test_two_threads(void **state)
{
    pthread_t thread;
    uint64_t n_taken = 0;
    uint64_t last = 0;
    bool is_over = false;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, produce, NULL), 0);
    while (!is_over) {
        struct log_record record;
        char bytes[LOG_PAYLOAD_MAX];

        is_over = n_taken + atomic_load(&ring->dropped) == N_RECORDS;
        while (log_ring_take(ring, atomic_load(&ring->head), &record, bytes)) {
            assert_true(n_taken == 0 || record.time_ns > last);
            assert_int_equal(record.n_bytes, record.time_ns * 7 % 300);
            if (record.n_bytes > 0)
                assert_int_equal((unsigned char)bytes[record.n_bytes - 1], record.time_ns % 251);
            last = record.time_ns;
            n_taken++;
        }
    }
    pthread_join(thread, NULL);
    assert_int_equal(n_taken + atomic_load(&ring->dropped), N_RECORDS);
}

static void test_rings(void **state)
{
    struct log_rings rings = {NULL};
    struct log_ring *other = log_ring_new("other");

    (void)state;
    assert_non_null(other);
    log_rings_add(&rings, other);
    log_rings_add(&rings, log_ring_new("third"));
    assert_false(log_rings_have_records(&rings));
    atomic_store(&other->head, 1);
    assert_true(log_rings_have_records(&rings));
    assert_false(log_rings_have_untold(&rings));
    atomic_store(&other->dropped, 3);
    atomic_store(&atomic_load(&rings.first)->dropped, 4);
    assert_true(log_rings_have_untold(&rings));
    assert_int_equal(log_rings_dropped(&rings), 7);
    log_rings_free(&rings);
    assert_int_equal(log_rings_dropped(&rings), 0);
}

/* What is before a mark, and nothing once it was passed. */
static void test_marks(void **state)
{
    struct log_rings rings = {NULL};
    struct log_ring *marked = log_ring_new("marked");
    struct log_record record = {.n_bytes = 1};
    char bytes[LOG_PAYLOAD_MAX];
    size_t mark;

    (void)state;
    assert_non_null(marked);
    log_rings_add(&rings, marked);
    log_ring_put(marked, &record, "a", NULL, 0);
    log_ring_put(marked, &record, "b", NULL, 0);
    log_rings_mark(&rings);
    log_ring_put(marked, &record, "c", NULL, 0);
    mark = atomic_load(&marked->mark);
    assert_true(log_ring_take(marked, mark, &record, bytes) && bytes[0] == 'a');
    assert_true(log_ring_take(marked, mark, &record, bytes) && bytes[0] == 'b');
    assert_false(log_ring_take(marked, mark, &record, bytes));
    assert_true(log_ring_take(marked, atomic_load(&marked->head), &record, bytes) &&
                bytes[0] == 'c');
    log_ring_put(marked, &record, "d", NULL, 0);
    assert_false(log_ring_take(marked, mark, &record, bytes));
    assert_true(log_ring_take(marked, atomic_load(&marked->head), &record, bytes) &&
                bytes[0] == 'd');
    log_rings_free(&rings);
}

#define RING_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RING_TEST(test_name),         RING_TEST(test_records_of_all_lengths),
        RING_TEST(test_full),         RING_TEST(test_debug_leaves_half),
        RING_TEST(test_room),         RING_TEST(test_to_the_last_byte),
        RING_TEST(test_two_threads),  cmocka_unit_test(test_rings),
        cmocka_unit_test(test_marks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
