#include "lb4/control/watchdog.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"

enum { N_THREADS = 3, PERIOD_MS = 500 };

static struct mailbox mailboxes[N_THREADS];
static struct watchdog watchdog;
static uint64_t now_ns;

static int set_up(void **state)
{
    (void)state;
    now_ns = CLOCK_NS_PER_S;
    if (watchdog_init(&watchdog, 2 * PERIOD_MS * CLOCK_NS_PER_MS, N_THREADS) < 0)
        return -1;
    for (size_t i = 0; i < N_THREADS; i++) {
        if (mailbox_init(&mailboxes[i]) < 0)
            return -1;
        watchdog_watch(&watchdog, &mailboxes[i], "thread");
    }
    watchdog_start(&watchdog, now_ns);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    watchdog_fini(&watchdog);
    for (size_t i = 0; i < N_THREADS; i++)
        mailbox_fini(&mailboxes[i]);
    return 0;
}

/* A thread's turn. */
static void serve(size_t i)
{
    if (mailbox_take(&mailboxes[i]) & MAILBOX_PING)
        mailbox_pong(&mailboxes[i]);
}

static void serve_all(void)
{
    for (size_t i = 0; i < N_THREADS; i++)
        serve(i);
}

static bool is_hungry_after(uint64_t ms)
{
    now_ns += ms * CLOCK_NS_PER_MS;
    return watchdog_is_hungry(&watchdog, now_ns);
}

/* At half of the manager's time, not earlier. */
static void test_fed_while_all_answer(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++) {
        serve_all();
        assert_int_equal(watchdog_due_ns(&watchdog), now_ns + PERIOD_MS * CLOCK_NS_PER_MS);
        assert_false(is_hungry_after(PERIOD_MS - 1));
        assert_true(is_hungry_after(1));
        watchdog_fed(&watchdog, now_ns);
    }
}

/* One mailbox that nobody serves, whichever it is. */
static void test_not_fed_while_one_is_silent(void **state)
{
    (void)state;
    log_set_level(LOG_LEVEL_ERROR);
    for (size_t silent = 0; silent < N_THREADS; silent++) {
        for (size_t i = 0; i < N_THREADS; i++)
            if (i != silent)
                serve(i);
        assert_false(is_hungry_after(PERIOD_MS));
        for (int i = 0; i < 20; i++) {
            assert_true(watchdog_due_ns(&watchdog) <= now_ns + PERIOD_MS / 4 * CLOCK_NS_PER_MS);
            assert_false(is_hungry_after(PERIOD_MS));
        }
        serve(silent);
        assert_true(is_hungry_after(PERIOD_MS / 4));
        watchdog_fed(&watchdog, now_ns);
    }
}

/* An answer of before the last feeding is none. */
static void test_each_feeding_needs_new_answers(void **state)
{
    (void)state;
    serve_all();
    serve_all();
    assert_true(is_hungry_after(PERIOD_MS));
    watchdog_fed(&watchdog, now_ns);
    assert_false(is_hungry_after(PERIOD_MS));
    serve_all();
    assert_true(is_hungry_after(PERIOD_MS));
}

/* The message did not get through: soon again, not a period later. */
static void test_tried_again_when_it_was_not_fed(void **state)
{
    (void)state;
    serve_all();
    assert_true(is_hungry_after(PERIOD_MS));
    assert_true(watchdog_due_ns(&watchdog) <= now_ns + PERIOD_MS / 4 * CLOCK_NS_PER_MS);
    assert_true(is_hungry_after(PERIOD_MS / 4));
}

static void test_off(void **state)
{
    struct watchdog off;

    (void)state;
    assert_int_equal(watchdog_init(&off, 0, N_THREADS), 0);
    watchdog_watch(&off, &mailboxes[0], "thread");
    watchdog_start(&off, now_ns);
    assert_int_equal(watchdog_due_ns(&off), UINT64_MAX);
    assert_false(watchdog_is_hungry(&off, UINT64_MAX - 1));
    watchdog_fini(&off);
    off = (struct watchdog){0};
    assert_int_equal(watchdog_due_ns(&off), UINT64_MAX);
    watchdog_fini(&off);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_fed_while_all_answer),
        TEST(test_not_fed_while_one_is_silent),
        TEST(test_each_feeding_needs_new_answers),
        TEST(test_tried_again_when_it_was_not_fed),
        TEST(test_off),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
