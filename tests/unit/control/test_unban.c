#include "lb4/control/unban.h"

#include "guard_rig.h"

static const struct conf_guard with_ban = {
    .per_source = 9, .ban = {.n_refused = 1, .within_ms = 60000, .for_ms = 3600000}};

static void ban(const char *client)
{
    struct addr addr = guard_host(client);

    guard_note_refusal(guarded(), &addr, REFUSAL_DENIED, clock_now_ns());
    assert_int_equal(guard_come(client), REFUSAL_BANNED);
}

static void test_one(void **state)
{
    static const struct {
        const char *client;
        const char *word;
        const char *source;
    } cases[] = {{"10.0.0.1", "10.0.0.1", "10.0.0.1"},
                 {"10.0.0.1", "::ffff:10.0.0.1", "10.0.0.1"},
                 {"10.0.0.1", "10.0.0.1/32", "10.0.0.1"},
                 {"2001:db8::1", "2001:db8::7", "2001:db8::/64"},
                 {"2001:db8::1", "2001:db8::/64", "2001:db8::/64"}};
    char line[RIG_LINE_MAX];
    char expected[RIG_LINE_MAX];

    (void)state;
    guard_give(&with_ban);
    ban("10.0.0.2");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ban(cases[i].client);
        snprintf(line, sizeof(line), "unban db %s", cases[i].word);
        snprintf(expected, sizeof(expected), "service\tsource\tunbanned\ndb\t%s\t1\nok\n",
                 cases[i].source);
        rig_expect(line, expected);
        assert_int_equal(guard_come(cases[i].client), REFUSAL_NONE);
        snprintf(expected, sizeof(expected),
                 "error %s is not banned in service db; those that are: show bans db\n",
                 cases[i].source);
        rig_expect(line, expected);
    }
    assert_int_equal(guard_come("10.0.0.2"), REFUSAL_BANNED);
    guard_all_leave();
}

static void test_all(void **state)
{
    (void)state;
    guard_give(&with_ban);
    ban("10.0.0.1");
    ban("10.0.0.2");
    rig_expect("unban db all --json",
               "[{\"service\":\"db\",\"source\":\"all\",\"unbanned\":2}]\nok\n");
    assert_int_equal(guard_come("10.0.0.1"), REFUSAL_NONE);
    rig_expect("unban db all", "service\tsource\tunbanned\ndb\tall\t0\nok\n");
    guard_all_leave();
}

static void test_bad_words(void **state)
{
    (void)state;
    rig_expect("unban db", "error usage: unban SERVICE ADDRESS|all\n");
    rig_expect("unban x all", "error no service 'x'\n");
    rig_expect("unban db all", "error service db bans nobody: it has no line such as: ban after 20 "
                               "refused in 1m for 10m\n");
    guard_give(&with_ban);
    rig_expect("unban db every",
               "error unban: 'every' is no address: 10.0.0.9, 2001:db8::9, or all\n");
    rig_expect("unban db /32", "error unban: '/32' is no address: 10.0.0.9, 2001:db8::9, or all\n");
    rig_expect("unban db 10.0.0.0/24", "error unban: '10.0.0.0/24' is no source of service db: "
                                       "they have prefixes of /32 and /64\n");
    rig_expect("unban db 10.0.0.0/", "error unban: '10.0.0.0/' is no source of service db: "
                                     "they have prefixes of /32 and /64\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIGGED(test_one),
        RIGGED(test_all),
        RIGGED(test_bad_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
