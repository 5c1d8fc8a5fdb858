#include "lb4/probe/dialogue_send.h"

#include "lb4/base/pattern.h"
#include "talker.h"

static uint8_t texts[2][CONF_TEXT_MAX + 1];
static regex_t regex;

static struct service_check check_for(const char *send, const char *expect)
{
    strcpy((char *)texts[0], send);
    strcpy((char *)texts[1], expect);
    return (struct service_check){.kind = CONF_CHECK_SEND,
                                  .send = texts[0],
                                  .n_send = strlen(send),
                                  .expect = texts[1],
                                  .n_expect = strlen(expect)};
}

static struct service_check check_regex(const char *text)
{
    struct service_check check = check_for("x", text);
    char error[PATTERN_ERROR_MAX];

    assert_true(pattern_compile(&regex, text, error));
    check.regex = &regex;
    return check;
}

static void test_text(void **state)
{
    struct service_check check = check_for("PING\r\n", "+PONG");

    (void)state;
    talker_good(&check, "+PONG\r\n", 7);
    assert_string_equal(talker.said, "PING\r\n");
    talker_good(&check, "banner\r\n+PONG", 13);
    talker_prefixes(&check, "\0+PO+PONG", 9);
    talker_wrong(&check, "-ERR no\r\n", 9, "answer '-ERR no\\r\\n' does not match");
    talker_wrong(&check, "", 0, "hung up without an answer");
    assert_int_equal(talker_hear(&check, "-ERR no\r\n", 9, 3), TALK_MORE);
    assert_string_equal(talk_give_up(&talker.talk), "answer '-ERR no\\r\\n' does not match");
}

/* Nothing is said, or nothing expected. */
static void test_empty(void **state)
{
    struct service_check listens = check_for("", "220 ");
    struct service_check any;

    (void)state;
    talker_good(&listens, "220 mail.example\r\n", 18);
    any = check_for("x", "");
    assert_int_equal(talker_hear(&any, "", 0, 1), TALK_MORE);
    assert_null(talk_give_up(&talker.talk));
    assert_string_equal(talker.said, "x");
    talker_good(&any, "\0", 1);
    talker_wrong(&any, "", 0, "hung up without an answer");
}

static void test_said_nothing(void **state)
{
    struct service_check check = check_for("", "220 ");

    (void)state;
    assert_int_equal(talker_hear(&check, "", 0, 1), TALK_MORE);
    assert_int_equal(talker.n_said, 0);
}

/* The text is found across every seam of the buffer, in pieces of any size. */
static void test_found_late(void **state)
{
    static const char expect[] = "needle in the hay";
    static char answer[3 * TALK_IN_MAX];
    struct service_check check = check_for("x", expect);

    (void)state;
    for (size_t at = 0; at + sizeof(expect) < sizeof(answer); at += 7) {
        memset(answer, 'n', sizeof(answer));
        memcpy(answer + at, expect, sizeof(expect) - 1);
        assert_int_equal(talker_hear(&check, answer, at + sizeof(expect) - 1, at % 600 + 1),
                         TALK_GOOD);
        assert_int_equal(talker_hear(&check, answer, at + sizeof(expect) - 2, at % 600 + 1),
                         TALK_MORE);
    }
}

static void test_longest_text(void **state)
{
    static char answer[2 * TALK_IN_MAX];
    char longest[CONF_TEXT_MAX + 1];
    struct service_check check;

    (void)state;
    memset(longest, 'a', CONF_TEXT_MAX);
    longest[CONF_TEXT_MAX] = '\0';
    check = check_for("x", longest);
    memset(answer, 'b', sizeof(answer));
    memset(answer + sizeof(answer) - CONF_TEXT_MAX, 'a', CONF_TEXT_MAX);
    talker_good(&check, answer, sizeof(answer));
    talker_wrong(&check, answer, sizeof(answer) - 1,
                 "answer 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb...' does not match");
}

static void test_regex(void **state)
{
    struct service_check check = check_regex("^[0-9]{3} .*ready\r\n");

    (void)state;
    talker_good(&check, "220 x ready\r\n", 13);
    talker_prefixes(&check, "220 x ready\r\n", 13);
    talker_wrong(&check, "x220 ready\r\n", 12, "answer 'x220 ready\\r\\n' does not match");
    regfree(&regex);
    check = check_regex("ready$|o.k");
    talker_good(&check, "a\0b ready", 9);
    talker_wrong(&check, "o\0k", 3, "answer 'o\\x00k' does not match"); /* a dot is no NUL */
    talker_junk(&check);
    regfree(&regex);
}

/* In so many bytes, not behind them. */
static void test_regex_is_bounded(void **state)
{
    struct service_check check = check_regex("nee+dle");
    char answer[DIALOGUE_SEND_REGEX_MAX + 8];

    (void)state;
    memset(answer, 'n', sizeof(answer));
    memcpy(answer + DIALOGUE_SEND_REGEX_MAX - 6, "needle", 6);
    talker_good(&check, answer, DIALOGUE_SEND_REGEX_MAX);
    memset(answer, 'n', sizeof(answer));
    memcpy(answer + DIALOGUE_SEND_REGEX_MAX - 5, "needle", 6);
    talker_wrong(&check, answer, sizeof(answer),
                 "answer 'nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn...' does not match");
    assert_false(dialogue_send_matches(&check, (uint8_t *)answer, sizeof(answer)));
    regfree(&regex);
}

static void test_junk(void **state)
{
    struct service_check check = check_for("x", "needle");

    (void)state;
    /* A text may still come: it is the attempt that has enough. */
    for (int byte = 0; byte < 256; byte += 51) {
        static uint8_t junk[1 << 20];

        memset(junk, byte, sizeof(junk));
        assert_int_equal(talker_hear(&check, junk, sizeof(junk), TALKER_WHOLE), TALK_MORE);
        assert_non_null(talk_give_up(&talker.talk));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_said_nothing),
        cmocka_unit_test(test_found_late),
        cmocka_unit_test(test_longest_text),
        cmocka_unit_test(test_regex),
        cmocka_unit_test(test_regex_is_bounded),
        cmocka_unit_test(test_junk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
