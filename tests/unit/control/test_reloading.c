#include "lb4/control/reloading.h"

#include "command_rig.h"

static const char USAGE[] = "error usage: reload [--dry-run] [--confirm TIME]\n";

static void check_nothing_is_asked(void)
{
    assert_int_equal(rig.result, COMMAND_FAILED);
    assert_false(rig.reload.next.is_wanted);
}

static void test_options(void **state)
{
    static const struct {
        const char *line;
        bool is_dry;
        uint64_t confirm_ns;
    } cases[] = {
        {"reload", false, 0},
        {"reload --json", false, 0},
        {"reload --dry-run", true, 0},
        {"reload --confirm 1s", false, CLOCK_NS_PER_S},
        {"reload --confirm 60s --dry-run", true, 60 * CLOCK_NS_PER_S},
        {"reload --dry-run --confirm 2m", true, 120 * CLOCK_NS_PER_S},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        rig.reload = (struct reload){.n_runs = i};
        rig_expect(cases[i].line, "");
        assert_int_equal(rig.result, COMMAND_WAITS);
        assert_int_equal(rig.call.wait.kind, COMMAND_WAIT_RELOAD);
        assert_int_equal(rig.call.wait.number, i + 1);
        assert_true(rig.reload.next.is_wanted);
        assert_int_equal(rig.reload.next.is_dry, cases[i].is_dry);
        assert_int_equal(rig.reload.next.confirm_ns, cases[i].confirm_ns);
    }
}

static void test_options_refused(void **state)
{
    static const char *const times[] = {"999ms", "366d", "0", "soon", "--dry-run"};
    char line[RIG_LINE_MAX];
    char reply[RIG_LINE_MAX];

    (void)state;
    rig_expect("reload now", USAGE);
    check_nothing_is_asked();
    rig_expect("reload --confirm", USAGE);
    check_nothing_is_asked();
    rig_expect("reload --dry-run --confirm 60s --dry-run", USAGE);
    check_nothing_is_asked();
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        snprintf(line, sizeof(line), "reload --confirm %s", times[i]);
        snprintf(reply, sizeof(reply),
                 "error reload: '%s' is no time to confirm: 1s..365d, as in 60s\n", times[i]);
        rig_expect(line, reply);
        check_nothing_is_asked();
    }
}

static void test_not_while_it_starts_or_ends(void **state)
{
    (void)state;
    rig.from.state = "draining";
    rig.from.is_ready = false;
    rig_expect("reload", "error reload: not while lb4 is draining\n");
    check_nothing_is_asked();
    rig.from.is_ready = true;
    rig_ask("reload");
    rig_ask_again();
    assert_int_equal(rig.result, COMMAND_WAITS);
    rig.from.is_ready = false; /* in the meantime */
    assert_string_equal(rig_ask_again(), "error reload: lb4 is draining; nothing has changed\n");
    assert_int_equal(rig.result, COMMAND_FAILED);
}

/* The reply to `line` when this is the result. */
static void expect_result(const char *line, const struct reload_result *result, const char *reply)
{
    rig_ask(line);
    assert_int_equal(rig.result, COMMAND_WAITS);
    rig.reload.result = *result;
    rig.reload.result.number = rig.call.wait.number - 1;
    rig_ask_again();
    assert_int_equal(rig.result, COMMAND_WAITS); /* that is another run's */
    rig.reload.result.number += 4;               /* this one's, or a later one's */
    assert_string_equal(rig_ask_again(), reply);
    rig.reload.result = (struct reload_result){0};
}

static void test_result(void **state)
{
    char difference[] = "~ tries of a 3 -> 7\n- server b \"x\"\n";

    (void)state;
    expect_result("reload", &(struct reload_result){.n_changes = 2, .text = difference},
                  "~ tries of a 3 -> 7\n- server b \"x\"\nok\n");
    expect_result("reload --json", &(struct reload_result){.n_changes = 2, .text = difference},
                  "{\"dry_run\":false,\"to_confirm\":false,\"changes\":[\"~ tries of a 3 -> 7\","
                  "\"- server b \\\"x\\\"\"]}\nok\n");
    expect_result("reload", &(struct reload_result){0}, "no difference\nok\n");
    expect_result("reload --dry-run --json", &(struct reload_result){.was_dry = true},
                  "{\"dry_run\":true,\"to_confirm\":false,\"changes\":[]}\nok\n");
}

static void test_result_to_confirm(void **state)
{
    char difference[] = "~ x\n";
    const struct reload_result wet = {.n_changes = 1, .text = difference};
    const struct reload_result dry = {.n_changes = 1, .text = difference, .was_dry = true};

    (void)state;
    rig.call.now_ns = CLOCK_NS_PER_S;
    rig.reload.before = &rig.conf;
    rig.reload.undo_ns = rig.call.now_ns + 42900 * CLOCK_NS_PER_MS;
    expect_result("reload", &wet, "~ x\nundone in 43 s unless confirmed: lb4ctl confirm\nok\n");
    expect_result("reload --json", &wet,
                  "{\"dry_run\":false,\"to_confirm\":true,\"changes\":[\"~ x\"]}\nok\n");
    expect_result("reload --dry-run", &dry, "~ x\nok\n");
    rig.reload.undo_ns = 5; /* due already */
    expect_result("reload", &wet, "~ x\nundone in 0 s unless confirmed: lb4ctl confirm\nok\n");
    rig.reload.before = NULL;
}

static void test_result_is_failure(void **state)
{
    char errors[] = "t:4:1: unknown directive 'x'\nt:9:2: second\n";
    const struct reload_result failed = {.has_failed = true, .text = errors};

    (void)state;
    expect_result("reload", &failed,
                  "t:4:1: unknown directive 'x'\nt:9:2: second\n"
                  "error reload: it failed; nothing has changed\n");
    assert_int_equal(rig.result, COMMAND_FAILED);
    expect_result("reload --json", &failed,
                  "{\"errors\":[\"t:4:1: unknown directive 'x'\",\"t:9:2: second\"]}\n"
                  "error reload: it failed; nothing has changed\n");
    expect_result("reload", &(struct reload_result){.has_failed = true}, /* no memory for more */
                  "error reload: it failed; nothing has changed\n");
}

static void test_confirm(void **state)
{
    (void)state;
    rig_expect("confirm", "error confirm: no reload waits to be confirmed\n");
    rig_expect("confirm it", "error usage: confirm\n");
    rig.reload.before = malloc(sizeof(*rig.reload.before));
    assert_non_null(rig.reload.before);
    conf_init(rig.reload.before);
    rig.reload.undo_ns = 5;
    rig_expect("confirm", "ok\n");
    assert_null(rig.reload.before);
    assert_int_equal(rig.reload.undo_ns, UINT64_MAX);
    rig_expect("confirm", "error confirm: no reload waits to be confirmed\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIGGED(test_options),
        RIGGED(test_options_refused),
        RIGGED(test_not_while_it_starts_or_ends),
        RIGGED(test_result),
        RIGGED(test_result_to_confirm),
        RIGGED(test_result_is_failure),
        RIGGED(test_confirm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
