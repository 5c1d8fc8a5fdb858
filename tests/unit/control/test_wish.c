#include "lb4/control/wish.h"

#include <errno.h>

#include "command_rig.h"

enum { WISHES = PICK_DRAIN | PICK_MAINT | PICK_NEW };

static uint32_t wishes_of(size_t service, size_t server)
{
    return backend_standing(rig_server(service, server)) & WISHES;
}

/* Service db is probed, service one is not. */
static void test_states(void **state)
{
    static const struct {
        const char *line;
        uint32_t probed;
        uint32_t unprobed;
    } steps[] = {
        {"drain", PICK_DRAIN, PICK_DRAIN},
        {"ready", 0, 0},
        {"maint", PICK_MAINT, PICK_MAINT},
        {"maint", PICK_MAINT, PICK_MAINT},
        {"ready", PICK_NEW, 0},
        {"drain", PICK_NEW | PICK_DRAIN, PICK_DRAIN},
        {"ready", PICK_NEW, 0},
        {"maint", PICK_MAINT, PICK_MAINT},
        {"drain", PICK_NEW | PICK_DRAIN, PICK_DRAIN},
        {"maint", PICK_MAINT, PICK_MAINT},
    };
    char line[RIG_LINE_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        snprintf(line, sizeof(line), "%s db/a", steps[i].line);
        rig_ask(line);
        assert_int_equal(rig.result, COMMAND_DONE);
        snprintf(line, sizeof(line), "%s one/a", steps[i].line);
        rig_ask(line);
        assert_int_equal(wishes_of(0, 0), steps[i].probed);
        assert_int_equal(wishes_of(1, 0), steps[i].unprobed);
        assert_int_equal(wishes_of(0, 1), 0);
    }
}

static void test_prober_is_told_of_changes(void **state)
{
    (void)state;
    rig_ask("ready db/a");
    assert_int_equal(mailbox_take(&rig.prober.mailbox), 0);
    rig_ask("drain db/a");
    assert_int_equal(mailbox_take(&rig.prober.mailbox), MAILBOX_WISH);
    rig_ask("maint db/a");
    assert_int_equal(mailbox_take(&rig.prober.mailbox), MAILBOX_WISH);
    rig_ask("maint db/a");
    assert_int_equal(mailbox_take(&rig.prober.mailbox), 0);
    rig_ask("drain db/a");
    assert_int_equal(mailbox_take(&rig.prober.mailbox), MAILBOX_WISH);
}

static void test_answer(void **state)
{
    (void)state;
    backend_acquire(rig_server(0, 0));
    rig_expect("drain db/a", "service\tserver\tstate\tweight\tactive\tservers_up\tservers\n"
                             "db\ta\tdrain\t1\t1\t1\t2\nok\n");
    rig_expect("maint db/a --json",
               "[{\"service\":\"db\",\"server\":\"a\",\"state\":\"maint\","
               "\"weight\":1,\"active\":1,\"servers_up\":1,\"servers\":2}]\nok\n");
}

static void test_note_says_who(void **state)
{
    char text[NOTE_TEXT_MAX];

    (void)state;
    assert_int_equal(note_read(&rig_server(0, 0)->wish, text), 0);
    rig_ask("drain db/a");
    assert_true(note_read(&rig_server(0, 0)->wish, text) > 0);
    assert_string_equal(text, "drain, by uid 1000");
}

static void test_bad_words(void **state)
{
    (void)state;
    rig_expect("drain db", "error drain: 'db' is not SERVICE/SERVER\n");
    rig_expect("drain /a", "error drain: '/a' is not SERVICE/SERVER\n");
    rig_expect("drain db/", "error drain: 'db/' is not SERVICE/SERVER\n");
    rig_expect("drain x/a", "error no service 'x'\n");
    rig_expect("drain db/x", "error no server 'x' in service db\n");
    rig_expect("drain db/a/b", "error no server 'a/b' in service db\n");
    rig_expect("drain db/a 60s", "error drain: '60s' is not accepted here: --wait TIME\n");
    rig_expect("drain db/a --wait", "error drain: --wait needs a time, as in --wait 60s\n");
    rig_expect("drain db/a --wait 60",
               "error drain: '60' is no time to wait: 1ms..365d, as in 60s\n");
    rig_expect("drain db/a --wait 0s",
               "error drain: '0s' is no time to wait: 1ms..365d, as in 60s\n");
    assert_int_equal(wishes_of(0, 0), 0);
}

static void test_wait_until_empty(void **state)
{
    (void)state;
    backend_acquire(rig_server(0, 0));
    rig.call.now_ns = 1000 * CLOCK_NS_PER_S;
    rig_expect("drain db/a --wait 60s", "");
    assert_int_equal(rig.result, COMMAND_WAITS);
    rig_ask_again();
    assert_int_equal(rig.result, COMMAND_WAITS);
    backend_release(rig_server(0, 0));
    assert_non_null(strstr(rig_ask_again(), "db\ta\tdrain\t1\t0\t1\t2\nok\n"));
    assert_int_equal(rig.result, COMMAND_DONE);
    rig_ask("maint db/a --wait 1ms");
    assert_int_equal(rig.result, COMMAND_DONE);
}

static void test_wait_ends_with_its_time(void **state)
{
    (void)state;
    backend_acquire(rig_server(0, 0));
    rig.call.now_ns = 1000 * CLOCK_NS_PER_S;
    rig_expect("maint db/a --wait 60s", "");
    rig.call.now_ns += 60 * CLOCK_NS_PER_S - 1;
    rig_ask_again();
    assert_int_equal(rig.result, COMMAND_WAITS);
    rig.call.now_ns++;
    assert_string_equal(rig_ask_again(),
                        "error db/a still holds 1 connections after 1m; it stays in maint\n");
    assert_int_equal(wishes_of(0, 0), PICK_MAINT);
}

static void test_wait_until_usable(void **state)
{
    (void)state;
    rig_ask("maint db/a");
    note_write(&rig_server(0, 0)->health, 1, "connection refused");
    rig_expect("ready db/a --wait 1s", "");
    backend_clear(rig_server(0, 0), PICK_NEW);
    assert_non_null(strstr(rig_ask_again(), "db\ta\tup\t"));
    backend_set(rig_server(0, 0), PICK_DOWN);
    rig_expect("ready db/a --wait 1s", "");
    rig.call.now_ns += CLOCK_NS_PER_S;
    assert_string_equal(rig_ask_again(),
                        "error db/a takes no clients after 1s: it is down: connection refused\n");
}

static void test_wait_is_overtaken(void **state)
{
    (void)state;
    backend_acquire(rig_server(0, 0));
    rig_expect("drain db/a --wait 60s", "");
    backend_clear(rig_server(0, 0), PICK_DRAIN);
    assert_string_equal(rig_ask_again(), "error db/a: somebody else has changed its state to up\n");
    backend_set(rig_server(0, 0), PICK_DOWN);
    rig_expect("ready db/a --wait 60s", "");
    backend_set(rig_server(0, 0), PICK_MAINT);
    assert_string_equal(rig_ask_again(),
                        "error db/a: somebody else has changed its state to maint\n");
}

/* That it is obeyed is control/reload's, see there. */
static void test_bad_weight(void **state)
{
    (void)state;
    rig_expect("weight db/b 257", "error weight: '257' is not accepted: 1..256\n");
    rig_expect("weight db/b 0", "error weight: '0' is not accepted: 1..256\n");
    rig_expect("weight db/b -1", "error weight: '-1' is not accepted: 1..256\n");
    rig_expect("weight db/c 1", "error no server 'c' in service db\n");
    assert_non_null(strstr(rig_ask("weight db/b 1"), "db\tb\tup\t1\t"));
}

/* While others change something it waits for its turn, but not for ever. */
static void test_weight_waits_for_its_turn(void **state)
{
    (void)state;
    rig.weight_error = -EBUSY;
    rig_expect("weight db/a 9", "");
    assert_string_equal(rig_ask_again(), "");
    rig.weight_error = 0;
    assert_non_null(strstr(rig_ask_again(), "db\ta\tup\t9\t"));
    rig.weight_error = -EBUSY;
    rig_expect("weight db/a 5", "");
    rig.call.now_ns = rig.call.wait.until_ns;
    assert_string_equal(rig_ask_again(), "error weight: another change is under way; try again\n");
    assert_int_equal(backend_weight(rig_server(0, 0)), 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIGGED(test_states),
        RIGGED(test_prober_is_told_of_changes),
        RIGGED(test_answer),
        RIGGED(test_note_says_who),
        RIGGED(test_bad_words),
        RIGGED(test_wait_until_empty),
        RIGGED(test_wait_ends_with_its_time),
        RIGGED(test_wait_until_usable),
        RIGGED(test_wait_is_overtaken),
        RIGGED(test_bad_weight),
        RIGGED(test_weight_waits_for_its_turn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
