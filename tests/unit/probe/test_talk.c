#include "lb4/probe/talk.h"

#include "talker.h"

static const struct service_check redis = {.kind = CONF_CHECK_REDIS};

static void open_with(const char *bytes)
{
    talk_begin(&talker.talk, &redis);
    talker.talk.n_in = strlen(bytes);
    memcpy(talker.talk.in, bytes, talker.talk.n_in);
}

static void test_begin(void **state)
{
    (void)state;
    memset(&talker.talk, 0xff, sizeof(talker.talk));
    talk_begin(&talker.talk, &redis);
    assert_ptr_equal(talker.talk.check, &redis);
    assert_null(talker.talk.reason);
    assert_int_equal(talker.talk.n_in, 0);
    assert_int_equal(talker.talk.n_out, 0);
    assert_int_equal(talker.talk.stage, 0);
    assert_false(talker.talk.is_last_word);
    assert_int_equal(talker.talk.server.sa.sa_family, AF_UNSPEC);
}

static void test_lines(void **state)
{
    size_t next;
    size_t n;

    (void)state;
    open_with("ab\r\n\n\r\ncd\r");
    assert_true(talk_line(&talker.talk, 0, &n, &next));
    assert_int_equal(n, 2);
    assert_int_equal(next, 4);
    assert_true(talk_line(&talker.talk, next, &n, &next));
    assert_int_equal(n, 0);
    assert_int_equal(next, 5);
    assert_true(talk_line(&talker.talk, next, &n, &next));
    assert_int_equal(n, 0);
    assert_int_equal(next, 7);
    assert_false(talk_line(&talker.talk, next, &n, &next));
    talk_consume(&talker.talk, 7);
    assert_int_equal(talker.talk.n_in, 3);
    assert_memory_equal(talker.talk.in, "cd\r", 3);
    talk_consume(&talker.talk, 3);
    assert_false(talk_line(&talker.talk, 0, &n, &next));
}

static void test_words(void **state)
{
    uint8_t all[256];

    (void)state;
    talk_begin(&talker.talk, &redis);
    assert_int_equal(
        talk_wrong_words(&talker.talk, "before ", (const uint8_t *)"a'\\\r\n\x01\xff", 7, " after"),
        TALK_WRONG);
    assert_string_equal(talker.talk.reason, "before 'a\\'\\\\\\r\\n\\x01\\xff' after");
    talk_wrong_words(&talker.talk, "", (const uint8_t *)"12345678901234567890123456789012", 32, "");
    assert_string_equal(talker.talk.reason, "'12345678901234567890123456789012'");
    talk_wrong_words(&talker.talk, "", (const uint8_t *)"123456789012345678901234567890123", 33,
                     "");
    assert_string_equal(talker.talk.reason, "'12345678901234567890123456789012...'");
    for (size_t i = 0; i < sizeof(all); i++)
        all[i] = (uint8_t)i;
    for (size_t i = 0; i < sizeof(all); i++) {
        enum talk_step step = talk_wrong_words(&talker.talk, "timed out waiting for the rest of ",
                                               all + i, sizeof(all) - i, " does not match");

        talker_note(&step);
    }
}

static void test_given_up(void **state)
{
    (void)state;
    open_with("");
    assert_null(talk_give_up(&talker.talk));
    open_with("+PO");
    assert_string_equal(talk_give_up(&talker.talk), "timed out waiting for the rest of '+PO'");
}

static void test_hung_up(void **state)
{
    (void)state;
    open_with("");
    assert_int_equal(talk_end(&talker.talk), TALK_WRONG);
    assert_string_equal(talker.talk.reason, "hung up without an answer");
    open_with("+PO");
    assert_int_equal(talk_end(&talker.talk), TALK_WRONG);
    assert_string_equal(talker.talk.reason, "hung up within its answer '+PO'");
}

static void test_say(void **state)
{
    (void)state;
    talk_begin(&talker.talk, &redis);
    assert_int_equal(talk_say_text(&talker.talk, "QUIT\r\n"), TALK_SAY);
    assert_ptr_equal(talker.talk.out, talker.talk.out_buffer);
    assert_int_equal(talker.talk.n_out, 6);
    assert_memory_equal(talker.talk.out, "QUIT\r\n", 6);
}

/* A full buffer that means nothing is wrong, whoever listens: the attempt has room at any time. */
static void test_full(void **state)
{
    char answer[TALK_IN_MAX];

    (void)state;
    memset(answer, '+', sizeof(answer));
    assert_int_equal(talker_hear(&redis, answer, sizeof(answer) - 1, TALKER_WHOLE), TALK_MORE);
    talker_wrong(&redis, answer, sizeof(answer),
                 "answer '++++++++++++++++++++++++++++++++...' is too long");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_begin),   cmocka_unit_test(test_lines),
        cmocka_unit_test(test_words),   cmocka_unit_test(test_given_up),
        cmocka_unit_test(test_hung_up), cmocka_unit_test(test_say),
        cmocka_unit_test(test_full),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
