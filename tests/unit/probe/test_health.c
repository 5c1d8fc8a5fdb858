#include "lb4/probe/health.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static const uint64_t MS = 1000000;
static const uint64_t S = 1000 * 1000000ull;
static const struct health_rules RULES = {.fall = 3, .rise = 2, .interval_ns = 1000 * 1000000ull};

static uint64_t random_state = 1;

static uint64_t next_random(uint64_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return below ? random_state % below : random_state;
}

static enum health_report take(struct health *health, enum health_outcome outcome, uint64_t now_ns)
{
    return health_take(health, &RULES, outcome, false, now_ns);
}

/* A server that was found usable at 0. */
static struct health usable(void)
{
    struct health health;

    health_init(&health, 0);
    assert_int_equal(take(&health, HEALTH_OK, 0), HEALTH_NOTHING);
    return health;
}

/* --- single rules ----------------------------------------------------------------------------- */

static void test_first_probe_decides_alone(void **state)
{
    struct health health;

    (void)state;
    for (enum health_outcome bad = HEALTH_REFUSED; bad <= HEALTH_FAILED; bad++) {
        health_init(&health, 7);
        assert_true(health.is_usable);
        assert_false(health.is_judged);
        assert_int_equal(health.changed_ns, 7);
        assert_int_equal(take(&health, bad, 8), HEALTH_DOWN);
        assert_false(health.is_usable);
        assert_false(health_is_changing(&health));
        assert_int_equal(health.changed_ns, 8);
    }
    health = usable();
    assert_true(health.is_usable && health.is_judged);
    assert_int_equal(take(&health, HEALTH_FAILED, S), HEALTH_NOTHING);
    assert_true(health.is_usable);
}

static void test_rise_and_fall_count_in_a_row(void **state)
{
    struct health health = usable();

    (void)state;
    assert_int_equal(take(&health, HEALTH_FAILED, 1), HEALTH_NOTHING);
    assert_true(health_is_changing(&health));
    assert_int_equal(take(&health, HEALTH_REFUSED, 2), HEALTH_NOTHING);
    assert_int_equal(take(&health, HEALTH_OK, 3), HEALTH_NOTHING);
    assert_false(health_is_changing(&health));
    assert_int_equal(take(&health, HEALTH_REFUSED, 4), HEALTH_NOTHING);
    assert_int_equal(take(&health, HEALTH_REFUSED, 5), HEALTH_NOTHING);
    assert_int_equal(take(&health, HEALTH_FAILED, 6), HEALTH_DOWN);
    assert_false(health_is_changing(&health));
    assert_int_equal(take(&health, HEALTH_OK, 7), HEALTH_NOTHING);
    assert_true(health_is_changing(&health));
    assert_int_equal(take(&health, HEALTH_FAILED, 8), HEALTH_NOTHING);
    assert_false(health_is_changing(&health));
    assert_int_equal(take(&health, HEALTH_OK, 9), HEALTH_NOTHING);
    assert_int_equal(take(&health, HEALTH_OK, 10), HEALTH_UP);
    assert_int_equal(health.changed_ns, 10);
}

static void test_unknown_changes_nothing(void **state)
{
    struct health health;

    (void)state;
    health_init(&health, 0);
    assert_int_equal(take(&health, HEALTH_UNKNOWN, 1), HEALTH_NOTHING);
    assert_false(health.is_judged);
    assert_int_equal(take(&health, HEALTH_FAILED, 2), HEALTH_DOWN);
    assert_int_equal(take(&health, HEALTH_OK, 3), HEALTH_NOTHING);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(health_take(&health, &RULES, HEALTH_UNKNOWN, true, 4), HEALTH_NOTHING);
        assert_false(health.is_usable);
        assert_true(health_is_changing(&health));
    }
    assert_int_equal(take(&health, HEALTH_OK, 5), HEALTH_UP);
}

static void test_suspect_and_refused_is_down_at_once(void **state)
{
    struct health health = usable();

    (void)state;
    assert_int_equal(health_take(&health, &RULES, HEALTH_FAILED, true, 1), HEALTH_NOTHING);
    assert_true(health.is_usable);
    assert_int_equal(health_take(&health, &RULES, HEALTH_REFUSED, false, 2), HEALTH_NOTHING);
    assert_true(health.is_usable);
    assert_int_equal(health_take(&health, &RULES, HEALTH_REFUSED, true, 3), HEALTH_DOWN);
    assert_false(health.is_usable);
    assert_int_equal(health_take(&health, &RULES, HEALTH_REFUSED, true, 4), HEALTH_NOTHING);
    assert_false(health.is_usable);
    assert_int_equal(health_take(&health, &RULES, HEALTH_OK, true, 5), HEALTH_NOTHING);
    assert_int_equal(health_take(&health, &RULES, HEALTH_OK, true, 6), HEALTH_UP);
}

static void test_one_is_enough(void **state)
{
    const struct health_rules rules = {.fall = 1, .rise = 1, .interval_ns = MS};
    struct health health = usable();

    (void)state;
    assert_int_equal(health_take(&health, &rules, HEALTH_FAILED, false, S), HEALTH_DOWN);
    assert_int_equal(health_take(&health, &rules, HEALTH_OK, false, S), HEALTH_UP);
}

/* --- flapping --------------------------------------------------------------------------------- */

static enum health_report fall(struct health *health, uint64_t now_ns)
{
    return health_take(health, &RULES, HEALTH_REFUSED, true, now_ns);
}

static enum health_report rise(struct health *health, uint64_t now_ns)
{
    assert_int_equal(take(health, HEALTH_OK, now_ns), HEALTH_NOTHING);
    return take(health, HEALTH_OK, now_ns);
}

/* Long quiet, a kill and a restart: told at once, at any time of the clock. */
static void check_kill_and_restart(uint64_t from_ns)
{
    struct health health;

    health_init(&health, from_ns);
    take(&health, HEALTH_OK, from_ns);
    assert_int_equal(fall(&health, from_ns + S), HEALTH_DOWN);
    assert_int_equal(rise(&health, from_ns + S + MS), HEALTH_UP);
    assert_int_equal(fall(&health, from_ns + 11 * S - 1), HEALTH_FLAPPING);
    assert_false(health.is_usable);
    assert_int_equal(rise(&health, from_ns + 11 * S - 1), HEALTH_NOTHING);
    assert_true(health.is_usable);
    assert_int_equal(fall(&health, from_ns + 11 * S - 1), HEALTH_NOTHING);
    assert_int_equal(health.n_falls, 3);
    assert_int_equal(fall(&health, from_ns + 11 * S), HEALTH_DOWN);
    assert_int_equal(rise(&health, from_ns + 12 * S), HEALTH_UP);
    assert_int_equal(fall(&health, from_ns + 21 * S), HEALTH_DOWN);
}

static void test_kill_and_restart_are_told_at_once(void **state)
{
    (void)state;
    check_kill_and_restart(0);
    check_kill_and_restart(1);
    check_kill_and_restart(1000000 * S);
    check_kill_and_restart(UINT64_MAX - 21 * S);
}

/* A fall at time 0 is a fall. */
static void test_fall_at_zero_is_remembered(void **state)
{
    struct health health;

    (void)state;
    health_init(&health, 0);
    assert_int_equal(take(&health, HEALTH_REFUSED, 0), HEALTH_DOWN);
    assert_int_equal(rise(&health, 0), HEALTH_UP);
    assert_int_equal(fall(&health, 1), HEALTH_FLAPPING);
}

static void test_usable_at_the_end_is_steady(void **state)
{
    struct health health = usable();

    (void)state;
    assert_int_equal(fall(&health, 5 * S), HEALTH_DOWN);
    assert_int_equal(rise(&health, 6 * S), HEALTH_UP);
    assert_int_equal(fall(&health, 7 * S), HEALTH_FLAPPING);
    assert_int_equal(rise(&health, 8 * S), HEALTH_NOTHING);
    assert_true(health.is_flapping);
    assert_int_equal(health_take(&health, &RULES, HEALTH_UNKNOWN, false, 16 * S), HEALTH_NOTHING);
    assert_int_equal(take(&health, HEALTH_OK, 16 * S), HEALTH_STEADY);
    assert_false(health.is_flapping);
    assert_int_equal(health.changed_ns, 8 * S);
    assert_int_equal(fall(&health, 17 * S), HEALTH_DOWN);
}

/* The rise that ends in the first outcome after the hold leaves flapping too. */
static void test_rise_at_the_end_is_steady(void **state)
{
    struct health health = usable();

    (void)state;
    fall(&health, 5 * S);
    rise(&health, 6 * S);
    assert_int_equal(fall(&health, 7 * S), HEALTH_FLAPPING);
    assert_int_equal(take(&health, HEALTH_OK, 8 * S), HEALTH_NOTHING);
    assert_int_equal(take(&health, HEALTH_OK, 15 * S), HEALTH_STEADY);
    assert_true(health.is_usable);
}

/* The largest values of all fit. */
static void test_longest_hold_does_not_wrap(void **state)
{
    const struct health_rules rules = {100, 100, 365ull * 24 * 3600 * 1000000000};
    const uint64_t hold = 12614400000000000000ull; /* 400 * 365 days */
    struct health health;

    (void)state;
    for (uint64_t late = 0; late < 2; late++) {
        health_init(&health, 0);
        health_take(&health, &rules, HEALTH_REFUSED, false, 1);
        for (int i = 0; i < 100; i++)
            health_take(&health, &rules, HEALTH_OK, false, 2);
        assert_true(health.is_usable);
        assert_int_equal(health_take(&health, &rules, HEALTH_REFUSED, true, hold + late),
                         late ? HEALTH_DOWN : HEALTH_FLAPPING);
    }
}

/* --- against a model -------------------------------------------------------------------------- */

enum { MODEL_OUTCOMES = 2000 };

/* Remembers everything and derives the rest. */
struct model {
    bool is_ok[MODEL_OUTCOMES]; /* since the last turn */
    size_t n_ok;
    bool is_usable;
    bool is_judged;
    enum health_report told[MODEL_OUTCOMES];
    uint64_t told_ns[MODEL_OUTCOMES];
    size_t n_told;
};

static bool model_turns(struct model *model, const struct health_rules *rules,
                        enum health_outcome outcome, bool is_suspect)
{
    size_t in_row = 0;

    model->is_ok[model->n_ok++] = outcome == HEALTH_OK;
    for (size_t i = 0; i < model->n_ok; i++)
        in_row = model->is_ok[i] == model->is_usable ? 0 : in_row + 1;
    if (in_row == 0)
        return false;
    return !model->is_judged || in_row == (model->is_usable ? rules->fall : rules->rise) ||
           (model->is_usable && is_suspect && outcome == HEALTH_REFUSED);
}

static bool model_is_held(const struct model *model, const struct health_rules *rules,
                          uint64_t now_ns)
{
    unsigned __int128 hold = (unsigned __int128)2 * (rules->fall + rules->rise);

    for (size_t i = model->n_told; i > 0; i--) {
        if (model->told[i - 1] == HEALTH_DOWN)
            return now_ns - model->told_ns[i - 1] < hold * rules->interval_ns;
    }
    return false;
}

static enum health_report model_report(const struct model *model, bool has_turned, bool is_held,
                                       enum health_outcome outcome)
{
    bool is_flapping = model->n_told && model->told[model->n_told - 1] == HEALTH_FLAPPING;

    if (is_flapping && !is_held) {
        if (model->is_usable)
            return HEALTH_STEADY;
        return outcome == HEALTH_OK ? HEALTH_NOTHING : HEALTH_DOWN;
    }
    if (is_flapping || !has_turned)
        return HEALTH_NOTHING;
    if (model->is_usable)
        return HEALTH_UP;
    return is_held ? HEALTH_FLAPPING : HEALTH_DOWN;
}

static enum health_report model_take(struct model *model, const struct health_rules *rules,
                                     enum health_outcome outcome, bool is_suspect, uint64_t now_ns)
{
    enum health_report report;
    bool has_turned;

    if (outcome == HEALTH_UNKNOWN)
        return HEALTH_NOTHING;
    has_turned = model_turns(model, rules, outcome, is_suspect);
    model->is_judged = true;
    if (has_turned) {
        model->is_usable = !model->is_usable;
        model->n_ok = 0;
    }
    report = model_report(model, has_turned, model_is_held(model, rules, now_ns), outcome);
    if (report != HEALTH_NOTHING) {
        model->told[model->n_told] = report;
        model->told_ns[model->n_told++] = now_ns;
    }
    return report;
}

static enum health_outcome random_outcome(uint64_t percent_ok)
{
    if (next_random(20) == 0)
        return HEALTH_UNKNOWN;
    if (next_random(100) < percent_ok)
        return HEALTH_OK;
    return next_random(2) ? HEALTH_REFUSED : HEALTH_FAILED;
}

static void test_agrees_with_the_model(void **state)
{
    static struct model model;

    (void)state;
    for (int run = 0; run < 2000; run++) {
        const struct health_rules rules = {1 + (uint32_t)next_random(4),
                                           1 + (uint32_t)next_random(4), 1 + next_random(S)};
        uint64_t step_ns = rules.interval_ns * (1 + next_random(3));
        uint64_t now_ns = run % 2 ? next_random(3) : UINT64_MAX - 300 * step_ns;
        uint64_t percent_ok = 20 + next_random(70);
        struct health health;

        health_init(&health, now_ns);
        model = (struct model){.is_usable = true};
        for (int i = 0; i < 300; i++) {
            enum health_outcome outcome = random_outcome(percent_ok);
            bool is_suspect = next_random(4) == 0;

            assert_int_equal(health_take(&health, &rules, outcome, is_suspect, now_ns),
                             model_take(&model, &rules, outcome, is_suspect, now_ns));
            assert_int_equal(health.is_usable, model.is_usable);
            assert_int_equal(health.is_judged, model.is_judged);
            now_ns += next_random(step_ns);
        }
    }
}

/* --- how much is told ------------------------------------------------------------------------- */

/* What an operator reads. */
struct reader {
    uint64_t fell_ns;
    size_t n_falls;
    size_t n_changes; /* DOWN and UP */
    bool is_up;
    bool is_flapping;
};

static void reader_take(struct reader *reader, const struct health_rules *rules,
                        enum health_report report, uint64_t now_ns)
{
    uint64_t hold = 2 * (uint64_t)(rules->fall + rules->rise) * rules->interval_ns;

    switch (report) {
    case HEALTH_NOTHING:
        return;
    case HEALTH_DOWN:
        assert_true(reader->is_up);
        assert_true(reader->n_falls == 0 || now_ns - reader->fell_ns >= hold);
        reader->fell_ns = now_ns;
        reader->n_falls++;
        reader->n_changes++;
        reader->is_up = false;
        reader->is_flapping = false;
        return;
    case HEALTH_UP:
        assert_false(reader->is_up || reader->is_flapping);
        reader->n_changes++;
        reader->is_up = true;
        return;
    case HEALTH_FLAPPING:
        assert_true(reader->is_up && !reader->is_flapping);
        reader->is_flapping = true;
        return;
    case HEALTH_STEADY:
        assert_true(reader->is_flapping);
        reader->is_flapping = false;
        return;
    }
}

/* A server that is up in every second period, probed as the prober does it, with clients that meet
 * its absence. */
static struct reader flap(const struct health_rules *rules, uint64_t fast_ns, uint64_t period_ns,
                          uint64_t end_ns)
{
    struct reader reader = {.is_up = true};
    struct health health;
    uint64_t now_ns = 0;

    health_init(&health, 0);
    while (now_ns < end_ns) {
        bool is_there = now_ns / period_ns % 2 == 0;
        enum health_report report =
            health_take(&health, rules, is_there ? HEALTH_OK : HEALTH_REFUSED, !is_there, now_ns);

        reader_take(&reader, rules, report, now_ns);
        assert_int_equal(reader.is_up, health.is_usable || health.is_flapping);
        now_ns += health_is_changing(&health) ? fast_ns : rules->interval_ns;
    }
    return reader;
}

static void check_bound(const struct reader *reader, const struct health_rules *rules,
                        uint64_t lasted_ns)
{
    uint64_t unit = (uint64_t)(rules->fall + rules->rise) * rules->interval_ns;

    assert_true(reader->n_changes <= 2 * (1 + lasted_ns / (2 * unit)));
}

static void test_flapping_each_second_is_told_rarely(void **state)
{
    static const uint64_t intervals_ms[] = {100, 250, 500, 1000, 2000, 5000, 10000};

    (void)state;
    for (size_t i = 0; i < sizeof(intervals_ms) / sizeof(*intervals_ms); i++) {
        for (uint64_t seconds = 1; seconds <= 300; seconds++) {
            const struct health_rules rules = {3, 2, intervals_ms[i] * MS};
            struct reader reader = flap(&rules, rules.interval_ns / 4, S, seconds * S);

            check_bound(&reader, &rules, seconds * S);
        }
    }
}

/* The issue's own case: 20 s, one change for each (fall + rise) intervals. */
static void test_twenty_seconds_of_flapping(void **state)
{
    struct reader reader = flap(&RULES, 250 * MS, S, 20 * S);

    (void)state;
    assert_in_range(reader.n_changes, 2, 20 / (3 + 2));
}

static void test_any_sequence_is_told_rarely(void **state)
{
    (void)state;
    for (int run = 0; run < 2000; run++) {
        const struct health_rules rules = {1 + (uint32_t)next_random(5),
                                           1 + (uint32_t)next_random(5), 1 + next_random(10 * S)};
        uint64_t percent_ok = next_random(101);
        uint64_t from_ns = next_random(1000 * S);
        uint64_t now_ns = from_ns;
        struct reader reader = {.is_up = true};
        struct health health;

        health_init(&health, now_ns);
        for (int i = 0; i < 500; i++) {
            reader_take(
                &reader, &rules,
                health_take(&health, &rules, random_outcome(percent_ok), next_random(2), now_ns),
                now_ns);
            now_ns += next_random(rules.interval_ns);
        }
        check_bound(&reader, &rules, now_ns - from_ns);
    }
}

/* --- decisions from elsewhere ----------------------------------------------------------------- */

static void test_decisions(void **state)
{
    struct health health = usable();

    (void)state;
    assert_int_equal(health_decide(&health, &RULES, true, 1 * S), HEALTH_NOTHING);
    assert_int_equal(health_decide(&health, &RULES, false, 2 * S), HEALTH_DOWN);
    assert_int_equal(health.changed_ns, 2 * S);
    assert_int_equal(health_decide(&health, &RULES, true, 3 * S), HEALTH_UP);
    assert_int_equal(health_decide(&health, &RULES, false, 4 * S), HEALTH_FLAPPING);
    assert_int_equal(health_decide(&health, &RULES, true, 5 * S), HEALTH_NOTHING);
    assert_int_equal(health_decide(&health, &RULES, true, 11 * S), HEALTH_NOTHING);
    assert_int_equal(health_decide(&health, &RULES, true, 12 * S), HEALTH_STEADY);
    assert_int_equal(health_decide(&health, &RULES, false, 13 * S), HEALTH_DOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_probe_decides_alone),
        cmocka_unit_test(test_rise_and_fall_count_in_a_row),
        cmocka_unit_test(test_unknown_changes_nothing),
        cmocka_unit_test(test_suspect_and_refused_is_down_at_once),
        cmocka_unit_test(test_one_is_enough),
        cmocka_unit_test(test_kill_and_restart_are_told_at_once),
        cmocka_unit_test(test_fall_at_zero_is_remembered),
        cmocka_unit_test(test_usable_at_the_end_is_steady),
        cmocka_unit_test(test_rise_at_the_end_is_steady),
        cmocka_unit_test(test_longest_hold_does_not_wrap),
        cmocka_unit_test(test_agrees_with_the_model),
        cmocka_unit_test(test_flapping_each_second_is_told_rarely),
        cmocka_unit_test(test_twenty_seconds_of_flapping),
        cmocka_unit_test(test_any_sequence_is_told_rarely),
        cmocka_unit_test(test_decisions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
