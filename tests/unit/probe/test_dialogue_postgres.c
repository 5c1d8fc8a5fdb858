#include "lb4/probe/dialogue_postgres.h"

#include "talker.h"

static uint8_t probe[] = "probe";
static const struct service_check hello = {.kind = CONF_CHECK_POSTGRES};
static const struct service_check login = {.kind = CONF_CHECK_POSTGRES, .send = probe, .n_send = 5};

/* The bytes of a literal, without its NUL. */
#define BYTES(text) text, sizeof(text) - 1

#define FATAL(length, code, message)              \
    "E\x00\x00\x00" length "SFATAL\x00VFATAL\x00" \
    "C" code "\x00"                               \
    "M" message "\x00"                            \
    "Fpostmaster.c\x00L2222\x00RProcessStartupPacket\x00\x00"
#define STARTING FATAL("\x68", "57P03", "the database system is starting up")
#define OLD FATAL("\x81", "0A000", "unsupported frontend protocol 1234.5680: server supports...")

#define ASKS_SCRAM "R\x00\x00\x00\x17\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00"
#define ASKS_MD5 "R\x00\x00\x00\x0c\x00\x00\x00\x05salt"
#define LETS_IN "R\x00\x00\x00\x08\x00\x00\x00\x00"
#define PARAMETER       \
    "S\x00\x00\x00\x16" \
    "application_name\x00\x00"
#define NOTICE "N\x00\x00\x00\x0dSNOTICE\x00\x00"
#define KEY "K\x00\x00\x00\x0c\x00\x00\x12\x34\xff\xff\xff\xff"
#define READY "Z\x00\x00\x00\x05I"

/* --- without a user --------------------------------------------------------------------------- */

static void test_hello_bytes(void **state)
{
    (void)state;
    assert_int_equal(talker_hear(&hello, "G", 1, 1), TALK_GOOD);
    assert_int_equal(talker.n_said, 8);
    assert_memory_equal(talker.said, "\x00\x00\x00\x08\x04\xd2\x16\x30", 8);
    assert_false(talker.talk.is_last_word);
}

static void test_one_byte_is_an_answer(void **state)
{
    (void)state;
    talker_good(&hello, "G", 1);
    talker_good(&hello, "N", 1);
}

static void test_no_other_byte_is(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        uint8_t answer = (uint8_t)byte;

        if (byte == 'G' || byte == 'N')
            continue;
        assert_int_equal(talker_hear(&hello, &answer, 1, 1), byte == 'E' ? TALK_MORE : TALK_WRONG);
    }
}

static void test_a_byte_and_more_is_not_an_answer(void **state)
{
    (void)state;
    assert_int_equal(talker_hear(&hello, BYTES("NO\r\n"), TALKER_WHOLE), TALK_WRONG);
    assert_string_equal(talker.reason, "not a PostgreSQL answer: 'NO\\r\\n'");
}

static void test_other_servers(void **state)
{
    (void)state;
    talker_wrong(&login, "H", 1, "not a PostgreSQL answer: 'H'");
    talker_wrong(&hello, BYTES("-"), "not a PostgreSQL answer: '-'");
}

static void test_an_old_server_lives(void **state)
{
    (void)state;
    talker_prefixes(&hello, BYTES(OLD));
}

static void test_an_error_is_told(void **state)
{
    (void)state;
    talker_wrong(&hello, BYTES(STARTING), "PostgreSQL error 'the database system is starting ...'");
    talker_waits(&hello, BYTES(STARTING));
    talker_wrong(&hello, BYTES("E\x00\x00\x00\x0bMno\x01\xff\x00\x00"),
                 "PostgreSQL error 'no\\x01\\xff'");
}

static void test_an_error_of_the_old_kind(void **state)
{
    static const char bytes[] = "ECould not fork\n"; /* its NUL belongs to it */

    (void)state;
    talker_wrong(&hello, bytes, sizeof(bytes), "PostgreSQL error 'Could not fork'");
    talker_waits(&hello, bytes, sizeof(bytes));
    talker_wrong(&hello, BYTES("E\xff\xff\xff\xff\x00"), "PostgreSQL error '\\xff\\xff\\xff\\xff'");
}

static void test_errors_without_words(void **state)
{
    static const char *const reason = "not a PostgreSQL answer: ";
    static const struct {
        const char *bytes;
        size_t n;
    } errors[] = {
        {BYTES("E\x00\x00\x00\x04")},
        {BYTES("E\x00\x00\x00\x05\x00")},
        {BYTES("E\x00\x00\x00\x06M\x01")},         /* a field without its end */
        {BYTES("E\x00\x00\x00\x0bSFATAL\x00")},    /* no message */
        {BYTES("E\x00\x00\x00\x0a\x00Mdead\x00")}, /* behind the end of the fields */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
        assert_int_equal(talker_hear(&hello, errors[i].bytes, errors[i].n, 1), TALK_WRONG);
        assert_memory_equal(talker.reason, reason, strlen(reason));
    }
}

/* More than there will ever be room for. */
static void test_an_endless_error(void **state)
{
    static char bytes[2 * TALK_IN_MAX];

    (void)state;
    memset(bytes, 'x', sizeof(bytes));
    bytes[0] = 'E';
    assert_int_equal(talker_hear(&hello, bytes, sizeof(bytes), 500), TALK_WRONG);
}

static void test_a_fin_without_an_answer(void **state)
{
    (void)state;
    talker_wrong(&hello, "", 0, "hung up without an answer");
}

/* --- with a user ------------------------------------------------------------------------------ */

static void test_startup_bytes(void **state)
{
    static const char expected[] = "\x00\x00\x00\x3b\x00\x03\x00\x00user\x00probe\x00"
                                   "database\x00postgres\x00"
                                   "application_name\x00lb4\x00";

    (void)state;
    assert_int_equal(talker_hear(&login, BYTES(ASKS_SCRAM), 1), TALK_GOOD);
    assert_int_equal(talker.n_said, sizeof(expected));
    assert_memory_equal(talker.said, expected, sizeof(expected));
    assert_int_equal(talker.said[3], sizeof(expected));
}

static void test_a_question_for_a_password_is_good(void **state)
{
    (void)state;
    talker_good(&login, BYTES(ASKS_SCRAM));
    talker_good(&login, BYTES(ASKS_MD5));
    talker_good(&login, BYTES("v\x00\x00\x00\x0c\x00\x00\x00\x00\x00\x00\x00\x00" ASKS_MD5));
    talker_waits(&login, BYTES(ASKS_SCRAM));
}

static void test_a_session_is_ended(void **state)
{
    static const char all[] = LETS_IN PARAMETER NOTICE PARAMETER KEY READY;

    (void)state;
    talker_prefixes(&login, BYTES(all));
    assert_true(talker.talk.is_last_word);
    assert_memory_equal(talker.said + talker.n_said - 5, "X\x00\x00\x00\x04", 5);
}

/* Longer than what it may keep, in parts that are not. */
static void test_a_session_of_many_parameters(void **state)
{
    static uint8_t bytes[sizeof(LETS_IN) + 1000 * sizeof(PARAMETER) + sizeof(READY)];
    size_t n = 0;

    (void)state;
    memcpy(bytes, BYTES(LETS_IN));
    n += sizeof(LETS_IN) - 1;
    for (int i = 0; i < 1000; i++) {
        memcpy(bytes + n, BYTES(PARAMETER));
        n += sizeof(PARAMETER) - 1;
    }
    memcpy(bytes + n, BYTES(READY));
    talker_good(&login, bytes, n + sizeof(READY) - 1);
}

static void test_a_refused_login(void **state)
{
    (void)state;
    talker_wrong(&login, BYTES(STARTING), "PostgreSQL error 'the database system is starting ...'");
    talker_wrong(&login, BYTES(LETS_IN PARAMETER STARTING),
                 "PostgreSQL error 'the database system is starting ...'");
    talker_wrong(&login, BYTES(OLD), "PostgreSQL error 'unsupported frontend protocol 12...'");
    talker_waits(&login, BYTES(LETS_IN PARAMETER STARTING));
}

static void test_messages_out_of_place(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
    } wrong[] = {
        {BYTES("G")},
        {BYTES("\x00")},
        {BYTES(READY)},
        {BYTES(PARAMETER)},
        {BYTES(LETS_IN "T")},
        {BYTES(LETS_IN "\x00")},
        {BYTES(LETS_IN LETS_IN)},
        {BYTES("R\x00\x00\x00\x03")},             /* shorter than its length */
        {BYTES("R\x00\x00\x00\x07\x00\x00\x00")}, /* than its code */
        {BYTES("R\x00\x00\x08\x00")},             /* longer than there is room for */
        {BYTES("R\xff\xff\xff\xff")},
        {BYTES(LETS_IN "S\x80\x00\x00\x00")},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        assert_int_equal(talker_hear(&login, wrong[i].bytes, wrong[i].n, 1), TALK_WRONG);
    }
}

static void test_longest_user(void **state)
{
    static uint8_t name[TALK_OUT_MAX];
    struct service_check check = {.kind = CONF_CHECK_POSTGRES, .send = name};

    (void)state;
    memset(name, 'u', sizeof(name));
    check.n_send = TALK_OUT_MAX / 2;
    assert_int_equal(talker_hear(&check, "", 0, 1), TALK_MORE);
    assert_int_equal(talker.said[2] << 8 | talker.said[3], talker.n_said);
    check.n_send++;
    assert_int_equal(talker_hear(&check, "", 0, 1), TALK_WRONG);
}

/* --- anything --------------------------------------------------------------------------------- */

static void test_junk(void **state)
{
    (void)state;
    talker_noise(&hello, BYTES(STARTING));
    talker_junk(&hello);
    talker_noise(&login, BYTES(LETS_IN PARAMETER NOTICE KEY READY));
    talker_junk(&login);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hello_bytes),
        cmocka_unit_test(test_one_byte_is_an_answer),
        cmocka_unit_test(test_no_other_byte_is),
        cmocka_unit_test(test_a_byte_and_more_is_not_an_answer),
        cmocka_unit_test(test_other_servers),
        cmocka_unit_test(test_an_old_server_lives),
        cmocka_unit_test(test_an_error_is_told),
        cmocka_unit_test(test_an_error_of_the_old_kind),
        cmocka_unit_test(test_errors_without_words),
        cmocka_unit_test(test_an_endless_error),
        cmocka_unit_test(test_a_fin_without_an_answer),
        cmocka_unit_test(test_startup_bytes),
        cmocka_unit_test(test_a_question_for_a_password_is_good),
        cmocka_unit_test(test_a_session_is_ended),
        cmocka_unit_test(test_a_session_of_many_parameters),
        cmocka_unit_test(test_a_refused_login),
        cmocka_unit_test(test_messages_out_of_place),
        cmocka_unit_test(test_longest_user),
        cmocka_unit_test(test_junk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
