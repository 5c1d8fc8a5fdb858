#include "lb4/control/topmost.h"

#include "../seed.h"
#include "command_rig.h"

static int compare(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left;
    uint32_t b = *(const uint32_t *)right;

    return a < b ? -1 : a > b;
}

/* As if all were sorted. */
static void test_the_first_of_many(void **state)
{
    enum { MANY = 3000 };
    static const size_t mosts[] = {1, 2, 3, 100, 1000, 4000};
    static uint32_t all[MANY];
    struct seed seed = seed_new();

    (void)state;
    for (size_t k = 0; k < sizeof(mosts) / sizeof(mosts[0]); k++) {
        struct topmost top;

        assert_true(topmost_init(&top, mosts[k], sizeof(uint32_t), compare));
        for (size_t i = 0; i < MANY; i++) {
            all[i] = (uint32_t)seed_next(&seed, 500);
            topmost_offer(&top, &all[i]);
        }
        topmost_sort(&top);
        qsort(all, MANY, sizeof(all[0]), compare);
        assert_int_equal(top.n, mosts[k] < MANY ? mosts[k] : MANY);
        for (size_t i = 0; i < top.n; i++)
            assert_int_equal(*(const uint32_t *)topmost_row(&top, i), all[i]);
        topmost_fini(&top);
    }
}

static void test_none(void **state)
{
    struct topmost top;

    (void)state;
    assert_true(topmost_init(&top, 5, sizeof(uint32_t), compare));
    topmost_sort(&top);
    assert_int_equal(top.n, 0);
    topmost_fini(&top);
    topmost_fini(&top);
}

static const char *read_words(size_t n_words, const char *const *words, size_t *ret_n)
{
    const struct service *service;

    memcpy(rig.call.words, words, n_words * sizeof(*words));
    rig.call.n_words = n_words;
    service = topmost_read(&rig.call, ret_n);
    return service ? service->name : rig.call.error;
}

#define WORDS(...)                                                                           \
    sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *), (const char *const[]) \
    {                                                                                        \
        __VA_ARGS__                                                                          \
    }

static void test_the_request(void **state)
{
    size_t n;

    (void)state;
    assert_string_equal(read_words(WORDS("show", "x", "db"), &n), "db");
    assert_int_equal(n, TOPMOST_USUAL);
    assert_string_equal(read_words(WORDS("show", "x", "db", "--busiest", "7"), &n), "db");
    assert_int_equal(n, 7);
    assert_string_equal(read_words(WORDS("show", "x", "--busiest", "1000", "one"), &n), "one");
    assert_int_equal(n, 1000);
    assert_string_equal(read_words(WORDS("show", "x", "db", "--busiest"), &n),
                        "show x: --busiest needs a number, 1..1000");
    assert_string_equal(read_words(WORDS("show", "x", "db", "--busiest", "0"), &n),
                        "show x: --busiest needs a number, 1..1000");
    assert_string_equal(read_words(WORDS("show", "x", "db", "one"), &n),
                        "usage: show x [--busiest N] SERVICE");
    assert_string_equal(read_words(WORDS("show", "x", "--busiest", "3"), &n),
                        "usage: show x [--busiest N] SERVICE");
    assert_string_equal(read_words(WORDS("show", "x", "dbx"), &n), "no service 'dbx'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_of_many),
        cmocka_unit_test(test_none),
        RIGGED(test_the_request),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
