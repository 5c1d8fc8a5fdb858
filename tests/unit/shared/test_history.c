#include "lb4/shared/history.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "lb4/base/clock.h"

enum { N_WRITTEN = 200000 };

static void append(struct history *history, uint64_t number)
{
    struct history_entry entry = {
        .at_ns = number, .lasted_ns = 3 * number, .standing = (uint32_t)number};

    snprintf(entry.service, sizeof(entry.service), "service-%llu", (unsigned long long)number);
    snprintf(entry.server, sizeof(entry.server), "server-%llu", (unsigned long long)number);
    snprintf(entry.why, sizeof(entry.why), "because of %llu", (unsigned long long)number);
    history_append(history, &entry);
}

static void expect(const struct history_entry *entry, uint64_t number)
{
    char why[NOTE_TEXT_MAX];

    snprintf(why, sizeof(why), "because of %llu", (unsigned long long)number);
    assert_int_equal(entry->at_ns, number);
    assert_int_equal(entry->lasted_ns, 3 * number);
    assert_int_equal(entry->standing, (uint32_t)number);
    assert_string_equal(entry->why, why);
    assert_int_equal(strtoull(strchr(entry->service, '-') + 1, NULL, 10), number);
    assert_int_equal(strtoull(strchr(entry->server, '-') + 1, NULL, 10), number);
}

static void test_keeps_the_last(void **state)
{
    struct history *history = history_new();
    struct history_entry entry;
    uint64_t first;
    uint64_t end;

    (void)state;
    history_range(history, &first, &end);
    assert_int_equal(first, end);
    assert_false(history_read(history, 0, &entry));
    for (uint64_t i = 0; i < HISTORY_ENTRIES + 10; i++)
        append(history, i);
    history_range(history, &first, &end);
    assert_int_equal(first, 10);
    assert_int_equal(end, HISTORY_ENTRIES + 10);
    assert_false(history_read(history, 9, &entry));
    assert_false(history_read(history, end, &entry));
    for (uint64_t i = first; i < end; i++) {
        assert_true(history_read(history, i, &entry));
        expect(&entry, i);
    }
    history_free(history);
}

static uint64_t wall_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* When it happened, not when it was written down; and never before the last one. */
static void test_time(void **state)
{
    struct history *history = history_new();
    uint64_t now_ns = clock_now_ns();
    uint64_t now_ms = wall_ms();
    struct history_entry entries[3];

    (void)state;
    append(history, now_ns - 5000 * CLOCK_NS_PER_MS);
    append(history, now_ns - 1000 * CLOCK_NS_PER_MS);
    append(history, now_ns - 1500 * CLOCK_NS_PER_MS);
    for (uint64_t i = 0; i < 3; i++)
        assert_true(history_read(history, i, &entries[i]));
    assert_in_range(entries[0].at_ms, now_ms - 5010, now_ms - 4990);
    assert_in_range(entries[1].at_ms, now_ms - 1010, now_ms - 990);
    assert_int_equal(entries[2].at_ns, entries[1].at_ns);
    history_free(history);
}

static void *write_many(void *arg)
{
    for (uint64_t i = 0; i < N_WRITTEN; i++)
        append(arg, i);
    return NULL;
}

/* What is read is whole, while it is overwritten again and again. */
static void test_reads_whole_entries(void **state)
{
    struct history *history = history_new();
    struct history_entry entry;
    pthread_t writer;
    uint64_t first;
    uint64_t end = 0;

    (void)state;
    assert_int_equal(pthread_create(&writer, NULL, write_many, history), 0);
    while (end < N_WRITTEN) {
        history_range(history, &first, &end);
        for (uint64_t i = first; i < end; i += 37)
            if (history_read(history, i, &entry))
                expect(&entry, i);
    }
    pthread_join(writer, NULL);
    history_free(history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keeps_the_last),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_reads_whole_entries),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
