#include "lb4/probe/dialogue_http.h"

#include <stdio.h>

#include "talker.h"

static uint8_t path[CONF_TEXT_MAX] = "/primary";
static uint8_t host[CONF_HOST_MAX] = "db.example";

static struct service_check check_for(uint16_t min, uint16_t max)
{
    return (struct service_check){
        .kind = CONF_CHECK_HTTP, .send = path, .n_send = 8, .status_min = min, .status_max = max};
}

static void check_request(const char *address, const char *wanted)
{
    struct service_check check = check_for(200, 200);
    char text[128];

    talk_begin(&talker.talk, &check);
    if (address) {
        assert_int_equal(addr_parse(address, &talker.talk.server), 0);
        addr_set_port(&talker.talk.server, 8008);
    }
    assert_int_equal(talk_open(&talker.talk), TALK_SAY);
    snprintf(text, sizeof(text),
             "GET /primary HTTP/1.1\r\nHost: %s\r\nUser-Agent: lb4\r\nAccept: */*\r\n"
             "Connection: close\r\n\r\n",
             wanted);
    assert_int_equal(talker.talk.n_out, strlen(text));
    assert_memory_equal(talker.talk.out, text, strlen(text));
}

static void test_request(void **state)
{
    (void)state;
    check_request("10.0.0.5", "10.0.0.5:8008");
    check_request("2001:db8::5", "[2001:db8::5]:8008");
    check_request("fe80::5%lo", "[fe80::5]:8008");
    check_request(NULL, "");
}

/* Nothing of it is cut. */
static void test_longest_request(void **state)
{
    struct service_check check = check_for(200, 200);

    (void)state;
    memset(path + 1, 'p', sizeof(path) - 1);
    memset(host, 'h', sizeof(host));
    check.n_send = sizeof(path);
    check.host = host;
    check.n_host = sizeof(host);
    assert_int_equal(talker_hear(&check, "", 0, 1), TALK_MORE);
    assert_memory_equal(talker.said + 4, path, sizeof(path));
    assert_int_equal(talker.n_said, 4 + sizeof(path) + sizeof(host) +
                                        strlen(" HTTP/1.1\r\nHost: \r\nUser-Agent: lb4\r\n"
                                               "Accept: */*\r\nConnection: close\r\n\r\n"));
    assert_string_equal(talker.said + talker.n_said - 4, "\r\n\r\n");
    memcpy(path, "/primary", 9);
}

static void test_good(void **state)
{
    static const char *const answers[] = {"HTTP/1.1 200 OK\r\nServer: x\r\n\r\nbody",
                                          "HTTP/1.0 200\r\n", "HTTP/1.1 200 \n",
                                          "HTTP/1.1 299 anything \xff goes\r\n"};
    struct service_check check = check_for(200, 299);

    (void)state;
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
        talker_good(&check, answers[i], strlen(answers[i]));
    talker_prefixes(&check, answers[0], strlen("HTTP/1.1 200 OK\r\n"));
}

static void test_status(void **state)
{
    struct service_check check = check_for(200, 399);
    char answer[32];
    char reason[32];

    (void)state;
    for (unsigned status = 100; status <= 599; status++) {
        snprintf(answer, sizeof(answer), "HTTP/1.1 %u x\r\n", status);
        snprintf(reason, sizeof(reason), "HTTP status %u", status);
        if (status >= 200 && status <= 399)
            talker_good(&check, answer, strlen(answer));
        else
            talker_wrong(&check, answer, strlen(answer), reason);
    }
}

static void test_not_http(void **state)
{
    static const struct {
        const char *answer;
        const char *reason;
    } cases[] = {
        {"SSH-2.0-x\r\n", "not an HTTP answer: 'SSH-2.0-x'"},
        {"\n", "not an HTTP answer: ''"},
        {"HTTP/1.1 20\r\n", "not an HTTP answer: 'HTTP/1.1 20'"},
        {"HTTP/1.1 2000\r\n", "not an HTTP answer: 'HTTP/1.1 2000'"},
        {"HTTP/1.1  200\r\n", "not an HTTP answer: 'HTTP/1.1  200'"},
        {"HTTP/11 200 x\r\n", "not an HTTP answer: 'HTTP/11 200 x'"},
        {"http/1.1 200 x\r\n", "not an HTTP answer: 'http/1.1 200 x'"},
        {"HTTP/1.1 200 OK", "hung up within its answer 'HTTP/1.1 200 OK'"},
        {"x'y\\\x1b\x80\t", "hung up within its answer 'x\\'y\\\\\\x1b\\x80\\x09'"},
        {"", "hung up without an answer"},
    };
    struct service_check check = check_for(200, 399);

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        talker_wrong(&check, cases[i].answer, strlen(cases[i].answer), cases[i].reason);
}

static void test_long_lines(void **state)
{
    struct service_check check = check_for(200, 399);
    char answer[TALK_IN_MAX + 100];

    (void)state;
    memset(answer, 'A', sizeof(answer));
    assert_int_equal(talker_hear(&check, answer, 31, 1), TALK_MORE);
    talker_wrong(&check, answer, 32, "not an HTTP answer: 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'");
    memcpy(answer, "HTTP/1.1 200 ", 13);
    talker_wrong(&check, answer, sizeof(answer),
                 "answer 'HTTP/1.1 200 AAAAAAAAAAAAAAAAAAA...' is too long");
    talker_junk(&check);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request),  cmocka_unit_test(test_longest_request),
        cmocka_unit_test(test_good),     cmocka_unit_test(test_status),
        cmocka_unit_test(test_not_http), cmocka_unit_test(test_long_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
