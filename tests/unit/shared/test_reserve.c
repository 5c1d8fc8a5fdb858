#include "lb4/shared/reserve.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

static size_t resident_pages(void)
{
    unsigned long size;
    unsigned long resident;
    FILE *file = fopen("/proc/self/statm", "re");

    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu %lu", &size, &resident), 2);
    fclose(file);
    return resident;
}

/* What is set aside costs nothing until it is used, and is zero then. */
static void test_pages_come_with_their_use(void **state)
{
    enum { N = 1 << 20, SIZE = 256 };
    size_t before = resident_pages();
    unsigned char *memory = reserve_memory(N, SIZE);

    (void)state;
    assert_non_null(memory);
    assert_int_equal((uintptr_t)memory % (size_t)sysconf(_SC_PAGESIZE), 0);
    assert_true(resident_pages() < before + 100);
    assert_int_equal(memory[(size_t)N * SIZE - 1], 0);
    memory[0] = 1;
    memory[(size_t)N * SIZE / 2] = 1;
    assert_true(resident_pages() < before + 100);
    reserve_release(memory, N, SIZE);
    reserve_release(NULL, N, SIZE);
}

static void test_too_much(void **state)
{
    (void)state;
    assert_null(reserve_memory(1ull << 40, 1ull << 20));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages_come_with_their_use),
        cmocka_unit_test(test_too_much),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
