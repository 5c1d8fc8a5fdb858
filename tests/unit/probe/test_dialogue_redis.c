#include "lb4/probe/dialogue_redis.h"

#include "talker.h"

static const struct service_check any = {.kind = CONF_CHECK_REDIS};
static const struct service_check master = {.kind = CONF_CHECK_REDIS, .role = CONF_ROLE_MASTER};
static const struct service_check replica = {.kind = CONF_CHECK_REDIS, .role = CONF_ROLE_REPLICA};

static void good(const struct service_check *check, const char *answer)
{
    talker_good(check, answer, strlen(answer));
}

static void wrong(const struct service_check *check, const char *answer, const char *reason)
{
    talker_wrong(check, answer, strlen(answer), reason);
}

static void test_ping(void **state)
{
    (void)state;
    good(&any, "+PONG\r\n");
    assert_string_equal(talker.said, "*1\r\n$4\r\nPING\r\n");
    good(&any, "-NOAUTH Authentication required.\r\n");
    talker_prefixes(&any, "+PONG\r\n", 7);
    wrong(&any, "-LOADING Redis is loading the dataset in memory\r\n",
          "answer '-LOADING Redis is loading the da...'");
    wrong(&any, "-MASTERDOWN Link with MASTER is down\r\n",
          "answer '-MASTERDOWN Link with MASTER is ...'");
    wrong(&any, "-ERR max number of clients reached\r\n",
          "answer '-ERR max number of clients reach...'");
    wrong(&any, "-noauth\r\n", "answer '-noauth'");
    wrong(&any, "+PONG!\r\n", "not a Redis answer: '+PONG!'");
    wrong(&any, "*5\r\n$6\r\nmaster\r\n", "not a Redis answer: '*5'");
    wrong(&any, "\r\n", "not a Redis answer: ''");
    wrong(&any, "+PON", "hung up within its answer '+PON'");
    wrong(&any, "", "hung up without an answer");
}

static void test_role(void **state)
{
    static const char is_master[] = "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n";
    static const char is_replica[] =
        "*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:6379\r\n$9\r\nconnected\r\n:0\r\n";

    (void)state;
    good(&master, is_master);
    assert_string_equal(talker.said, "*1\r\n$4\r\nROLE\r\n");
    good(&replica, is_replica);
    talker_prefixes(&master, is_master, strlen("*3\r\n$6\r\nmaster\r\n"));
    talker_prefixes(&replica, is_replica, strlen("*5\r\n$5\r\nslave\r\n"));
    wrong(&master, is_replica, "wanted role master, it is a replica");
    wrong(&replica, is_master, "wanted role replica, it is a master");
    wrong(&master, "*2\r\n$8\r\nsentinel\r\n", "wanted role master, it is 'sentinel'");
    wrong(&replica, "*2\r\n$8\r\nsentinel\r\n", "wanted role replica, it is 'sentinel'");
    wrong(&master, "*2\r\n$0\r\n\r\n", "wanted role master, it is ''");
}

static void test_role_refused(void **state)
{
    (void)state;
    wrong(&master, "-NOAUTH Authentication required.\r\n",
          "wanted role master, it wants a password");
    wrong(&replica, "-NOAUTH x\r\n", "wanted role replica, it wants a password");
    wrong(&master, "-LOADING x\r\n", "answer '-LOADING x'");
    wrong(&master, "+PONG\r\n", "not a Redis answer: '+PONG'");
    wrong(&master, "*2\r\n:1\r\n", "not an answer to ROLE: '*2\\r\\n:1\\r\\n'");
    wrong(&master, "*2\r\n\r\n", "not an answer to ROLE: '*2\\r\\n\\r\\n'");
}

static void test_junk(void **state)
{
    (void)state;
    talker_junk(&any);
    talker_junk(&master);
    talker_junk(&replica);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ping),
        cmocka_unit_test(test_role),
        cmocka_unit_test(test_role_refused),
        cmocka_unit_test(test_junk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
