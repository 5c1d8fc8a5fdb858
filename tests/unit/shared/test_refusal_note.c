#include "lb4/shared/refusal_note.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const uint64_t S = 1000000000ull;

static struct addr client(const char *text)
{
    struct addr addr;

    assert_int_equal(addr_parse(text, &addr), 0);
    return addr;
}

static void test_the_first_at_once_then_sums(void **state)
{
    struct refusal_note note = {0};
    struct refusal_told told;
    const struct addr a = client("10.0.0.1");
    const struct addr b = client("10.0.0.2");

    (void)state;
    assert_int_equal(refusal_note_due_ns(&note), UINT64_MAX);
    assert_true(refusal_note_add(&note, &a, 100 * S, &told));
    assert_int_equal(told.n, 1);
    assert_int_equal(told.over_ns, 0);
    assert_true(told.has_last && addr_equal_host(&told.last, &a));
    assert_int_equal(refusal_note_due_ns(&note), UINT64_MAX);
    for (uint64_t i = 0; i < 50; i++)
        assert_false(refusal_note_add(&note, i == 49 ? &b : &a, 101 * S + i, &told));
    assert_int_equal(refusal_note_due_ns(&note), 110 * S);
    assert_false(refusal_note_look(&note, 110 * S - 1, &told));
    assert_true(refusal_note_look(&note, 110 * S, &told));
    assert_int_equal(told.n, 50);
    assert_int_equal(told.over_ns, 10 * S);
    assert_true(told.has_last && addr_equal_host(&told.last, &b));
    assert_false(refusal_note_look(&note, 130 * S, &told));
}

static void test_after_a_quiet_time_it_is_the_first_again(void **state)
{
    struct refusal_note note = {0};
    struct refusal_told told;
    const struct addr a = client("10.0.0.1");

    (void)state;
    assert_true(refusal_note_add(&note, &a, 100 * S, &told));
    assert_true(refusal_note_add(&note, &a, 112 * S, &told));
    assert_int_equal(told.over_ns, 12 * S);
    assert_true(refusal_note_add(&note, &a, 200 * S, &told));
    assert_int_equal(told.n, 1);
    assert_int_equal(told.over_ns, 0);
}

static void test_who_meets_another_does_not_wait(void **state)
{
    struct refusal_note note = {.is_busy = true};
    struct refusal_told told;
    const struct addr a = client("10.0.0.1");

    (void)state;
    assert_true(refusal_note_add(&note, &a, 100 * S, &told));
    assert_int_equal(told.n, 1);
    assert_false(told.has_last);
}

static void test_another_service_begins_anew(void **state)
{
    struct refusal_note note = {0};
    struct refusal_told told;
    const struct addr a = client("10.0.0.1");

    (void)state;
    assert_true(refusal_note_add(&note, &a, 100 * S, &told));
    assert_false(refusal_note_add(&note, &a, 101 * S, &told));
    refusal_note_clear(&note);
    assert_false(refusal_note_look(&note, 120 * S, &told));
    assert_true(refusal_note_add(&note, &a, 121 * S, &told));
    assert_int_equal(told.over_ns, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_at_once_then_sums),
        cmocka_unit_test(test_after_a_quiet_time_it_is_the_first_again),
        cmocka_unit_test(test_who_meets_another_does_not_wait),
        cmocka_unit_test(test_another_service_begins_anew),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
