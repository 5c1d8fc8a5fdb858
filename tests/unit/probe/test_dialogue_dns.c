#include "lb4/probe/dialogue_dns.h"

#include <stdbool.h>

#include "talker.h"

enum { ID = 0xabcd };

static struct dialogue_dns_query query_for(const char *name)
{
    struct dialogue_dns_query query;

    dialogue_dns_build(&query, (const uint8_t *)name, strlen(name), ID);
    return query;
}

/* Judge a copy of the very size: a sanitizer sees a read beyond it. */
static enum dialogue_verdict judge(const struct dialogue_dns_query *query, const void *answer,
                                   size_t n, const char **ret_reason)
{
    uint8_t *copy = malloc(n ? n : 1);
    enum dialogue_verdict verdict;

    assert_non_null(copy);
    memcpy(copy, answer, n);
    *ret_reason = NULL;
    verdict = dialogue_dns_judge(query, copy, n, ret_reason);
    free(copy);
    if (verdict != DIALOGUE_WRONG)
        assert_null(*ret_reason);
    return verdict;
}

/* --- the query -------------------------------------------------------------------------------- */

static void test_query_bytes(void **state)
{
    static const char expected[] = "\xab\xcd\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
                                   "\x03www\x07"
                                   "Example\x03org\x00"
                                   "\x00\x01\x00\x01";
    struct dialogue_dns_query query = query_for("www.Example.org");

    (void)state;
    assert_int_equal(query.n_bytes, sizeof(expected) - 1);
    assert_memory_equal(query.bytes, expected, sizeof(expected) - 1);
}

static void test_query_of_one_letter(void **state)
{
    struct dialogue_dns_query query = query_for("a");

    (void)state;
    assert_int_equal(query.n_bytes, 12 + 3 + 4);
    assert_memory_equal(query.bytes + 12,
                        "\x01"
                        "a\x00\x00\x01\x00\x01",
                        7);
}

/* Labels of these lengths: of a, of b and so on. Returns the length of the name. */
static size_t make_name(char *name, const size_t *lengths, size_t n_labels)
{
    size_t n = 0;

    for (size_t i = 0; i < n_labels; i++) {
        if (i > 0)
            name[n++] = '.';
        memset(name + n, 'a' + (int)i, lengths[i]);
        n += lengths[i];
    }
    name[n] = '\0';
    return n;
}

static void test_longest_name(void **state)
{
    struct dialogue_dns_query query;
    char name[300];

    (void)state;
    assert_int_equal(make_name(name, (size_t[]){63, 63, 63, 61}, 4), 253);
    query = query_for(name);
    assert_int_equal(query.n_bytes, DIALOGUE_DNS_QUERY_MAX);
    assert_int_equal(query.bytes[12], 63);
    assert_int_equal(query.bytes[12 + 3 * 64], 61);
    assert_int_equal(query.bytes[12 + 254], 0);
    assert_memory_equal(query.bytes + 12 + 255, "\x00\x01\x00\x01", 4);
}

static void test_names_that_cannot_be_asked_for(void **state)
{
    static const char *const names[] = {"", ".", ".a", "a.", "a..b", ".."};
    char name[300];

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        assert_int_equal(query_for(names[i]).n_bytes, 0);
    make_name(name, (size_t[]){64}, 1);
    assert_int_equal(query_for(name).n_bytes, 0);
    make_name(name, (size_t[]){1, 64, 1}, 3);
    assert_int_equal(query_for(name).n_bytes, 0);
    assert_int_equal(make_name(name, (size_t[]){63, 63, 63, 62}, 4), 254);
    assert_int_equal(query_for(name).n_bytes, 0);
}

/* --- good answers ----------------------------------------------------------------------------- */

#define HEADER "\xab\xcd\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00"
#define FLAGGED(flags) "\xab\xcd" flags "\x00\x01\x00\x00\x00\x00\x00\x00"
#define NAME "\x02ns\x07"
#define QUESTION NAME "example\x00\x00\x01\x00\x01"
#define RECORD "\xc0\x0c\x00\x01\x00\x01\x00\x00\x0e\x10\x00\x04\x0a\x00\x00\x01"

struct answer {
    const char *bytes;
    size_t n;
    const char *reason; /* NULL = good, or a stray */
};

#define ANSWER(text, reason)           \
    {                                  \
        text, sizeof(text) - 1, reason \
    }

static void test_good_answers(void **state)
{
    static const struct answer answers[] = {
        ANSWER(HEADER QUESTION RECORD, NULL),
        ANSWER(FLAGGED("\x81\x80") QUESTION, NULL), /* no such record */
        ANSWER(FLAGGED("\x81\x83") QUESTION, NULL), /* no such name */
        ANSWER(FLAGGED("\x85\x80") QUESTION, NULL), /* authoritative */
        ANSWER(FLAGGED("\x83\x80") QUESTION, NULL), /* cut for TCP */
        ANSWER(FLAGGED("\x80\x00") QUESTION, NULL), /* without any recursion */
        ANSWER(FLAGGED("\x81\xb0") QUESTION, NULL), /* DNSSEC's bits */
        ANSWER(HEADER "\x02nS\x07"
                      "eXAMPLe\x00\x00\x01\x00\x01" RECORD,
               NULL),
        ANSWER(HEADER QUESTION "\xc0\xff\xc0", NULL), /* records are not read */
    };
    struct dialogue_dns_query query = query_for("ns.example");
    const char *reason;

    (void)state;
    for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++) {
        if (judge(&query, answers[i].bytes, answers[i].n, &reason) != DIALOGUE_GOOD)
            fail_msg("answer %zu: %s", i, reason ? reason : "a stray");
    }
}

static void test_largest_answer(void **state)
{
    static uint8_t answer[65507];
    struct dialogue_dns_query query = query_for("ns.example");
    const char *reason;

    (void)state;
    memset(answer, 0xc0, sizeof(answer));
    memcpy(answer, HEADER QUESTION, sizeof(HEADER QUESTION) - 1);
    assert_int_equal(judge(&query, answer, sizeof(answer), &reason), DIALOGUE_GOOD);
}

/* --- bad answers ------------------------------------------------------------------------------ */

static const char ANOTHER[] = "DNS answer to another question";
static const char NO_ANSWER[] = "not a DNS answer";

static void test_bad_answers(void **state)
{
    static const struct answer answers[] = {
        ANSWER(FLAGGED("\x81\x81") QUESTION, "DNS answer FORMERR"),
        ANSWER(FLAGGED("\x81\x82") QUESTION, "DNS answer SERVFAIL"),
        ANSWER(FLAGGED("\x81\x84") QUESTION, "DNS answer NOTIMP"),
        ANSWER(FLAGGED("\x81\x85") QUESTION, "DNS answer REFUSED"),
        ANSWER(FLAGGED("\x81\x86") QUESTION, "DNS answer YXDOMAIN"),
        ANSWER(FLAGGED("\x81\x87") QUESTION, "DNS answer YXRRSET"),
        ANSWER(FLAGGED("\x81\x88") QUESTION, "DNS answer NXRRSET"),
        ANSWER(FLAGGED("\x81\x89") QUESTION, "DNS answer NOTAUTH"),
        ANSWER(FLAGGED("\x81\x8a") QUESTION, "DNS answer NOTZONE"),
        ANSWER(FLAGGED("\x81\x8b") QUESTION, "DNS answer with an unknown code"),
        ANSWER(FLAGGED("\x81\x8f") QUESTION, "DNS answer with an unknown code"),
        /* A bare header. */
        ANSWER("\xab\xcd\x81\x81\x00\x00\x00\x00\x00\x00\x00\x00", "DNS answer FORMERR"),
        ANSWER("\xab\xcd\x81\x85\x00\x00\x00\x00\x00\x00\x00\x00", "DNS answer REFUSED"),
        ANSWER("\xab\xcd\x81\x80\x00\x00\x00\x00\x00\x00\x00\x00", ANOTHER),
        ANSWER("\xab\xcd\x81\x83\x00\x00\x00\x00\x00\x00\x00\x00", ANOTHER),
        /* Our own query, an update, a notification, a status. */
        ANSWER(FLAGGED("\x01\x00") QUESTION, NO_ANSWER),
        ANSWER(FLAGGED("\xa9\x80") QUESTION, NO_ANSWER),
        ANSWER(FLAGGED("\xa1\x80") QUESTION, NO_ANSWER),
        ANSWER(FLAGGED("\x91\x80") QUESTION, NO_ANSWER),
        /* Counts of questions. */
        ANSWER("\xab\xcd\x81\x80\x00\x00\x00\x01\x00\x00\x00\x00" QUESTION, ANOTHER),
        ANSWER("\xab\xcd\x81\x80\x00\x02\x00\x01\x00\x00\x00\x00" QUESTION, ANOTHER),
        ANSWER("\xab\xcd\x81\x80\x01\x01\x00\x01\x00\x00\x00\x00" QUESTION, ANOTHER),
        ANSWER("\xab\xcd\x81\x80\xff\xff\xff\xff\xff\xff\xff\xff" QUESTION, ANOTHER),
        /* Questions. */
        ANSWER(HEADER "\x02nt\x07"
                      "example\x00\x00\x01\x00\x01" RECORD,
               ANOTHER),
        ANSWER(HEADER NAME "examplf\x00\x00\x01\x00\x01" RECORD, ANOTHER),
        ANSWER(HEADER NAME "example\x00\x00\x1c\x00\x01" RECORD, ANOTHER),
        ANSWER(HEADER NAME "example\x00\x00\x01\x00\x03" RECORD, ANOTHER),
        ANSWER(HEADER NAME "example\x00\x01\x01\x00\x01" RECORD, ANOTHER),
        ANSWER(HEADER "\x0ans.example\x00\x00\x01\x00\x01" RECORD, ANOTHER),
        ANSWER(HEADER "\x07"
                      "example\x00\x00\x01\x00\x01\x00\x00\x00" RECORD,
               ANOTHER),
        ANSWER(HEADER "\x00\x00\x01\x00\x01" RECORD, ANOTHER),
        ANSWER(HEADER "\xc0\x0c\x00\x01\x00\x01" RECORD, ANOTHER), /* its own name, for ever */
        ANSWER(HEADER "\xc0\xff\x00\x01\x00\x01" RECORD, ANOTHER),
        ANSWER(HEADER "\x02ns\xc0\x0c\x00\x01\x00\x01" RECORD, ANOTHER),
        ANSWER(HEADER "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
               ANOTHER),
    };
    struct dialogue_dns_query query = query_for("ns.example");
    const char *reason;

    (void)state;
    for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++) {
        if (judge(&query, answers[i].bytes, answers[i].n, &reason) != DIALOGUE_WRONG)
            fail_msg("answer %zu is not wrong", i);
        assert_string_equal(reason, answers[i].reason);
    }
}

static void test_truncated_at_every_byte(void **state)
{
    static const char whole[] = HEADER QUESTION RECORD;
    static const size_t n_needed = sizeof(HEADER QUESTION) - 1;
    struct dialogue_dns_query query = query_for("ns.example");
    const char *reason;

    (void)state;
    for (size_t n = 0; n < 2; n++)
        assert_int_equal(judge(&query, whole, n, &reason), DIALOGUE_STRAY);
    for (size_t n = 2; n < n_needed; n++) {
        assert_int_equal(judge(&query, whole, n, &reason), DIALOGUE_WRONG);
        assert_string_equal(reason, n < 12 ? NO_ANSWER : ANOTHER);
    }
    for (size_t n = n_needed; n < sizeof(whole); n++)
        assert_int_equal(judge(&query, whole, n, &reason), DIALOGUE_GOOD);
}

/* Whatever else is in it. */
static void test_strays(void **state)
{
    static const struct answer answers[] = {
        ANSWER("", NULL),
        ANSWER("\xab", NULL),
        ANSWER("\xcd\xab", NULL),
        ANSWER("\xab\xcc\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00" QUESTION RECORD, NULL),
        ANSWER("\xaa\xcd\x81\x82\x00\x01\x00\x01\x00\x00\x00\x00" QUESTION RECORD, NULL),
        ANSWER("-ERR unknown command", NULL),
    };
    struct dialogue_dns_query query = query_for("ns.example");
    const char *reason;

    (void)state;
    for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++)
        assert_int_equal(judge(&query, answers[i].bytes, answers[i].n, &reason), DIALOGUE_STRAY);
}

/* One wrong byte in what must be repeated is never good, unless it is a letter in the other case.
 */
static void test_every_bit_of_the_question_counts(void **state)
{
    struct dialogue_dns_query query = query_for("ns.example");
    uint8_t answer[] = HEADER QUESTION;
    const char *reason;

    (void)state;
    for (size_t i = 12; i < sizeof(answer) - 1; i++) {
        for (int bit = 0; bit < 8; bit++) {
            uint8_t before = answer[i];
            bool is_case = before >= 'a' && before <= 'z' && bit == 5;

            answer[i] ^= (uint8_t)(1 << bit);
            assert_int_equal(judge(&query, answer, sizeof(answer) - 1, &reason),
                             is_case ? DIALOGUE_GOOD : DIALOGUE_WRONG);
            answer[i] = before;
        }
    }
}

/* --- over TCP --------------------------------------------------------------------------------- */

static uint8_t name[] = "ns.example";
static const struct service_check check = {
    .kind = CONF_CHECK_DNS, .send = name, .n_send = sizeof(name) - 1};

/* What was asked, as an answer with this code, with `n_more` bytes behind it and `length` before.
 */
static size_t answer_tcp(uint8_t answer[static 1024], uint8_t rcode, size_t n_more)
{
    size_t n;

    talker_hear(&check, "", 0, 1);
    n = talker.n_said;
    memcpy(answer, talker.said, n);
    memset(answer + n, 0xc0, n_more);
    n += n_more;
    answer[0] = (uint8_t)((n - 2) >> 8);
    answer[1] = (uint8_t)(n - 2);
    answer[4] |= 0x80;
    answer[5] = rcode;
    return n;
}

static void test_tcp_question(void **state)
{
    static const uint8_t wanted[] = "\x01\0\0\1\0\0\0\0\0\0\2ns\7example\0\0\1\0\1";

    (void)state;
    assert_int_equal(talker_hear(&check, "", 0, 1), TALK_MORE);
    assert_int_equal(talker.n_said, 2 + 2 + sizeof(wanted) - 1);
    assert_int_equal(talker.said[0], 0);
    assert_int_equal(talker.said[1], talker.n_said - 2);
    assert_memory_equal(talker.said + 4, wanted, sizeof(wanted) - 1);
}

static void test_tcp_answers(void **state)
{
    uint8_t answer[1024];
    size_t n;

    (void)state;
    n = answer_tcp(answer, 0, 500);
    talker_good(&check, answer, n);
    talker_prefixes(&check, answer, n - 500);
    n = answer_tcp(answer, 3, 0);
    talker_good(&check, answer, n);
    n = answer_tcp(answer, 2, 0);
    talker_wrong(&check, answer, n, "DNS answer SERVFAIL");
    answer[1] = 12; /* a bare header */
    talker_wrong(&check, answer, 14, "DNS answer SERVFAIL");
    n = answer_tcp(answer, 0, 0);
    answer[2] ^= 1;
    talker_wrong(&check, answer, n, "DNS answer to another question");
    memset(answer, 0, 2);
    talker_wrong(&check, answer, 2, "DNS answer to another question");
    talker_junk(&check);
}

static void test_tcp_bad_name(void **state)
{
    uint8_t bad_name[] = "a..b";
    const struct service_check bad = {.kind = CONF_CHECK_DNS, .send = bad_name, .n_send = 4};

    (void)state;
    assert_int_equal(talker_hear(&bad, "", 0, 1), TALK_WRONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_query_bytes),
        cmocka_unit_test(test_query_of_one_letter),
        cmocka_unit_test(test_longest_name),
        cmocka_unit_test(test_names_that_cannot_be_asked_for),
        cmocka_unit_test(test_good_answers),
        cmocka_unit_test(test_largest_answer),
        cmocka_unit_test(test_bad_answers),
        cmocka_unit_test(test_truncated_at_every_byte),
        cmocka_unit_test(test_strays),
        cmocka_unit_test(test_every_bit_of_the_question_counts),
        cmocka_unit_test(test_tcp_question),
        cmocka_unit_test(test_tcp_answers),
        cmocka_unit_test(test_tcp_bad_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
