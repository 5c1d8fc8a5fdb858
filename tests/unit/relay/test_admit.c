#include "lb4/relay/admit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_each_refusal_has_its_word(void **state)
{
    (void)state;
    for (int i = 0; i < REFUSALS; i++) {
        enum close_reason reason = admit_close_reason((enum refusal)i);

        assert_true(reason == CLOSE_DENIED || reason == CLOSE_LIMIT);
        assert_int_equal(admit_drop_reason((enum refusal)i),
                         reason == CLOSE_DENIED ? UDP_DROP_DENIED : UDP_DROP_LIMIT);
    }
    assert_int_equal(admit_close_reason(REFUSAL_BANNED), CLOSE_DENIED);
    assert_int_equal(admit_close_reason(REFUSAL_RATE), CLOSE_LIMIT);
    assert_int_equal(admit_close_reason(REFUSAL_NONE), CLOSE_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_refusal_has_its_word),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
