#include "lb4/probe/srv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../seed.h"
#include "srv_answer.h"

#define NAME "_pg._tcp.example"
#define NUMBERS(...) ((const uint16_t[3]){__VA_ARGS__})

static struct answer answer;
static struct srv_record records[4];
static bool is_cut;

static int parse(void)
{
    /* On the heap without a byte to spare, for the sanitizer. */
    uint8_t *exact = malloc(answer.n ? answer.n : 1);
    struct srv_set set = {.records = records, .max = 4, .is_cut = true};
    int n;

    memcpy(exact, answer.bytes, answer.n);
    memset(records, 0, sizeof(records));
    n = srv_parse(exact, answer.n, NAME, &set);
    is_cut = set.is_cut;
    free(exact);
    return n;
}

static void test_records(void **state)
{
    (void)state;
    answer_begin(&answer, NAME, 3);
    answer_srv(&answer, NAME, NUMBERS(20, 5, 5433), "b.example");
    answer_srv(&answer, "_PG._tcp.EXAMPLE", NUMBERS(10, 65535, 5432), "z.example");
    answer_srv(&answer, NAME, NUMBERS(10, 0, 5432), "a.example");
    assert_int_equal(parse(), 3);
    assert_false(is_cut);
    assert_string_equal(records[0].target, "a.example");
    assert_string_equal(records[1].target, "z.example");
    assert_int_equal(records[1].weight, 65535);
    assert_string_equal(records[2].target, "b.example");
    assert_int_equal(records[2].priority, 20);
    assert_int_equal(records[2].port, 5433);
}

static void test_aliases(void **state)
{
    size_t at;

    (void)state;
    answer_begin(&answer, NAME, 2);
    at = answer_record(&answer, NAME, TYPE_CNAME);
    answer_name(&answer, "other.example");
    answer_end(&answer, at);
    answer_srv(&answer, "other.example", NUMBERS(1, 2, 3), "a.example");
    assert_int_equal(parse(), 1);

    /* To itself: it ends. */
    answer_begin(&answer, NAME, 2);
    at = answer_record(&answer, NAME, TYPE_CNAME);
    answer_name(&answer, NAME);
    answer_end(&answer, at);
    answer_srv(&answer, NAME, NUMBERS(1, 2, 3), "a.example");
    assert_int_equal(parse(), 1);
}

static void test_too_many(void **state)
{
    static const char *const targets[] = {"f.x", "b.x", "e.x", "a.x", "c.x", "d.x"};

    (void)state;
    answer_begin(&answer, NAME, 6);
    for (size_t i = 0; i < 6; i++)
        answer_srv(&answer, NAME, NUMBERS(1, 1, 1), targets[i]);
    assert_int_equal(parse(), 4);
    assert_true(is_cut);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(records[i].target[0], "abcd"[i]);
}

/* Left out: other names, no port, no host. */
static void test_left_out(void **state)
{
    size_t at;

    (void)state;
    answer_begin(&answer, NAME, 6);
    answer_srv(&answer, "evil.example", NUMBERS(1, 1, 1), "a.example");
    answer_srv(&answer, NAME, NUMBERS(1, 1, 0), "a.example");
    answer_srv(&answer, NAME, NUMBERS(0, 0, 1), "");
    answer_srv(&answer, NAME, NUMBERS(1, 1, 1), "a b.example");
    answer_srv(&answer, NAME, NUMBERS(1, 1, 1), "-a.example");
    at = answer_record(&answer, NAME, TYPE_SRV); /* data behind the target */
    for (int i = 0; i < 3; i++)
        answer_16(&answer, 1);
    answer_name(&answer, "a.example");
    answer_16(&answer, 0);
    answer_end(&answer, at);
    assert_int_equal(parse(), 0);
}

static void test_malformed(void **state)
{
    size_t at;

    (void)state;
    answer.n = 0;
    assert_int_equal(parse(), SRV_MALFORMED);
    answer_begin(&answer, NAME, 65535);
    assert_int_equal(parse(), SRV_MALFORMED);

    /* A name that points to itself. */
    answer_begin(&answer, NAME, 1);
    answer_16(&answer, 0xc000 | (unsigned)answer.n);
    for (int i = 0; i < 5; i++)
        answer_16(&answer, 1);
    assert_int_equal(parse(), SRV_MALFORMED);

    /* Data longer than what is left. */
    answer_begin(&answer, NAME, 1);
    at = answer_record(&answer, NAME, TYPE_SRV);
    answer.bytes[at] = 0xff;
    assert_int_equal(parse(), SRV_MALFORMED);
}

/* Cut anywhere, or with bytes that are others: no read beyond the end, no target that is no host.
 */
static void test_any_bytes(void **state)
{
    struct seed seed = seed_new();
    struct answer whole;

    (void)state;
    answer_begin(&whole, NAME, 2);
    answer_srv(&whole, NAME, NUMBERS(1, 2, 3), "a.example");
    answer_srv(&whole, NAME, NUMBERS(1, 2, 3), "b.example");
    for (size_t n = 0; n < whole.n; n++) {
        answer = whole;
        answer.n = n;
        assert_int_equal(parse(), SRV_MALFORMED);
    }
    for (int i = 0; i < 20000; i++) {
        int n;

        answer = whole;
        for (uint64_t k = seed_next(&seed, 8); k-- > 0;)
            answer.bytes[seed_next(&seed, answer.n)] = (uint8_t)seed_next(&seed, 256);
        n = parse();
        assert_in_range(n + 1, 0, 5);
        for (int k = 0; k < n; k++)
            assert_true(records[k].target[0] && !strpbrk(records[k].target, "\\ ;\"\n"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records),   cmocka_unit_test(test_aliases),
        cmocka_unit_test(test_too_many),  cmocka_unit_test(test_left_out),
        cmocka_unit_test(test_malformed), cmocka_unit_test(test_any_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
