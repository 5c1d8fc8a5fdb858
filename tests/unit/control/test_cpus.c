#include "lb4/control/cpus.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static struct cpus of(size_t first, size_t step, size_t n)
{
    struct cpus cpus = {.n = n};

    CPU_ZERO(&cpus.set);
    for (size_t i = 0; i < n; i++)
        CPU_SET(first + i * step, &cpus.set);
    return cpus;
}

static void test_as_many_threads_as_cpus(void **state)
{
    struct cpus four = of(8, 2, 4);
    struct cpus one = of(0, 1, 1);
    struct cpus unknown = {.n = 2000};

    (void)state;
    assert_true(cpus_fit(&four, 4));
    assert_false(cpus_fit(&four, 3));
    assert_false(cpus_fit(&four, 5));
    assert_false(cpus_fit(&one, 1)); /* there is nothing to choose */
    assert_false(cpus_fit(&unknown, 2000));
}

static void *read_own(void *arg)
{
    cpus_read(arg);
    return NULL;
}

/* On every CPU of the test in turn; the test itself stays free. */
static void test_bound_to_its_own(void **state)
{
    struct cpus all;
    struct cpus after;
    struct cpus own;
    pthread_t thread;
    size_t index = 0;

    (void)state;
    cpus_read(&all);
    assert_int_equal(all.n, CPU_COUNT(&all.set));
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &all.set))
            continue;
        assert_int_equal(cpus_start_thread(&all, index++, &thread, read_own, &own), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(own.n, 1);
        assert_true(CPU_ISSET(cpu, &own.set));
    }
    assert_int_equal(index, all.n);
    cpus_read(&after);
    assert_true(CPU_EQUAL(&all.set, &after.set));
}

static void test_a_cpu_that_is_not_there(void **state)
{
    struct cpus cpus = of(CPU_SETSIZE - 1, 1, 1);
    struct cpus own = {0};
    pthread_t thread;

    (void)state;
    assert_int_equal(cpus_start_thread(&cpus, 0, &thread, read_own, &own), EINVAL);
    assert_int_equal(own.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_many_threads_as_cpus),
        cmocka_unit_test(test_bound_to_its_own),
        cmocka_unit_test(test_a_cpu_that_is_not_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
