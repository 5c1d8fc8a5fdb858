#include "lb4/shared/history.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

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
    assert_in_range(entry.at_ms / 1000, time(NULL) - 60, time(NULL) + 1);
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
        cmocka_unit_test(test_reads_whole_entries),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
