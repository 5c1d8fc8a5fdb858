#include "lb4/probe/dialogue_mysql.h"

#include "talker.h"

static uint8_t probe[] = "probe";
static const struct service_check unnamed = {.kind = CONF_CHECK_MYSQL};
static const struct service_check named = {.kind = CONF_CHECK_MYSQL, .send = probe, .n_send = 5};

/* The bytes of a literal, without its NUL. */
#define BYTES(text) text, sizeof(text) - 1

/* As MariaDB 10.11 sends it. */
#define GREETING                                 \
    "\x50\x00\x00\x00\x0a"                       \
    "5.5.5-10.11.19-MariaDB\x00\x07\x00\x00\x00" \
    "0ty'O9oE\x00\xfe\xf7\x08\x02\x00\xff\x81"   \
    "\x15\x00\x00\x00\x00\x00\x00\x1d\x00\x00\x00H|Vy!1uy~2x)\x00mysql_native"
#define LET_IN "\x07\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00"
#define DENIED "\x17\x00\x00\x02\xff\x15\x04#28000Access denied!"
#define LOCKED "\x0f\x00\x00\x02\xff\x37\x10#HY000locked"
#define TOO_MANY "\x17\x00\x00\x00\xff\x10\x04Too many connections"
#define BLOCKED "\x19\x00\x00\x00\xff\x69\x04Host '10.0.0.1' is blo"
#define ASKS_NATIVE                                 \
    "\x2c\x00\x00\x02\xfemysql_native_password\x00" \
    "01234567890123456789\x00"
#define ASKS_ED25519       \
    "\x30\x00\x00\x02\xfe" \
    "client_ed25519\x00"   \
    "01234567890123456789012345678901"
#define ASKS_SHA2               \
    "\x2c\x00\x00\x02\xfe"      \
    "caching_sha2_password\x00" \
    "01234567890123456789\x00"
#define ASKS_OLD "\x01\x00\x00\x02\xfe"
#define KNOWS_US "\x02\x00\x00\x04\x01\x03"
#define WANTS_MORE "\x02\x00\x00\x04\x01\x04"

static const char LOGIN[] = /* HandshakeResponse41 up to the user */
    "\x01\xa2\x08\x00\x00\x00\x00\x01\x21"
    "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";

/* --- the login -------------------------------------------------------------------------------- */

/* The whole of it is `user`'s. */
static void assert_login(const char *user)
{
    static const char rest[] = "\x00\x00mysql_native_password"; /* and its NUL */
    const uint8_t *at = (const uint8_t *)talker.said;
    size_t n_user = strlen(user);
    size_t n_bytes = sizeof(LOGIN) - 1 + n_user + sizeof(rest);

    assert_int_equal(talker.n_said, 4 + n_bytes);
    assert_int_equal(at[0] | at[1] << 8 | at[2] << 16, n_bytes);
    assert_int_equal(at[3], 1);
    assert_memory_equal(at + 4, LOGIN, sizeof(LOGIN) - 1);
    assert_memory_equal(at + 4 + sizeof(LOGIN) - 1, user, n_user);
    assert_memory_equal(at + 4 + sizeof(LOGIN) - 1 + n_user, rest, sizeof(rest));
}

/* See the header: it must be in the server's socket whatever happens to us. */
static void test_the_login_does_not_wait_for_the_greeting(void **state)
{
    (void)state;
    assert_int_equal(talker_hear(&named, "", 0, 1), TALK_MORE);
    assert_login("probe");
    assert_int_equal(talker_hear(&unnamed, "", 0, 1), TALK_MORE);
    assert_login("lb4");
}

static void test_longest_user(void **state)
{
    static char name[300];
    struct service_check check = {.kind = CONF_CHECK_MYSQL, .send = (uint8_t *)name};

    (void)state;
    memset(name, 'u', 256);
    check.n_send = 256;
    assert_int_equal(talker_hear(&check, "", 0, 1), TALK_MORE);
    assert_login(name);
    check.n_send = 257;
    assert_int_equal(talker_hear(&check, "", 0, 1), TALK_WRONG);
}

/* --- what is good ----------------------------------------------------------------------------- */

static void test_let_in_it_quits(void **state)
{
    (void)state;
    talker_prefixes(&named, BYTES(GREETING LET_IN));
    assert_true(talker.talk.is_last_word);
    assert_memory_equal(talker.said + talker.n_said - 5, "\x01\x00\x00\x00\x01", 5);
}

static void test_access_denied_is_an_answer(void **state)
{
    (void)state;
    talker_prefixes(&unnamed, BYTES(GREETING DENIED));
    talker_good(&unnamed, BYTES(GREETING LOCKED));
    talker_good(&unnamed, BYTES(GREETING "\x03\x00\x00\x02\xff\xa2\x06"));
    talker_good(&unnamed, BYTES(GREETING "\x03\x00\x00\x02\xff\x2e\x0c"));
    talker_good(&unnamed, BYTES(GREETING "\x03\x00\x00\x02\xff\x57\x0c"));
    talker_good(&unnamed, BYTES(GREETING DENIED));
    assert_login("lb4");
    assert_false(talker.talk.is_last_word);
}

/* --- another way to log in -------------------------------------------------------------------- */

static void assert_password(const char *bytes, size_t n_bytes, const char *expected, size_t n)
{
    assert_int_equal(talker_hear(&named, bytes, n_bytes, 1), TALK_MORE);
    assert_memory_equal(talker.said + talker.n_said - n, expected, n);
}

static void test_the_form_of_each_way(void **state)
{
    static const char ed25519[4 + 64] = "\x40\x00\x00\x03";

    (void)state;
    assert_password(BYTES(GREETING ASKS_NATIVE), "\x00\x00\x00\x03", 4);
    assert_password(BYTES(GREETING ASKS_OLD), "\x00\x00\x00\x03", 4);
    assert_password(BYTES(GREETING ASKS_SHA2), "\x01\x00\x00\x03\x00", 5);
    assert_password(BYTES(GREETING ASKS_ED25519), ed25519, sizeof(ed25519));
    /* Names that only begin like one, or are cut. */
    assert_password(BYTES(GREETING "\x06\x00\x00\x02\xfe"
                                   "mysql"),
                    "\x01\x00\x00\x03\x00", 5);
    assert_password(BYTES(GREETING "\x16\x00\x00\x02\xfemysql_native_password"),
                    "\x01\x00\x00\x03\x00", 5);
}

static void test_after_another_way(void **state)
{
    (void)state;
    talker_good(&named, BYTES(GREETING ASKS_ED25519 DENIED));
    talker_good(&named, BYTES(GREETING ASKS_NATIVE LET_IN));
    talker_good(&named, BYTES(GREETING ASKS_SHA2 KNOWS_US LET_IN));
    talker_good(&named, BYTES(GREETING ASKS_SHA2 WANTS_MORE));
    talker_good(&named, BYTES(GREETING ASKS_SHA2 ASKS_NATIVE DENIED));
    talker_waits(&named, BYTES(GREETING ASKS_SHA2 KNOWS_US LET_IN));
    talker_waits(&named, BYTES(GREETING ASKS_SHA2 ASKS_NATIVE DENIED));
}

static void test_a_server_that_asks_on_and_on(void **state)
{
    (void)state;
    assert_int_equal(talker_hear(&named, BYTES(GREETING ASKS_OLD ASKS_OLD ASKS_OLD), 1),
                     TALK_WRONG);
}

static void test_a_server_that_knows_us_on_and_on(void **state)
{
    static uint8_t bytes[sizeof(GREETING) + 1000 * sizeof(KNOWS_US)];
    size_t n = sizeof(GREETING) - 1;

    (void)state;
    memcpy(bytes, BYTES(GREETING));
    for (; n + sizeof(KNOWS_US) < sizeof(bytes); n += sizeof(KNOWS_US) - 1)
        memcpy(bytes + n, BYTES(KNOWS_US));
    assert_int_equal(talker_hear(&named, bytes, n, 100), TALK_MORE); /* until the time is over */
    assert_int_equal(talker.talk.n_in, 0);
}

/* --- what is wrong ---------------------------------------------------------------------------- */

static void test_errors_in_the_place_of_the_greeting(void **state)
{
    (void)state;
    talker_wrong(&named, BYTES(TOO_MANY), "MySQL error 'Too many connections'");
    talker_waits(&named, BYTES(TOO_MANY));
    talker_wrong(&named, BYTES(BLOCKED), "MySQL error 'Host \\'10.0.0.1\\' is blo'");
    /* About us or not: no client would get further. */
    talker_wrong(&named, BYTES("\x17\x00\x00\x00\xff\x15\x04#28000Access denied!"),
                 "MySQL error 'Access denied!'");
}

static void test_errors_that_are_not_about_us(void **state)
{
    (void)state;
    talker_wrong(&named, BYTES(GREETING "\x1d\x00\x00\x02\xff\x10\x04#08004Too many connections"),
                 "MySQL error 'Too many connections'");
    talker_wrong(&named, BYTES(GREETING "\x03\x00\x00\x02\xff\x10\x04"), "MySQL error ''");
    talker_wrong(&named, BYTES(GREETING "\x08\x00\x00\x02\xff\x10\x04#\xff\x00'\\"),
                 "MySQL error '#\\xff\\x00\\'\\\\'");
}

static void test_no_server_of_this_kind(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
    } wrong[] = {
        {BYTES("HTTP/1.1 400 Bad Request\r\n")},
        {BYTES("SSH-2.0-OpenSSH_9.2p1\r\n")},
        {BYTES("-ERR unknown command\r\n")},
        {BYTES("\x00\x00\x00\x00")}, /* an empty packet */
        {BYTES("\x01\x04\x00\x00")}, /* longer than any we know */
        {BYTES("\xff\xff\xff\x00")},
        {BYTES("\x01\x00\x00\x00\x0b")}, /* another protocol */
        {BYTES("\x01\x00\x00\x00\x0a")}, /* a greeting without anything in it */
        {BYTES("\x04\x00\x00\x00\x0a"
               "5.5")}, /* a version without an end */
        {BYTES("\x05\x00\x00\x00\x0a"
               "5.5\x00")}, /* nothing behind it */
        {BYTES("\x10\x00\x00\x00\x0a"
               "5.5\x00"
               "12345678901")},
        {BYTES("\x02\x00\x00\x00\xff\x15")}, /* an error without its code */
        {BYTES("\x01\x00\x00\x00\x00")},     /* OK in the greeting's place */
        {BYTES(GREETING GREETING)},
        {BYTES(GREETING "\x01\x00\x00\x02\x02")},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        for (size_t piece = 1; piece < 200; piece += 198) {
            if (talker_hear(&named, wrong[i].bytes, wrong[i].n, piece) != TALK_WRONG)
                fail_msg("%zu in pieces of %zu is not wrong", i, piece);
            assert_memory_equal(talker.reason, "not a MySQL answer: '", 21);
        }
    }
}

/* One that has another number is not the first of a connection. */
static void test_the_number_of_the_greeting(void **state)
{
    char bytes[] = GREETING;

    (void)state;
    bytes[3] = 1;
    assert_int_equal(talker_hear(&named, bytes, sizeof(bytes) - 1, 1), TALK_WRONG);
}

static void test_a_fin_without_an_answer(void **state)
{
    (void)state;
    talker_wrong(&named, "", 0, "hung up without an answer");
}

static void test_junk(void **state)
{
    (void)state;
    talker_noise(&named, BYTES(GREETING ASKS_SHA2 KNOWS_US LET_IN));
    talker_junk(&named);
    talker_noise(&named, BYTES(TOO_MANY));
    talker_junk(&named);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_login_does_not_wait_for_the_greeting),
        cmocka_unit_test(test_longest_user),
        cmocka_unit_test(test_let_in_it_quits),
        cmocka_unit_test(test_access_denied_is_an_answer),
        cmocka_unit_test(test_the_form_of_each_way),
        cmocka_unit_test(test_after_another_way),
        cmocka_unit_test(test_a_server_that_asks_on_and_on),
        cmocka_unit_test(test_a_server_that_knows_us_on_and_on),
        cmocka_unit_test(test_errors_in_the_place_of_the_greeting),
        cmocka_unit_test(test_errors_that_are_not_about_us),
        cmocka_unit_test(test_no_server_of_this_kind),
        cmocka_unit_test(test_the_number_of_the_greeting),
        cmocka_unit_test(test_a_fin_without_an_answer),
        cmocka_unit_test(test_junk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
