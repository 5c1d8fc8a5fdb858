#include "lb4/control/reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void expect(struct reply *reply, const char *text)
{
    assert_int_equal(reply->n_bytes, strlen(text));
    assert_memory_equal(reply->bytes, text, reply->n_bytes);
}

static void test_appends(void **state)
{
    struct reply reply;

    (void)state;
    reply_init(&reply, 100);
    reply_text(&reply, "one ");
    reply_append(&reply, "two\n-", 4);
    reply_format(&reply, "%d %s", 3, "four");
    expect(&reply, "one two\n3 four");
    reply.is_json = true;
    reply_clear(&reply);
    expect(&reply, "");
    assert_false(reply.is_json);
    reply_fini(&reply);
    reply_fini(&reply);
}

static void test_is_bounded(void **state)
{
    struct reply reply;

    (void)state;
    reply_init(&reply, 10);
    reply_text(&reply, "0123456789");
    assert_false(reply.is_over);
    reply_text(&reply, "");
    assert_false(reply.is_over);
    reply_text(&reply, "a");
    assert_true(reply.is_over);
    expect(&reply, "0123456789");
    reply_clear(&reply);
    assert_false(reply.is_over);
    reply_text(&reply, "b");
    expect(&reply, "b");
    reply_fini(&reply);
}

static void test_grows_and_gives_memory_back(void **state)
{
    static char many[100000];
    struct reply reply;

    (void)state;
    memset(many, 'x', sizeof(many));
    reply_init(&reply, 1 << 20);
    reply_append(&reply, many, sizeof(many));
    assert_int_equal(reply.n_bytes, sizeof(many));
    assert_memory_equal(reply.bytes, many, sizeof(many));
    reply_clear(&reply);
    assert_int_equal(reply.cap, 0);
    reply_text(&reply, "x");
    expect(&reply, "x");
    reply_fini(&reply);
}

static void test_json_strings(void **state)
{
    static const struct {
        const char *text;
        const char *json;
    } cases[] = {
        {"", "\"\""},
        {"plain", "\"plain\""},
        {"\"\\/", "\"\\\"\\\\/\""},
        {"\n\t\r\x01\x7f", "\"\\n\\t\\u000d\\u0001\\u007f\""},
        {"\xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80", "\"\xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80\""},
        {"\xff", "\"\\ufffd\""},
        {"a\xc3", "\"a\\ufffd\""},
        {"\xc0\x80", "\"\\ufffd\\ufffd\""},                       /* longer than needed */
        {"\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""},            /* half of a surrogate pair */
        {"\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""}, /* beyond U+10FFFF */
        {"\xe2\x82z", "\"\\ufffd\\ufffdz\""},
    };
    struct reply reply;

    (void)state;
    reply_init(&reply, 1000);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        reply_clear(&reply);
        reply_json_string(&reply, cases[i].text);
        expect(&reply, cases[i].json);
    }
    reply_fini(&reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_appends),
        cmocka_unit_test(test_is_bounded),
        cmocka_unit_test(test_grows_and_gives_memory_back),
        cmocka_unit_test(test_json_strings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
