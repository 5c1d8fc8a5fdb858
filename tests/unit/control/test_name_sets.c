#include "lb4/control/name_sets.h"

#include <netdb.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../seed.h"

static struct name_sets sets;

static struct resolver_name found(uint16_t port)
{
    struct resolver_name name = {.n_addrs = 1};

    addr_any(AF_INET, port, &name.addrs[0]);
    return name;
}

static int end(void **state)
{
    (void)state;
    name_sets_fini(&sets);
    assert_int_equal(sets.n, 0);
    return 0;
}

static void test_sorted(void **state)
{
    struct seed seed = seed_new();
    char host[16];

    (void)state;
    for (int i = 0; i < 2000; i++) {
        bool is_srv = seed_next(&seed, 2);
        struct name_set *set;

        snprintf(host, sizeof(host), "h%u", (unsigned)seed_next(&seed, 300));
        set = name_sets_add(&sets, host, is_srv);
        assert_ptr_equal(name_sets_find(&sets, host, is_srv), set);
        assert_string_equal(set->host, host);
        assert_int_equal(set->is_srv, is_srv);
    }
    assert_true(sets.n <= 600);
    assert_null(name_sets_find(&sets, "other", false));
}

static void test_tidy(void **state)
{
    (void)state;
    name_sets_add(&sets, "a", false)->is_used = true;
    name_sets_add(&sets, "b", false);
    name_sets_add(&sets, "c", false)->is_under_way = true;
    name_sets_tidy(&sets);
    assert_int_equal(sets.n, 2);
    assert_null(name_sets_find(&sets, "b", false));
    assert_non_null(name_sets_find(&sets, "c", false));
}

/* The last good answer stays. */
static void test_answers(void **state)
{
    const struct resolver_name failed = {.error = EAI_AGAIN};
    struct resolver_name good = found(1);
    struct name_set *set = name_sets_add(&sets, "a", true);
    char text[NAME_TEXT_MAX];

    (void)state;
    assert_string_equal(name_set_format(set, text), "srv:a");
    assert_string_equal(name_set_state(set), "unresolved");
    name_set_take(set, &failed, 5);
    assert_int_equal(set->error, EAI_AGAIN);
    assert_int_equal(set->failing_ns, 5);
    assert_string_equal(name_set_state(set), "unresolved");
    name_set_take(set, &good, 6);
    assert_true(set->is_other);
    assert_int_equal(set->failing_ns, 0);
    assert_int_equal(set->good_ns, 6);
    assert_ptr_equal(set->good.host, set->host);
    assert_string_equal(name_set_state(set), "ok");
    set->is_other = false;
    name_set_take(set, &good, 7);
    assert_false(set->is_other);
    name_set_take(set, &failed, 8);
    name_set_take(set, &failed, 9);
    assert_int_equal(set->failing_ns, 8);
    assert_int_equal(set->n_in_a_row, 2);
    assert_int_equal(set->good.n_addrs, 1);
    assert_int_equal(set->good_ns, 7);
    assert_string_equal(name_set_state(set), "failing");
    good.ranks[0].weight = 3;
    name_set_take(set, &good, 10);
    assert_true(set->is_other);
    assert_int_equal(set->n_good, 3);
    assert_int_equal(set->n_failed, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_sorted, end),
        cmocka_unit_test_teardown(test_tidy, end),
        cmocka_unit_test_teardown(test_answers, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
