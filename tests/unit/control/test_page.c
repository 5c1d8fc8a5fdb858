#include "lb4/control/page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { PAGE_MAX = 1024 * 1024 };

static char file_bytes[PAGE_MAX];

static void test_is_the_file(void **state)
{
    FILE *file = fopen("src/control/page/page.html", "re");
    size_t n_file;
    size_t n_bytes;
    const char *bytes = page_bytes(&n_bytes);

    (void)state;
    assert_non_null(file);
    n_file = fread(file_bytes, 1, sizeof(file_bytes), file);
    fclose(file);
    assert_in_range(n_file, 1, PAGE_MAX - 1);
    assert_int_equal(n_bytes, n_file);
    assert_memory_equal(bytes, file_bytes, n_bytes);
}

static void test_needs_nothing_from_elsewhere(void **state)
{
    size_t n_bytes;
    const char *bytes = page_bytes(&n_bytes);

    (void)state;
    assert_null(memmem(bytes, n_bytes, "src=\"http", 9));
    assert_null(memmem(bytes, n_bytes, "@import", 7));
    assert_non_null(strstr(page_security_policy, "default-src 'none'"));
    assert_null(strpbrk(page_security_policy, "\r\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_is_the_file),
        cmocka_unit_test(test_needs_nothing_from_elsewhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
