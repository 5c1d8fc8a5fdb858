#include "lb4/worker/binding.h"

#include <errno.h>
#include <string.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"

/* Chosen: bulk of so much takes a twentieth of a CPU and more, where the worker waits for it with
 * clients and servers beside it; and what makes no difference is not to change for each pause of a
 * reader. */
enum {
    LOOK_MS = 50,
    WIDE_BYTES_PER_MS = 256 * 1000, /* from here on, 256 MB/s */
    OWN_BYTES_PER_MS = 64 * 1000    /* below */
};

void binding_look(struct binding *self, uint64_t now_ns, uint64_t n_bytes)
{
    uint64_t passed_ns = now_ns - self->looked_ns;

    if (passed_ns < LOOK_MS * CLOCK_NS_PER_MS)
        return;
    if (self->looked_ns != 0)
        self->is_wide = (n_bytes - self->n_bytes) / (passed_ns / CLOCK_NS_PER_MS) >=
                        (self->is_wide ? OWN_BYTES_PER_MS : WIDE_BYTES_PER_MS);
    self->looked_ns = now_ns;
    self->n_bytes = n_bytes;
}

/* What an operator (taskset -p), a cpuset or hotplug has made of it is not ours to undo. */
static bool is_where_left(const struct binding *self, bool was_wide)
{
    cpu_set_t now;

    return sched_getaffinity(0, sizeof(now), &now) == 0 &&
           CPU_EQUAL(&now, was_wide ? self->all : &self->own);
}

static bool move(const struct binding *self)
{
    return sched_setaffinity(0, sizeof(self->own), self->is_wide ? self->all : &self->own) == 0;
}

/* The call that changes nothing shows at the start what a filter of system calls does with it, be
 * it to end the process: not when load comes. */
void binding_start(struct binding *self, const cpu_set_t *all)
{
    if (!all || sched_getaffinity(0, sizeof(self->own), &self->own) != 0 ||
        CPU_EQUAL(&self->own, all))
        return;
    if (move(self))
        self->all = all;
}

void binding_turn(struct binding *self, uint64_t now_ns, uint64_t n_bytes)
{
    bool was_wide = self->is_wide;

    if (!self->all)
        return;
    binding_look(self, now_ns, n_bytes);
    if (self->is_wide == was_wide)
        return;
    if (!is_where_left(self, was_wide)) {
        self->is_wide = was_wide; /* until the next look */
        return;
    }
    if (move(self)) {
        log_debug("%s", self->is_wide ? "bulk: may run on any CPU" : "back to the CPU of its own");
        return;
    }
    log_warn("this thread stays on the CPUs that it may use now: %s", strerror(errno));
    *self = (struct binding){0};
}
