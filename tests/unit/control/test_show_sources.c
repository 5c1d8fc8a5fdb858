#include "lb4/control/show_sources.h"

#include "guard_rig.h"

static const struct conf_guard all_words = {
    .per_source = 2,
    .rate_source = {1, 3600000, 9},
    .ban = {.n_refused = 2, .within_ms = 3600000, .for_ms = 3600000},
};

#define SOURCES "source\tlive\tlimit\trate_left\tdatagrams_left\trefused\tban_after\tban_left\n"
#define BANS "service\tsource\tban_left\trefused\tcause\n"

static void test_sources(void **state)
{
    (void)state;
    guard_give(&all_words);
    rig_expect("show sources db", SOURCES "ok\n");
    assert_int_equal(guard_come("2001:db8::1"), REFUSAL_NONE);
    assert_int_equal(guard_come("10.0.0.1"), REFUSAL_NONE);
    assert_int_equal(guard_come("10.0.0.1"), REFUSAL_NONE);
    assert_int_equal(guard_come("10.0.0.1"), REFUSAL_PER_SOURCE);
    rig_expect("show sources db", SOURCES "10.0.0.1\t2\t2\t7\t-\t1\t2\t-\n"
                                          "2001:db8::/64\t1\t2\t8\t-\t0\t2\t-\nok\n");
    assert_int_equal(guard_come("10.0.0.1"), REFUSAL_PER_SOURCE);
    assert_int_equal(guard_come("10.0.0.1"), REFUSAL_BANNED);
    rig_expect("show sources --busiest 1 db", SOURCES "10.0.0.1\t2\t2\t7\t-\t2\t2\t3600\nok\n");
    rig_ask("show sources db --busiest 1 --json");
    assert_string_equal(rig.text,
                        "[{\"source\":\"10.0.0.1\",\"live\":2,\"limit\":2,\"rate_left\":7,"
                        "\"datagrams_left\":null,\"refused\":2,\"ban_after\":2,\"ban_left\":3600}]"
                        "\nok\n");
    guard_all_leave();
}

/* Who owes something is known, too; what has no word is not told of. */
static void test_other_words(void **state)
{
    (void)state;
    guard_give(&(struct conf_guard){.rate_datagrams = {1, 3600000, 5}});
    guard_charge_datagrams(guarded(), &guard_places[0], clock_now_ns(), 0);
    assert_int_equal(guard_come("10.0.0.1"), REFUSAL_NONE);
    guard_charge_datagrams(guarded(), &guard_places[0], clock_now_ns(), 3);
    guard_all_leave();
    rig_expect("show sources db", SOURCES "10.0.0.1\t0\t-\t-\t2\t-\t-\t-\nok\n");
}

static void test_many(void **state)
{
    char line[64];
    const char *at;
    size_t n = 0;

    (void)state;
    guard_give(&all_words);
    for (int i = 0; i < 1500; i++) {
        struct addr addr;

        snprintf(line, sizeof(line), "10.0.%d.%d", i / 250, i % 250);
        addr = guard_host(line);
        for (int k = 0; k < 2; k++)
            guard_note_refusal(guarded(), &addr, REFUSAL_DENIED, clock_now_ns());
    }
    rig_ask("show sources db");
    for (at = rig.text; (at = strchr(at, '\n')); at++)
        n++;
    assert_int_equal(n, 100 + 2);
    rig_ask("show bans");
    for (n = 0, at = rig.text; (at = strchr(at, '\n')); at++)
        n++;
    assert_int_equal(n, 1000 + 2);
}

static void test_bans(void **state)
{
    struct addr stranger = guard_host("10.0.0.9");

    (void)state;
    rig_expect("show bans", BANS "ok\n");
    guard_give(&all_words);
    rig_expect("show bans db", BANS "ok\n");
    for (int i = 0; i < 2; i++)
        guard_note_refusal(guarded(), &stranger, REFUSAL_PEER, clock_now_ns());
    rig_expect("show bans", BANS "db\t10.0.0.9\t3600\t2\tpeer\nok\n");
    rig_expect("show bans db --json", "[{\"service\":\"db\",\"source\":\"10.0.0.9\",\"ban_left\":"
                                      "3600,\"refused\":2,\"cause\":\"peer\"}]\nok\n");
    guard_give(&(struct conf_guard){.per_source = 2});
    rig_expect("show bans", BANS "ok\n");
}

static void test_bad_words(void **state)
{
    (void)state;
    rig_expect("show sources", "error usage: show sources [--busiest N] SERVICE\n");
    rig_expect("show sources x", "error no service 'x'\n");
    rig_expect("show sources db", "error service db knows nothing of its sources: it has none of "
                                  "limit per-source, rate per-source, ban\n");
    rig_expect("show bans x", "error no service 'x'\n");
    rig_expect("show bans db x", "error usage: show bans [SERVICE]\n");
    rig_expect("show bans db", "error service db bans nobody: it has no line such as: ban after 20 "
                               "refused in 1m for 10m\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIGGED(test_sources), RIGGED(test_other_words), RIGGED(test_many),
        RIGGED(test_bans),    RIGGED(test_bad_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
