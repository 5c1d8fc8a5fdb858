#include <netinet/udp.h>

#include "lb4/probe/datagram.h"

#include "asker.h"

static void rig_ask_dns(void)
{
    rig_check(CONF_CHECK_DNS, "ns.example", "");
    rig_start();
}

/* The question as it came, with these flags: 0x8180 is a good answer. */
static void answer_dns(unsigned flags)
{
    uint8_t bytes[QUESTION_MAX];

    memcpy(bytes, rig.question, rig.n_question);
    bytes[2] = (uint8_t)(flags >> 8);
    bytes[3] = (uint8_t)flags;
    answer_bytes(rig.server_fd, bytes, rig.n_question);
}

static void answer_dns_stray(void)
{
    uint8_t bytes[QUESTION_MAX];

    memcpy(bytes, rig.question, rig.n_question);
    bytes[0] ^= 1;
    answer_bytes(rig.server_fd, bytes, rig.n_question);
}

/* --- answers ---------------------------------------------------------------------------------- */

static void test_dns(void **state)
{
    static const char expected[] = "\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
                                   "\x02ns\x07"
                                   "example\x00\x00\x01\x00\x01";

    (void)state;
    rig_ask_dns();
    take_question();
    assert_int_equal(rig.n_question, 2 + sizeof(expected) - 1);
    assert_memory_equal(rig.question + 2, expected, sizeof(expected) - 1);
    answer_dns(0x8180);
    check_outcome(HEALTH_OK, 0, NULL);
    rig_start();
    take_question();
    answer_dns(0x8183);
    check_outcome(HEALTH_OK, 0, NULL);
}

static void test_dns_that_cannot_serve(void **state)
{
    (void)state;
    rig_ask_dns();
    take_question();
    answer_dns(0x8182);
    check_outcome(HEALTH_FAILED, EBADMSG, "DNS answer SERVFAIL");
    rig_start();
    take_question();
    answer_dns(0x8185);
    check_outcome(HEALTH_FAILED, EBADMSG, "DNS answer REFUSED");
    rig_start();
    take_question();
    answer_dns(0x0100);
    check_outcome(HEALTH_FAILED, EBADMSG, "not a DNS answer");
}

/* 16 random bits: eight equal ones would be one time in 5e33. */
static void test_dns_ids_differ(void **state)
{
    bool differs = false;
    uint8_t first[2];

    (void)state;
    rig_check(CONF_CHECK_DNS, "ns.example", "");
    for (int i = 0; i < 8; i++) {
        rig_start();
        take_question();
        if (i == 0)
            memcpy(first, rig.question, 2);
        differs = differs || memcmp(first, rig.question, 2) != 0;
        attempt_close(&rig.attempt);
    }
    assert_true(differs);
}

/* More strays than are heard in one event. */
static void test_dns_strays_are_ignored(void **state)
{
    (void)state;
    rig_ask_dns();
    take_question();
    answer("");
    for (int i = 0; i < 100; i++)
        answer_dns_stray();
    check_no_outcome();
    answer_dns_stray();
    answer_dns(0x8180);
    check_outcome(HEALTH_OK, 0, NULL);
}

static void test_dns_nothing_but_strays(void **state)
{
    struct patience patience = patience_new();

    (void)state;
    rig_ask_dns();
    take_question();
    answer_dns_stray();
    while (!rig.attempt.has_strays && patience_holds(&patience))
        rig_turn();
    assert_int_equal(attempt_give_up(&rig.attempt), HEALTH_FAILED);
    assert_int_equal(rig.attempt.error, ETIMEDOUT);
    assert_string_equal(rig.attempt.reason, "no answer to the query, only other datagrams");
    rig_start();
    assert_int_equal(attempt_give_up(&rig.attempt), HEALTH_FAILED);
    assert_null(rig.attempt.reason);
}

/* Segments of one send arrive as one joined datagram where a socket asks for that. */
static void test_dns_answer_behind_a_stray_in_one_send(void **state)
{
    uint8_t bytes[2 * QUESTION_MAX];
    int n_segment;

    (void)state;
    rig_ask_dns();
    take_question();
    n_segment = (int)rig.n_question;
    memcpy(bytes, rig.question, rig.n_question);
    memcpy(bytes + n_segment, rig.question, rig.n_question);
    bytes[0] ^= 1;
    bytes[n_segment + 2] = 0x81;
    bytes[n_segment + 3] = 0x80;
    assert_int_equal(
        setsockopt(rig.server_fd, IPPROTO_UDP, UDP_SEGMENT, &n_segment, sizeof(n_segment)), 0);
    answer_bytes(rig.server_fd, bytes, 2 * rig.n_question);
    check_outcome(HEALTH_OK, 0, NULL);
}

static void test_dns_name_that_cannot_be_asked_for(void **state)
{
    (void)state;
    rig_check(CONF_CHECK_DNS, "a..b", "");
    rig_start();
    check_outcome(HEALTH_FAILED, EBADMSG, NULL);
}

static void test_repeat_sends_the_same(void **state)
{
    uint8_t first[QUESTION_MAX];
    size_t n_first;
    struct addr asker;

    (void)state;
    rig_ask_dns();
    take_question();
    memcpy(first, rig.question, rig.n_question);
    n_first = rig.n_question;
    asker = rig.asker;
    assert_false(attempt_repeat(&rig.attempt, &rig.outcome));
    take_question();
    assert_int_equal(rig.n_question, n_first);
    assert_memory_equal(rig.question, first, n_first);
    assert_true(addr_equal(&rig.asker, &asker));
    check_no_outcome();
    answer_dns(0x8180);
    answer_dns(0x8180);
    check_outcome(HEALTH_OK, 0, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIGGED(test_dns),
        RIGGED(test_dns_that_cannot_serve),
        RIGGED(test_dns_ids_differ),
        RIGGED(test_dns_strays_are_ignored),
        RIGGED(test_dns_nothing_but_strays),
        RIGGED(test_dns_answer_behind_a_stray_in_one_send),
        RIGGED(test_dns_name_that_cannot_be_asked_for),
        RIGGED(test_repeat_sends_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
