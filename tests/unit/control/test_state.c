#include "lb4/control/state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_words(void **state)
{
    (void)state;
    assert_string_equal(lifecycle_state_word(LIFECYCLE_STARTING), "starting");
    assert_string_equal(lifecycle_state_word(LIFECYCLE_RUNNING), "running");
    assert_string_equal(lifecycle_state_word(LIFECYCLE_DRAINING), "draining");
    assert_string_equal(lifecycle_state_word(LIFECYCLE_STOPPING), "stopping");
    assert_string_equal(lifecycle_state_word(LIFECYCLE_LEAVING), "stopping");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_words)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
