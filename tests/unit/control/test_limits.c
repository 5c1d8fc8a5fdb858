#include "lb4/control/limits.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "lb4/conf/model.h"

static const struct limits_kernel USUAL = {
    .pipe_soft_pages = 16384, .pipe_max_bytes = 1024 * 1024, .page_bytes = 4096, .n_ports = 28232};

static struct limits_budget computed(const struct limits_wish *wish)
{
    struct limits_budget budget;
    char error[LIMITS_TEXT_MAX] = "";

    if (limits_compute(wish, &USUAL, &budget, error) != 0)
        fail_msg("%s", error);
    return budget;
}

static uint64_t n_used(const struct limits_wish *wish, const struct limits_budget *budget)
{
    return budget->n_fixed + budget->n_reserve + budget->udp_sessions + 2ull * budget->maxconn +
           2ull * budget->pipes_per_worker * wish->n_workers;
}

static void test_auto_uses_the_limit_up(void **state)
{
    const struct limits_wish wish = {
        .descriptors = 20000, .n_workers = 2, .n_listeners = 4, .pipes_auto = true};
    struct limits_budget budget = computed(&wish);
    char text[LIMITS_TEXT_MAX];

    (void)state;
    assert_int_equal(budget.n_reserve, 312);
    assert_int_equal(budget.pipes_per_worker, 24); /* 3/4 of 16384 pages, 256 each, two workers */
    assert_int_equal(budget.pipe_bytes, 1024 * 1024);
    assert_int_equal(budget.probes, 1);
    assert_in_range(budget.maxconn, 9780, 9800);
    assert_in_range(n_used(&wish, &budget), 19999, 20000);
    assert_int_equal(budget.bound, LIMITS_BOUND_DESCRIPTORS);
    limits_explain(&budget, text);
    assert_non_null(strstr(text, "limited by RLIMIT_NOFILE 20000"));
}

static void test_limit_of_64_still_serves(void **state)
{
    const struct limits_wish wish = {
        .descriptors = 64, .n_workers = 2, .n_listeners = 2, .pipes_auto = true};
    struct limits_budget budget = computed(&wish);

    (void)state;
    assert_true(budget.maxconn >= 15);
    assert_int_equal(budget.pipes_per_worker, 1);
    assert_int_equal(budget.n_reserve, 8);
    assert_true(n_used(&wish, &budget) <= 64);
}

static void test_explicit_maxconn(void **state)
{
    struct limits_wish wish = {
        .descriptors = 1024, .n_workers = 2, .n_listeners = 2, .pipes_auto = true};
    uint32_t largest = computed(&wish).maxconn;
    struct limits_budget budget;
    char error[LIMITS_TEXT_MAX] = "";
    char number[16];

    (void)state;
    wish.maxconn = largest;
    budget = computed(&wish);
    assert_int_equal(budget.maxconn, largest);
    assert_int_equal(budget.bound, LIMITS_BOUND_CONFIG);
    wish.maxconn = largest + 1;
    assert_int_equal(limits_compute(&wish, &USUAL, &budget, error), -EMFILE);
    snprintf(number, sizeof(number), " %u", largest);
    assert_non_null(strstr(error, number)); /* the largest possible */
    assert_non_null(strstr(error, "RLIMIT_NOFILE 1024"));
}

static void test_limit_without_a_connection(void **state)
{
    struct limits_wish wish = {.descriptors = 29, .n_workers = 2, .n_listeners = 2};
    struct limits_budget budget;
    char error[LIMITS_TEXT_MAX] = "";

    (void)state;
    assert_int_equal(limits_compute(&wish, &USUAL, &budget, error), -EMFILE);
    assert_non_null(strstr(error, "RLIMIT_NOFILE 29"));
    wish.descriptors = 0;
    assert_int_equal(limits_compute(&wish, &USUAL, &budget, error), -EMFILE);
    wish.descriptors = 30;
    assert_int_equal(computed(&wish).maxconn, 1);
}

static void test_admin_has_descriptors_of_its_own(void **state)
{
    struct limits_wish wish = {.descriptors = 20000, .n_workers = 2, .n_listeners = 4};
    uint64_t n_fixed = computed(&wish).n_fixed;
    uint32_t maxconn = computed(&wish).maxconn;

    (void)state;
    wish.n_admin = 10;
    assert_int_equal(computed(&wish).n_fixed, n_fixed + 10);
    assert_int_equal(computed(&wish).maxconn, maxconn - 5);
}

/* One descriptor for each probed server, but never more than an eighth of all. */
static void test_probes_have_descriptors_of_their_own(void **state)
{
    struct limits_wish wish = {.descriptors = 20000, .n_workers = 2, .n_listeners = 4};
    uint64_t n_fixed = computed(&wish).n_fixed;
    uint32_t maxconn = computed(&wish).maxconn;

    (void)state;
    wish.n_probed = 1001;
    assert_int_equal(computed(&wish).probes, 1001);
    assert_int_equal(computed(&wish).n_fixed, n_fixed + 1000);
    assert_int_equal(computed(&wish).maxconn, maxconn - 500);
    wish.n_probed = 4000;
    assert_int_equal(computed(&wish).probes, 2500);
    wish.descriptors = 64;
    assert_int_equal(computed(&wish).probes, 8);
}

struct udp_case {
    uint64_t descriptors;
    uint64_t wished;
    uint32_t n_workers;
    uint32_t sessions;
};

/* A quarter, no more than there are ports or than is wished, one for each worker at least. */
static void test_udp_has_a_share_of_its_own(void **state)
{
    static const struct udp_case CASES[] = {
        {20000, 0, 2, 0},
        {20000, UINT64_MAX, 2, 5000},
        {20000, 4999, 2, 4999},
        {1 << 20, 1 << 20, 2, 21174},
        {20000, 1, 2, 2},
        {64, UINT64_MAX, 2, 16},
        {UINT64_MAX, UINT64_MAX, 1, 21174},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct limits_wish wish = {
            .descriptors = CASES[i].descriptors, .n_workers = CASES[i].n_workers, .n_listeners = 2};
        struct limits_budget without = computed(&wish);
        struct limits_budget with;
        char text[LIMITS_TEXT_MAX];
        char expected[64];

        wish.udp_sessions = CASES[i].wished;
        with = computed(&wish);
        assert_int_equal(with.udp_sessions, CASES[i].sessions);
        if (with.bound == LIMITS_BOUND_DESCRIPTORS) {
            assert_in_range(without.maxconn - with.maxconn, CASES[i].sessions / 2,
                            (CASES[i].sessions + 1) / 2);
            assert_true(n_used(&wish, &with) <= wish.descriptors);
        }
        snprintf(expected, sizeof(expected), "; udp sessions %u;", CASES[i].sessions);
        assert_int_equal(!strstr(limits_explain(&with, text), expected), CASES[i].sessions == 0);
    }
}

static void test_huge_limit_is_capped(void **state)
{
    const struct limits_wish wish = {
        .descriptors = UINT64_MAX, .n_workers = 1, .n_listeners = 1, .pipes_auto = true};
    struct limits_budget budget = computed(&wish);

    (void)state;
    assert_int_equal(budget.maxconn, CONF_MAXCONN_MAX);
    assert_int_equal(budget.bound, LIMITS_BOUND_BUILT_IN);
}

struct pipes_case {
    struct limits_kernel kernel;
    struct limits_wish wish;
    uint32_t pipes;
    uint32_t pipe_bytes;
};

static void test_pipes(void **state)
{
    static const struct pipes_case CASES[] = {
        /* no quota: the cap of auto */
        {{0, 1 << 20, 4096, 0},
         {.descriptors = 20000, .n_workers = 2, .pipes_auto = true},
         64,
         1 << 20},
        /* the quota divided by many workers: one each, though small */
        {{16384, 1 << 20, 4096, 0},
         {.descriptors = 20000, .n_workers = 64, .pipes_auto = true},
         1,
         1 << 20},
        /* smaller pipes, more of them */
        {{16384, 1 << 18, 4096, 0},
         {.descriptors = 20000, .n_workers = 4, .pipes_auto = true},
         48,
         1 << 18},
        /* pages of 64 KiB */
        {{1024, 1 << 20, 65536, 0},
         {.descriptors = 20000, .n_workers = 2, .pipes_auto = true},
         24,
         1 << 20},
        /* one sixteenth of the descriptors, over all workers */
        {{0, 1 << 20, 4096, 0},
         {.descriptors = 256, .n_workers = 2, .pipes_auto = true},
         4,
         1 << 20},
        {{0, 1 << 20, 4096, 0},
         {.descriptors = 64, .n_workers = 8, .pipes_auto = true},
         0,
         1 << 20},
        /* a wish goes beyond the quota but not beyond the descriptors */
        {{16384, 1 << 20, 4096, 0}, {.descriptors = 20000, .n_workers = 2, .pipes = 0}, 0, 1 << 20},
        {{16384, 1 << 20, 4096, 0}, {.descriptors = 20000, .n_workers = 2, .pipes = 1}, 1, 1 << 20},
        {{16384, 1 << 20, 4096, 0},
         {.descriptors = 20000, .n_workers = 2, .pipes = 300},
         300,
         1 << 20},
        {{16384, 1 << 20, 4096, 0},
         {.descriptors = 20000, .n_workers = 2, .pipes = 4096},
         312,
         1 << 20},
        /* nonsense from /proc divides nothing by zero */
        {{1, 1, 4096, 0}, {.descriptors = 20000, .n_workers = 2, .pipes_auto = true}, 1, 4096},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct limits_budget budget;
        char error[LIMITS_TEXT_MAX] = "";

        if (limits_compute(&CASES[i].wish, &CASES[i].kernel, &budget, error) != 0)
            fail_msg("case %zu: %s", i, error);
        if (budget.pipes_per_worker != CASES[i].pipes || budget.pipe_bytes != CASES[i].pipe_bytes)
            fail_msg("case %zu: %u pipes of %u", i, budget.pipes_per_worker, budget.pipe_bytes);
    }
}

/* Whatever is wished: a budget never costs more than the limit, and one connection more would. */
static void test_random_budgets_fit(void **state)
{
    int n_fine = 0;

    (void)state;
    srandom(4);
    for (int i = 0; i < 20000; i++) {
        const struct limits_wish wish = {
            .descriptors = (uint64_t)random() >> (random() % 31),
            .n_workers = 1 + (uint32_t)random() % CONF_WORKERS_MAX,
            .n_listeners = (uint64_t)random() % 64,
            .udp_sessions = random() % 2 ? 0 : (uint64_t)random(),
            .maxconn = random() % 2 ? 0 : (uint32_t)random() >> (random() % 31),
            .pipes = (uint32_t)random() % CONF_PIPES_MAX,
            .pipes_auto = random() % 2,
        };
        struct limits_budget budget;
        char error[LIMITS_TEXT_MAX] = "";

        if (limits_compute(&wish, &USUAL, &budget, error) != 0) {
            assert_true(strlen(error) > 0);
            continue;
        }
        n_fine++;
        assert_in_range(budget.maxconn, 1, wish.maxconn ? wish.maxconn : CONF_MAXCONN_MAX);
        assert_true(n_used(&wish, &budget) <= wish.descriptors);
        assert_int_equal(!budget.udp_sessions, !wish.udp_sessions);
        assert_true(2ull * budget.pipes_per_worker * wish.n_workers <= wish.descriptors / 16);
        if (budget.bound == LIMITS_BOUND_DESCRIPTORS)
            assert_true(n_used(&wish, &budget) + 2 > wish.descriptors);
    }
    assert_true(n_fine > 1000);
}

static void test_raise_reaches_the_hard_limit(void **state)
{
    struct rlimit limit;
    struct rlimit low;
    uint64_t told = 0;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low = (struct rlimit){.rlim_cur = 32, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    assert_int_equal(limits_raise_descriptors(&told), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &low), 0);
    assert_true(told == limit.rlim_max && low.rlim_cur == limit.rlim_max);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void test_kernel_values_are_sane(void **state)
{
    struct limits_kernel kernel = {.pipe_soft_pages = 12345678901};
    FILE *range = fopen("/proc/sys/net/ipv4/ip_local_port_range", "r");
    unsigned from;
    unsigned to;

    (void)state;
    limits_read_kernel(&kernel);
    assert_true(kernel.pipe_soft_pages != 12345678901);
    assert_true(kernel.page_bytes >= 4096);
    assert_true(kernel.pipe_max_bytes >= kernel.page_bytes);
    assert_non_null(range);
    assert_int_equal(fscanf(range, "%u %u", &from, &to), 2);
    fclose(range);
    assert_int_equal(kernel.n_ports, to - from + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_auto_uses_the_limit_up),
        cmocka_unit_test(test_limit_of_64_still_serves),
        cmocka_unit_test(test_explicit_maxconn),
        cmocka_unit_test(test_limit_without_a_connection),
        cmocka_unit_test(test_admin_has_descriptors_of_its_own),
        cmocka_unit_test(test_probes_have_descriptors_of_their_own),
        cmocka_unit_test(test_udp_has_a_share_of_its_own),
        cmocka_unit_test(test_huge_limit_is_capped),
        cmocka_unit_test(test_pipes),
        cmocka_unit_test(test_random_budgets_fit),
        cmocka_unit_test(test_raise_reaches_the_hard_limit),
        cmocka_unit_test(test_kernel_values_are_sane),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
