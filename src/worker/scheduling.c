#include "lb4/worker/scheduling.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"
#include "lb4/base/proc.h"

/* Chosen on 2 CPUs with clients and servers beside lb4, with and without busy loops on them: there,
 * waits are 0.4 to 1.2 times the runs without loops; with them, and under SCHED_BATCH, 2 to 100
 * times. */
enum {
    LOOK_MS = 50,
    LOOK_BATCH_MS = 20, /* five wake-ups that a tick of 4 ms ends */
    LOOK_LATE_MS = 200, /* a look that comes so late tells of an idle time */
    NAP_MS = 25,
    AWAY_MIN_MS = 1000,
    AWAY_MAX_MS = 256 * AWAY_MIN_MS,
    TRUSTED_MS = 16 * AWAY_MIN_MS /* who was under SCHED_BATCH for so long begins anew */
};

/* --- judging -------------------------------------------------------------------------------------
 */

static uint64_t ms(uint64_t n)
{
    return n * CLOCK_NS_PER_MS;
}

bool scheduling_wants_look(struct scheduling *self, uint64_t now_ns)
{
    uint64_t passed_ns = now_ns - self->looked_ns;

    if (self->is_batch)
        return passed_ns >= ms(LOOK_BATCH_MS);
    if (now_ns < self->return_ns || passed_ns < ms(LOOK_MS))
        return false;
    if (passed_ns < ms(LOOK_LATE_MS))
        return true;
    self->has_last = false;
    self->looked_ns = now_ns;
    return false;
}

static void add(struct scheduling *self, uint64_t passed_ns, const struct scheduling_times *times)
{
    if (!self->is_batch) {
        self->recent = (struct scheduling_times){0};
        self->recent_ns = 0;
    }
    self->recent.run_ns = self->recent.run_ns / 2 + times->run_ns - self->last.run_ns;
    self->recent.wait_ns = self->recent.wait_ns / 2 + times->wait_ns - self->last.wait_ns;
    self->recent_ns = self->recent_ns / 2 + passed_ns;
}

/* It has to wait already, for about as long as it runs: those beside it work as much as it does,
 * and most likely for it. Who waits for nobody gains little, and has the short way to lose. */
static bool shares_evenly(const struct scheduling *self)
{
    uint64_t run_ns = self->recent.run_ns;
    uint64_t wait_ns = self->recent.wait_ns;

    return run_ns >= self->recent_ns / 5 && wait_ns >= run_ns / 4 && wait_ns <= run_ns / 4 * 5;
}

/* Who waits for less than a fifth of the time and has run for less than half of that has little to
 * do: no share of waits lies between the two. */
static bool has_waited(const struct scheduling *self)
{
    return self->recent.wait_ns > 2 * self->recent.run_ns &&
           self->recent.wait_ns > self->recent_ns / 5;
}

static bool has_little_to_do(const struct scheduling *self)
{
    return self->recent.wait_ns + self->recent.run_ns < self->recent_ns / 10 * 3;
}

static void stay_away(struct scheduling *self, uint64_t now_ns)
{
    if (self->away_ns == 0 || now_ns - self->since_ns >= ms(TRUSTED_MS))
        self->away_ns = ms(AWAY_MIN_MS);
    self->return_ns = now_ns + self->away_ns;
    if (self->away_ns < ms(AWAY_MAX_MS))
        self->away_ns *= 2;
    self->is_batch = false;
}

void scheduling_rest(struct scheduling *self, uint64_t now_ns)
{
    self->is_batch = false;
    self->has_last = false;
    self->looked_ns = now_ns;
}

void scheduling_look(struct scheduling *self, uint64_t now_ns, const struct scheduling_times *times)
{
    uint64_t passed_ns = now_ns - self->looked_ns;

    if (!times) {
        scheduling_rest(self, now_ns);
        return;
    }
    if (self->has_last) {
        add(self, passed_ns, times);
        if (!self->is_batch && shares_evenly(self)) {
            self->is_batch = true;
            self->since_ns = now_ns;
        } else if (self->is_batch && has_waited(self)) {
            stay_away(self, now_ns);
        } else if (self->is_batch && has_little_to_do(self)) {
            self->is_batch = false;
        }
    }
    self->last = *times;
    self->has_last = true;
    self->looked_ns = now_ns;
}

/* --- the thread ----------------------------------------------------------------------------------
 */

static bool set_policy(struct scheduling *self)
{
    const struct sched_param param = {0};

    if (sched_setscheduler(0, self->is_batch ? SCHED_BATCH : SCHED_OTHER, &param) == 0)
        return true;
    log_warn("the scheduling of this thread stays as it is: %s", strerror(errno));
    *self = (struct scheduling){0};
    return false;
}

/* The call that changes nothing shows at the start what a filter of system calls does with it, be
 * it to end the process: not when load comes. */
void scheduling_start(struct scheduling *self)
{
    self->is_on = sched_getscheduler(0) == SCHED_OTHER;
    if (self->is_on)
        set_policy(self);
}

static void follow(struct scheduling *self)
{
    if (set_policy(self))
        log_debug("%s of SCHED_BATCH: of the last %d ms it ran for %d and waited for a CPU for %d",
                  self->is_batch ? "begin" : "end", (int)(self->recent_ns / CLOCK_NS_PER_MS),
                  (int)(self->recent.run_ns / CLOCK_NS_PER_MS),
                  (int)(self->recent.wait_ns / CLOCK_NS_PER_MS));
}

static void look(struct scheduling *self, uint64_t now_ns)
{
    uint64_t numbers[2] = {0};
    bool is_known = proc_numbers("/proc/thread-self/schedstat", numbers, 2) == 2;
    const struct scheduling_times times = {numbers[0], numbers[1]};

    scheduling_look(self, now_ns, is_known ? &times : NULL);
}

void scheduling_turn(struct scheduling *self, uint64_t now_ns, bool had_events)
{
    bool was_batch = self->is_batch;

    if (!self->is_on || !scheduling_wants_look(self, now_ns))
        return;
    if (was_batch && !had_events)
        scheduling_rest(self, now_ns);
    else
        look(self, now_ns);
    if (self->is_batch != was_batch)
        follow(self);
}

int scheduling_wait_ms(const struct scheduling *self, int timeout_ms)
{
    return self->is_batch && (timeout_ms < 0 || timeout_ms > NAP_MS) ? NAP_MS : timeout_ms;
}
