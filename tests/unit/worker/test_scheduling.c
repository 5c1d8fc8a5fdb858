#include "lb4/worker/scheduling.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "lb4/base/clock.h"

static struct rig {
    struct scheduling scheduling;
    struct scheduling_times times;
    uint64_t now_ns;
    unsigned n_looks;
    int policy;    /* of the thread, as the wrapped calls have it */
    int set_errno; /* what sched_setscheduler(2) fails with */
    unsigned n_sets;
} rig;

int __wrap_sched_getscheduler(pid_t pid);
int __wrap_sched_setscheduler(pid_t pid, int policy, const struct sched_param *param);

int __wrap_sched_getscheduler(pid_t pid)
{
    assert_int_equal(pid, 0);
    return rig.policy;
}

int __wrap_sched_setscheduler(pid_t pid, int policy, const struct sched_param *param)
{
    assert_int_equal(pid, 0);
    assert_int_equal(param->sched_priority, 0);
    rig.n_sets++;
    errno = rig.set_errno;
    if (rig.set_errno)
        return -1;
    rig.policy = policy;
    return 0;
}

static int open_rig(void **state)
{
    (void)state;
    rig = (struct rig){.now_ns = 1000 * CLOCK_NS_PER_S, .policy = SCHED_OTHER};
    return 0;
}

/* Turns of 1 ms each, of which the thread ran and waited so many percent; until it changes its
 * mind. Returns how long that took, in ms. */
static unsigned turn_until_change(unsigned limit_ms, unsigned run, unsigned wait)
{
    struct scheduling *self = &rig.scheduling;
    bool was_batch = self->is_batch;
    unsigned i = 0;

    while (i < limit_ms && self->is_batch == was_batch) {
        i++;
        rig.now_ns += CLOCK_NS_PER_MS;
        rig.times.run_ns += run * (CLOCK_NS_PER_MS / 100);
        rig.times.wait_ns += wait * (CLOCK_NS_PER_MS / 100);
        if (!scheduling_wants_look(self, rig.now_ns))
            continue;
        rig.n_looks++;
        scheduling_look(self, rig.now_ns, &rig.times);
    }
    return i;
}

static void stays(unsigned for_ms, unsigned run, unsigned wait)
{
    bool was_batch = rig.scheduling.is_batch;

    assert_int_equal(turn_until_change(for_ms, run, wait), for_ms);
    assert_int_equal(rig.scheduling.is_batch, was_batch);
}

static void enter(void)
{
    turn_until_change(10000, 48, 46);
    assert_true(rig.scheduling.is_batch);
}

/* Within a benchmark's first tenths of a second, and it stays. */
static void test_peers_that_work_as_much(void **state)
{
    (void)state;
    assert_in_range(turn_until_change(10000, 48, 46), 50, 150);
    assert_true(rig.scheduling.is_batch);
    stays(60000, 47, 48);
    stays(60000, 34, 51); /* redis-benchmark */
    stays(60000, 44, 4);  /* waits that it saves */
    stays(60000, 100, 0);
}

static void test_no_reason(void **state)
{
    static const struct {
        unsigned run;
        unsigned wait;
    } rows[] = {
        {0, 0},   {10, 1},  {10, 10}, /* little to do */
        {40, 3},  {100, 0},           /* the CPU is its own */
        {25, 75}, {1, 99},  {38, 60}, /* it waits more than it runs */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        stays(5000, rows[i].run, rows[i].wait);
}

/* One tick of the kernel, 4 ms, for each wake-up. */
static void test_a_busy_loop_beside(void **state)
{
    (void)state;
    enter();
    stays(500, 48, 46);
    assert_in_range(turn_until_change(10000, 1, 99), 1, 20);
    enter();
    assert_in_range(turn_until_change(10000, 25, 75), 20, 80);
}

/* Waits of more than twice the runs end it, whatever share of the time they are. */
static void test_no_share_of_waits_is_left_out(void **state)
{
    static const unsigned waits[] = {18, 20, 22, 24, 25, 26, 40, 60};

    for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
        open_rig(state);
        enter();
        assert_in_range(turn_until_change(10000, (waits[i] - 1) / 2, waits[i]), 20, 200);
        assert_false(rig.scheduling.is_batch);
    }
}

/* Away for 1 s, 2 s, ... 256 s; a long stay begins anew. */
static void test_stays_away_longer_each_time(void **state)
{
    (void)state;
    for (unsigned away_s = 1; away_s <= 256; away_s *= 2) {
        enter();
        turn_until_change(1000, 1, 99);
        stays(away_s * 1000, 48, 46);
    }
    enter();
    turn_until_change(1000, 1, 99);
    stays(256 * 1000, 48, 46);
    enter();
    stays(16 * 1000, 48, 46);
    turn_until_change(1000, 1, 99);
    stays(1000, 48, 46);
    assert_in_range(turn_until_change(1000, 48, 46), 50, 150);
}

/* That is no fault of anybody: it may be back at once. */
static void test_little_to_do(void **state)
{
    (void)state;
    enter();
    assert_in_range(turn_until_change(10000, 5, 1), 20, 100);
    assert_in_range(turn_until_change(10000, 48, 46), 50, 150);
    scheduling_rest(&rig.scheduling, rig.now_ns);
    assert_false(rig.scheduling.is_batch);
    assert_in_range(turn_until_change(10000, 48, 46), 50, 150);
}

/* What a worker with a turn now and then costs: nothing is read. */
static void test_rare_turns_do_not_look(void **state)
{
    (void)state;
    enter();
    scheduling_rest(&rig.scheduling, rig.now_ns);
    for (unsigned i = 0; i < 100; i++) {
        rig.now_ns += 200 * CLOCK_NS_PER_MS;
        assert_false(scheduling_wants_look(&rig.scheduling, rig.now_ns));
    }
}

/* The time before an idle time says nothing. */
static void test_a_pause_is_not_counted(void **state)
{
    (void)state;
    stays(90, 48, 46);
    rig.now_ns += CLOCK_NS_PER_S;
    rig.times.run_ns += CLOCK_NS_PER_S / 2;
    rig.times.wait_ns += CLOCK_NS_PER_S / 2;
    stays(5000, 10, 1);
}

static void test_how_often(void **state)
{
    (void)state;
    stays(10000, 100, 0);
    assert_in_range(rig.n_looks, 150, 200);
    enter();
    rig.n_looks = 0;
    stays(10000, 48, 46);
    assert_in_range(rig.n_looks, 450, 500);
}

/* A /proc that is not there, or no descriptor for it. */
static void test_unknown_times(void **state)
{
    struct scheduling *self = &rig.scheduling;

    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        rig.now_ns += CLOCK_NS_PER_MS;
        if (scheduling_wants_look(self, rig.now_ns))
            scheduling_look(self, rig.now_ns, NULL);
        assert_false(self->is_batch);
    }
    enter();
    scheduling_look(self, rig.now_ns, NULL);
    assert_false(self->is_batch);
}

/* A worker that falls asleep under SCHED_BATCH is woken once to leave it. */
static void test_the_thread_without_work(void **state)
{
    struct scheduling *self = &rig.scheduling;

    (void)state;
    scheduling_start(self);
    assert_int_equal(scheduling_wait_ms(self, -1), -1);
    assert_int_equal(scheduling_wait_ms(self, 3600000), 3600000);
    enter();
    rig.policy = SCHED_BATCH;
    assert_in_range(scheduling_wait_ms(self, -1), 20, 50);
    assert_in_range(scheduling_wait_ms(self, 3600000), 20, 50);
    assert_int_equal(scheduling_wait_ms(self, 3), 3);
    rig.now_ns += (uint64_t)scheduling_wait_ms(self, -1) * CLOCK_NS_PER_MS;
    scheduling_turn(self, rig.now_ns, false);
    assert_int_equal(rig.policy, SCHED_OTHER);
    assert_int_equal(scheduling_wait_ms(self, -1), -1);
    scheduling_turn(self, rig.now_ns + CLOCK_NS_PER_S, true);
    assert_int_equal(rig.n_sets, 2);
}

static void test_a_call_that_is_refused(void **state)
{
    struct scheduling *self = &rig.scheduling;

    (void)state;
    scheduling_start(self);
    enter();
    rig.set_errno = EPERM;
    scheduling_turn(self, rig.now_ns + CLOCK_NS_PER_S, false);
    assert_int_equal(rig.n_sets, 2);
    assert_false(self->is_on);
    assert_int_equal(scheduling_wait_ms(self, -1), -1);
    for (unsigned i = 0; i < 100; i++)
        scheduling_turn(self, rig.now_ns + i * CLOCK_NS_PER_S, true);
    assert_int_equal(rig.n_sets, 2);
}

/* Seen before there is load. */
static void test_a_call_that_is_refused_from_the_start(void **state)
{
    struct scheduling *self = &rig.scheduling;

    (void)state;
    rig.set_errno = EPERM;
    scheduling_start(self);
    assert_int_equal(rig.n_sets, 1);
    assert_false(self->is_on);
    for (unsigned i = 0; i < 100; i++)
        scheduling_turn(self, rig.now_ns + i * CLOCK_NS_PER_S, true);
    assert_int_equal(rig.n_sets, 1);
}

static void test_the_wish_of_an_operator(void **state)
{
    static const int policies[] = {SCHED_BATCH, SCHED_IDLE, SCHED_FIFO,
                                   SCHED_RR,    -1,         SCHED_OTHER | SCHED_RESET_ON_FORK};

    (void)state;
    for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
        rig.policy = policies[i];
        scheduling_start(&rig.scheduling);
        assert_false(rig.scheduling.is_on);
    }
    assert_int_equal(rig.n_sets, 0);
    rig.policy = SCHED_OTHER;
    scheduling_start(&rig.scheduling);
    assert_true(rig.scheduling.is_on);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_peers_that_work_as_much, open_rig),
        cmocka_unit_test_setup(test_no_reason, open_rig),
        cmocka_unit_test_setup(test_a_busy_loop_beside, open_rig),
        cmocka_unit_test_setup(test_no_share_of_waits_is_left_out, open_rig),
        cmocka_unit_test_setup(test_stays_away_longer_each_time, open_rig),
        cmocka_unit_test_setup(test_little_to_do, open_rig),
        cmocka_unit_test_setup(test_rare_turns_do_not_look, open_rig),
        cmocka_unit_test_setup(test_a_pause_is_not_counted, open_rig),
        cmocka_unit_test_setup(test_how_often, open_rig),
        cmocka_unit_test_setup(test_unknown_times, open_rig),
        cmocka_unit_test_setup(test_the_thread_without_work, open_rig),
        cmocka_unit_test_setup(test_a_call_that_is_refused, open_rig),
        cmocka_unit_test_setup(test_a_call_that_is_refused_from_the_start, open_rig),
        cmocka_unit_test_setup(test_the_wish_of_an_operator, open_rig),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
