#include "lb4/shared/origins.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "lb4/shared/plan.h"

static struct backend backends[8];

static struct origin marked(uint32_t mark)
{
    return (struct origin){.mark = mark};
}

static struct origin from(const char *text)
{
    struct origin origin = {.n_sources = 1};

    assert_int_equal(addr_parse(text, &origin.sources[0]), 0);
    return origin;
}

static void test_none(void **state)
{
    struct service_seat seats[2] = {{.backend = &backends[0]}, {.backend = &backends[1]}};
    struct origins origins;

    (void)state;
    assert_int_equal(origins_init(&origins, seats, 2), 0);
    assert_null(origins.at);
    assert_null(origins_of(&origins, 0));
    origins_fini(&origins);
}

/* Its own mark, its own sources or those of the service; by places, not by seats. */
static void test_own_and_of_service(void **state)
{
    struct origin service = from("127.0.0.8");
    struct origin own = from("127.0.0.9");
    struct origin mark = marked(7);
    struct service_seat seats[4] = {
        {.backend = &backends[5], .source = &service},
        {.backend = &backends[1], .source = &service, .origin = &own},
        {.backend = &backends[2], .source = &service, .origin = &mark},
        {.backend = &backends[3], .source = &service, .origin = &mark},
    };
    struct origins origins;

    (void)state;
    assert_int_equal(origins_init(&origins, seats, 4), 0);
    assert_true(origin_equal(origins_of(&origins, 5), &service));
    assert_true(origin_equal(origins_of(&origins, 1), &own));
    assert_int_equal(origins_of(&origins, 2)->mark, 7);
    assert_true(addr_equal(&origins_of(&origins, 2)->sources[0], &service.sources[0]));
    assert_ptr_equal(origins_of(&origins, 2), origins_of(&origins, 3));
    assert_null(origins_of(&origins, 0));
    assert_null(origins_of(&origins, 4));
    assert_null(origins_of(&origins, 6));
    origins_fini(&origins);
}

static int setup(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 8; i++)
        backends[i].index = i;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_own_and_of_service),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
