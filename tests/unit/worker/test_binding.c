#include "lb4/worker/binding.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "lb4/base/clock.h"

enum { MB = 1000 * 1000 };

static struct rig {
    struct binding binding;
    cpu_set_t all; /* CPUs 0 and 1 */
    cpu_set_t now; /* of the thread, as the wrapped calls have it */
    int get_errno; /* what sched_getaffinity(2) fails with */
    int set_errno; /* what sched_setaffinity(2) fails with */
    unsigned n_sets;
    uint64_t now_ns;
    uint64_t n_bytes;
} rig;

int __wrap_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set);
int __wrap_sched_setaffinity(pid_t pid, size_t size, const cpu_set_t *set);

int __wrap_sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
    assert_int_equal(pid, 0);
    assert_int_equal(size, sizeof(*set));
    *set = rig.now;
    errno = rig.get_errno;
    return rig.get_errno ? -1 : 0;
}

int __wrap_sched_setaffinity(pid_t pid, size_t size, const cpu_set_t *set)
{
    assert_int_equal(pid, 0);
    assert_int_equal(size, sizeof(*set));
    rig.n_sets++;
    errno = rig.set_errno;
    if (rig.set_errno)
        return -1;
    rig.now = *set;
    return 0;
}

static int open_rig(void **state)
{
    (void)state;
    rig = (struct rig){.now_ns = 1000 * CLOCK_NS_PER_S};
    CPU_SET(0, &rig.all);
    CPU_SET(1, &rig.all);
    CPU_SET(1, &rig.now);
    binding_start(&rig.binding, &rig.all);
    return 0;
}

/* Turns of 1 ms each that move so much. */
static void turn(unsigned for_ms, unsigned mb_per_s)
{
    for (unsigned i = 0; i < for_ms; i++) {
        rig.now_ns += CLOCK_NS_PER_MS;
        rig.n_bytes += (uint64_t)mb_per_s * MB / 1000;
        binding_turn(&rig.binding, rig.now_ns, rig.n_bytes);
    }
}

static bool is_at_home(void)
{
    return CPU_COUNT(&rig.now) == 1 && CPU_ISSET(1, &rig.now);
}

static void test_bulk(void **state)
{
    (void)state;
    turn(5000, 0);
    turn(5000, 200);
    assert_true(is_at_home());
    assert_int_equal(rig.n_sets, 1); /* at the start */
    turn(200, 300);
    assert_true(CPU_EQUAL(&rig.now, &rig.all));
    turn(5000, 3000);
    turn(5000, 70);
    assert_true(CPU_EQUAL(&rig.now, &rig.all));
    assert_int_equal(rig.n_sets, 2);
    turn(200, 60);
    assert_true(is_at_home());
    assert_int_equal(rig.n_sets, 3);
}

/* What it has moved before the first look, or over an idle time, is no rate of now. */
static void test_first_look(void **state)
{
    (void)state;
    rig.n_bytes = UINT64_C(1000000) * 1000 * MB;
    turn(100, 1);
    assert_true(is_at_home());
    rig.now_ns += 3600 * CLOCK_NS_PER_S;
    rig.n_bytes += UINT64_C(1000) * MB;
    turn(100, 1);
    assert_true(is_at_home());
}

/* Some milliseconds are no rate either. */
static void test_a_burst(void **state)
{
    (void)state;
    turn(1000, 1);
    turn(4, 3000);
    turn(1000, 1);
    assert_int_equal(rig.n_sets, 1);
}

static void test_back_after_an_idle_time(void **state)
{
    (void)state;
    turn(200, 1000);
    assert_false(is_at_home());
    rig.now_ns += 3600 * CLOCK_NS_PER_S;
    turn(1, 0);
    assert_true(is_at_home());
}

/* Not bound; or it was to be, and the kernel did not. */
static void test_nothing_to_choose(void **state)
{
    (void)state;
    rig.binding = (struct binding){0};
    binding_start(&rig.binding, NULL);
    rig.now = rig.all;
    binding_start(&rig.binding, &rig.all);
    turn(1000, 3000);
    assert_int_equal(rig.n_sets, 1);
}

static void test_unknown_cpus(void **state)
{
    (void)state;
    rig.binding = (struct binding){0};
    rig.get_errno = EINVAL;
    binding_start(&rig.binding, &rig.all);
    turn(1000, 3000);
    assert_int_equal(rig.n_sets, 1);
    rig.get_errno = 0;
    binding_start(&rig.binding, &rig.all);
    rig.get_errno = EINVAL;
    turn(1000, 3000);
    assert_int_equal(rig.n_sets, 2);
}

static void test_refused_from_the_start(void **state)
{
    (void)state;
    rig.binding = (struct binding){0};
    rig.set_errno = EPERM;
    binding_start(&rig.binding, &rig.all);
    turn(1000, 3000);
    assert_int_equal(rig.n_sets, 2);
}

/* Its CPU has gone. */
static void test_refused_later(void **state)
{
    (void)state;
    turn(200, 1000);
    rig.set_errno = EINVAL;
    turn(1000, 0);
    turn(1000, 3000);
    assert_true(CPU_EQUAL(&rig.now, &rig.all));
    assert_int_equal(rig.n_sets, 3);
}

/* An operator pins it elsewhere, and back; both while it is on its own CPU and while it is not. */
static void test_moved_by_others(void **state)
{
    cpu_set_t theirs;

    (void)state;
    CPU_ZERO(&theirs);
    CPU_SET(2, &theirs);
    rig.now = theirs;
    turn(1000, 3000);
    assert_true(CPU_EQUAL(&rig.now, &theirs));
    CPU_ZERO(&rig.now);
    CPU_SET(1, &rig.now);
    turn(200, 3000);
    assert_true(CPU_EQUAL(&rig.now, &rig.all));
    rig.now = theirs;
    turn(1000, 0);
    assert_true(CPU_EQUAL(&rig.now, &theirs));
    assert_int_equal(rig.n_sets, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_bulk, open_rig),
        cmocka_unit_test_setup(test_first_look, open_rig),
        cmocka_unit_test_setup(test_a_burst, open_rig),
        cmocka_unit_test_setup(test_back_after_an_idle_time, open_rig),
        cmocka_unit_test_setup(test_nothing_to_choose, open_rig),
        cmocka_unit_test_setup(test_unknown_cpus, open_rig),
        cmocka_unit_test_setup(test_refused_from_the_start, open_rig),
        cmocka_unit_test_setup(test_refused_later, open_rig),
        cmocka_unit_test_setup(test_moved_by_others, open_rig),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
