#include "lb4/shared/local_trouble.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_causes(void **state)
{
    (void)state;
    assert_int_equal(local_cause_of(-EADDRNOTAVAIL, ORIGIN_CONNECT), LOCAL_PORTS);
    assert_int_equal(local_cause_of(EADDRINUSE, ORIGIN_CONNECT), LOCAL_PORTS);
    assert_int_equal(local_cause_of(-EADDRNOTAVAIL, ORIGIN_SOURCE), LOCAL_SOURCE);
    assert_int_equal(local_cause_of(-EINVAL, ORIGIN_CONNECT), LOCAL_SOURCE);
    assert_int_equal(local_cause_of(-ENODEV, ORIGIN_INTERFACE), LOCAL_INTERFACE);
    assert_int_equal(local_cause_of(EMFILE, ORIGIN_SOCKET), LOCAL_DESCRIPTORS);
    assert_int_equal(local_cause_of(ENOBUFS, ORIGIN_SOCKET), LOCAL_MEMORY);
    assert_int_equal(local_cause_of(EPERM, ORIGIN_MARK), LOCAL_FORBIDDEN);
    assert_int_equal(local_cause_of(EAGAIN, ORIGIN_CONNECT), LOCAL_OTHER);
    for (int i = 0; i < LOCAL_CAUSES; i++)
        assert_non_null(local_cause_word((enum local_cause)i));
}

static void test_sums(void **state)
{
    struct stats_local worker = {0};
    struct stats_local_sum sum = {0};
    struct stats_local_sum all = {0};

    (void)state;
    stats_add(&worker.errors[LOCAL_PORTS], 3);
    stats_add_local(&worker, &sum);
    stats_add_local(&worker, &sum);
    stats_carry_local(&all, &sum);
    assert_int_equal(all.errors[LOCAL_PORTS], 6);
    assert_int_equal(all.errors[LOCAL_MEMORY], 0);
}

static void test_say(void **state)
{
    struct local_say say = {0};

    (void)state;
    assert_true(local_say_is_due(&say, 5));
    assert_false(local_say_is_due(&say, 4));
    assert_false(local_say_is_due(&say, 4 + LOCAL_SAY_NS));
    assert_true(local_say_is_due(&say, 5 + LOCAL_SAY_NS));
    assert_false(local_say_is_due(&say, 6 + LOCAL_SAY_NS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_causes),
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_say),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
