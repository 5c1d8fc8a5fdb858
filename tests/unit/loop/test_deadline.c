#include "lb4/loop/deadline.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "../seed.h"

static void init_touched(struct deadline_list *list, uint64_t duration_ns)
{
    deadline_list_init(list, duration_ns, deadline_slack_ns(duration_ns));
}

static const uint64_t MS = 1000000;

static void test_slack(void **state)
{
    static const struct {
        uint64_t duration_ns;
        uint64_t slack_ns;
    } cases[] = {
        {0, 0},
        {7, 0},
        {8, 1},
        {80 * 1000000ull, 10 * 1000000ull},
        {512 * 1000000ull, 64 * 1000000ull},
        {513 * 1000000ull, 64 * 1000000ull},
        {3600 * 1000000000ull, 64 * 1000000ull},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct deadline_list list;

        init_touched(&list, cases[i].duration_ns);
        assert_int_equal(list.duration_ns, cases[i].duration_ns);
        assert_int_equal(list.slack_ns, cases[i].slack_ns);
        assert_true(list_is_empty(&list.entries));
    }
}

static void test_wait_ms(void **state)
{
    static const struct {
        uint64_t due_ns;
        uint64_t now_ns;
        int wait_ms;
    } cases[] = {
        {UINT64_MAX, 5, -1},
        {5, 5, 0},
        {4, 5, 0},
        {0, UINT64_MAX, 0},
        {6, 5, 1},
        {1000000, 0, 1},
        {1000001, 0, 2},
        {2999999, 1000000, 2},
        {(uint64_t)INT_MAX * 1000000, 0, INT_MAX},
        {(uint64_t)INT_MAX * 1000000 + 1, 0, INT_MAX},
        {UINT64_MAX / 2, 0, INT_MAX},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(deadline_wait_ms(cases[i].due_ns, cases[i].now_ns), cases[i].wait_ms);
}

static void test_expires_in_order(void **state)
{
    struct deadline_list list;
    struct deadline first;
    struct deadline second;

    (void)state;
    init_touched(&list, 80 * MS);
    deadline_init(&first);
    deadline_init(&second);
    assert_int_equal(deadline_earliest(&list, UINT64_MAX), UINT64_MAX);
    assert_null(deadline_expire(&list, UINT64_MAX));
    deadline_start(&list, &first, 100 * MS);
    deadline_start(&list, &second, 101 * MS);
    assert_int_equal(deadline_earliest(&list, UINT64_MAX), 190 * MS);
    assert_int_equal(deadline_earliest(&list, 7), 7);
    assert_null(deadline_expire(&list, 190 * MS - 1));
    assert_ptr_equal(deadline_expire(&list, 200 * MS), &first);
    assert_ptr_equal(deadline_expire(&list, 200 * MS), &second);
    assert_null(deadline_expire(&list, 200 * MS));
    assert_true(list_is_empty(&first.link));
}

static void test_start_leaves_other_list(void **state)
{
    struct deadline_list long_list;
    struct deadline_list short_list;
    struct deadline deadline;

    (void)state;
    init_touched(&long_list, 800 * MS);
    init_touched(&short_list, 8 * MS);
    deadline_init(&deadline);
    deadline_start(&long_list, &deadline, 0);
    deadline_start(&short_list, &deadline, 0);
    assert_true(list_is_empty(&long_list.entries));
    assert_int_equal(deadline_earliest(&short_list, UINT64_MAX), 9 * MS);
    deadline_stop(&deadline);
    deadline_stop(&deadline);
    assert_true(list_is_empty(&short_list.entries));
}

/* A touch within the slack leaves the neighbours alone; a later one moves to the tail. */
static void test_touch_moves_after_slack(void **state)
{
    struct deadline_list list;
    struct deadline busy;
    struct deadline other;

    (void)state;
    init_touched(&list, 80 * MS);
    deadline_init(&busy);
    deadline_init(&other);
    deadline_start(&list, &busy, 0);
    deadline_start(&list, &other, 0);
    deadline_touch(&list, &busy, 10 * MS);
    assert_ptr_equal(list.entries.next, &busy.link);
    assert_int_equal(busy.due_ns, 90 * MS);
    deadline_touch(&list, &busy, 10 * MS + 1);
    assert_ptr_equal(list.entries.next, &other.link);
    assert_int_equal(busy.due_ns, 100 * MS + 1);
}

/* The reference: when each deadline was last touched, and whether it runs. */
enum { N_DEADLINES = 48, N_STEPS = 20000 };

struct reference {
    struct deadline deadlines[N_DEADLINES];
    uint64_t touched_ns[N_DEADLINES];
    bool is_running[N_DEADLINES];
};

static void change_one(struct reference *reference, struct deadline_list *list, struct seed *seed,
                       uint64_t now_ns)
{
    size_t i = seed_next(seed, N_DEADLINES);
    struct deadline *deadline = &reference->deadlines[i];

    switch (seed_next(seed, 4)) {
    case 0:
        deadline_start(list, deadline, now_ns);
        reference->is_running[i] = true;
        reference->touched_ns[i] = now_ns;
        break;
    case 1:
        deadline_stop(deadline);
        reference->is_running[i] = false;
        break;
    default:
        if (!reference->is_running[i])
            return;
        deadline_touch(list, deadline, now_ns);
        reference->touched_ns[i] = now_ns;
    }
}

static void check_expired(struct reference *reference, struct deadline_list *list, uint64_t now_ns)
{
    uint64_t latest_ns = list->duration_ns + list->slack_ns;
    struct deadline *due;

    while ((due = deadline_expire(list, now_ns))) {
        size_t i = (size_t)(due - reference->deadlines);

        assert_true(reference->is_running[i]);
        assert_true(now_ns - reference->touched_ns[i] >= list->duration_ns);
        reference->is_running[i] = false;
    }
    for (size_t i = 0; i < N_DEADLINES; i++) {
        if (reference->is_running[i])
            assert_true(now_ns - reference->touched_ns[i] < latest_ns);
    }
}

static void check_earliest(const struct reference *reference, const struct deadline_list *list)
{
    uint64_t earliest_ns = UINT64_MAX;

    for (size_t i = 0; i < N_DEADLINES; i++) {
        if (reference->is_running[i] && reference->deadlines[i].due_ns < earliest_ns)
            earliest_ns = reference->deadlines[i].due_ns;
    }
    assert_int_equal(deadline_earliest(list, UINT64_MAX), earliest_ns);
}

static void test_never_early_never_late(void **state)
{
    struct seed seed = seed_new();
    struct reference reference = {0};
    struct deadline_list list;
    uint64_t now_ns = 1 + seed_next(&seed, 1000 * MS);

    (void)state;
    init_touched(&list, 1 + seed_next(&seed, 1000 * MS));
    for (size_t i = 0; i < N_DEADLINES; i++)
        deadline_init(&reference.deadlines[i]);
    for (int step = 0; step < N_STEPS; step++) {
        now_ns += seed_next(&seed, seed_next(&seed, 64) ? list.duration_ns / 64 + 2
                                                        : 2 * list.duration_ns + 2);
        check_expired(&reference, &list, now_ns);
        change_one(&reference, &list, &seed, now_ns);
        check_earliest(&reference, &list);
    }
}

static void test_without_slack_it_is_exact(void **state)
{
    struct deadline_list list;
    struct deadline deadline;

    (void)state;
    deadline_init(&deadline);
    deadline_list_init(&list, 3000 * MS, 0);
    deadline_start(&list, &deadline, 5 * MS);
    assert_null(deadline_expire(&list, 3005 * MS - 1));
    assert_ptr_equal(deadline_expire(&list, 3005 * MS), &deadline);
}

static void test_set_shares_lists(void **state)
{
    struct deadline_set set = {0};
    struct deadline_list *lists[100];

    (void)state;
    for (uint64_t i = 0; i < 100; i++)
        lists[i] = deadline_set_list(&set, i / 2, i % 2);
    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(lists[i]->duration_ns, i / 2);
        assert_int_equal(lists[i]->slack_ns, i % 2);
        assert_ptr_equal(deadline_set_list(&set, i / 2, i % 2), lists[i]);
    }
    assert_int_equal(set.n_lists, 100);
    deadline_set_fini(&set);
    assert_int_equal(set.n_lists, 0);
    deadline_set_fini(&set);
}

static void test_set_expires_all_lists(void **state)
{
    struct deadline_set set = {0};
    struct deadline deadlines[3];
    size_t at = 0;

    (void)state;
    assert_int_equal(deadline_set_earliest(&set, 7), 7);
    assert_null(deadline_set_expire(&set, &at, UINT64_MAX));
    for (uint64_t i = 0; i < 3; i++) {
        deadline_init(&deadlines[i]);
        deadline_start(deadline_set_list(&set, (3 - i) * 10, 0), &deadlines[i], 100);
    }
    assert_int_equal(deadline_set_earliest(&set, UINT64_MAX), 110);
    assert_int_equal(deadline_set_earliest(&set, 105), 105);
    assert_null(deadline_set_expire(&set, &at, 109));
    at = 0;
    assert_ptr_equal(deadline_set_expire(&set, &at, 120), &deadlines[1]);
    /* What comes due on a list before is for the next round. */
    deadline_stop(&deadlines[0]);
    deadline_start(set.lists[0], &deadlines[1], 0);
    assert_ptr_equal(deadline_set_expire(&set, &at, 120), &deadlines[2]);
    assert_null(deadline_set_expire(&set, &at, 120));
    at = 0;
    assert_ptr_equal(deadline_set_expire(&set, &at, 120), &deadlines[1]);
    assert_null(deadline_set_expire(&set, &at, 120));
    deadline_set_fini(&set);
}

/* A list goes when nobody starts deadlines on it any more, and none runs; not before. */
static void test_set_drops_unused_lists(void **state)
{
    struct deadline_set set = {0};
    struct deadline deadline;
    struct deadline_list *kept = deadline_set_list(&set, 10, 0);
    struct deadline_list *shared = deadline_set_list(&set, 20, 0);
    struct deadline_list *busy = deadline_set_list(&set, 30, 0);
    size_t at = 0;

    (void)state;
    assert_ptr_equal(deadline_set_list(&set, 20, 0), shared);
    deadline_init(&deadline);
    deadline_start(busy, &deadline, 100);
    deadline_list_leave(shared);
    deadline_list_leave(busy);
    deadline_list_leave(NULL);
    assert_non_null(deadline_set_list(&set, 40, 0));
    assert_int_equal(set.n_lists, 4);
    assert_int_equal(deadline_set_earliest(&set, UINT64_MAX), 130);
    deadline_list_leave(shared);
    assert_ptr_equal(deadline_set_expire(&set, &at, 130), &deadline);
    for (uint64_t i = 0; i < 1000; i++)
        deadline_list_leave(deadline_set_list(&set, 1000 + i, 0));
    assert_int_equal(set.n_lists, 3); /* 10, 40, and the last */
    assert_ptr_equal(deadline_set_list(&set, 10, 0), kept);
    deadline_set_fini(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_slack_it_is_exact),
        cmocka_unit_test(test_slack),
        cmocka_unit_test(test_wait_ms),
        cmocka_unit_test(test_expires_in_order),
        cmocka_unit_test(test_start_leaves_other_list),
        cmocka_unit_test(test_touch_moves_after_slack),
        cmocka_unit_test(test_never_early_never_late),
        cmocka_unit_test(test_set_shares_lists),
        cmocka_unit_test(test_set_expires_all_lists),
        cmocka_unit_test(test_set_drops_unused_lists),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
