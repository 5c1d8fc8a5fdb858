/* The CPUs that this process may use (sched_getaffinity(2): a cpuset or taskset narrows them), and
 * threads that are bound to one of them. A bound worker keeps its caches, and the wake-ups of other
 * programs cannot gather two workers on one CPU while another is free; while it moves bulk it
 * leaves that CPU by itself (worker/binding.h). When a cpuset or hotplug takes a bound thread's CPU
 * away, the kernel moves the thread (cpuset(7)). Thread: control, which is not bound itself. */
#ifndef LB4_CONTROL_CPUS_H
#define LB4_CONTROL_CPUS_H

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>

struct cpus {
    cpu_set_t set; /* empty: they are unknown, as there are more than a cpu_set_t has bits */
    size_t n;      /* 1.. */
};

void cpus_read(struct cpus *cpus);

/* Is each of n threads to have a CPU of its own, and none is left over? With fewer threads than
 * CPUs it is the scheduler that knows which are free. */
bool cpus_fit(const struct cpus *cpus, size_t n);

/* Start a thread that is bound to the index-th of the CPUs, counted from 0 in the order of their
 * numbers, from its first instruction on. index < n, of a set that fits. Returns 0 or an error as
 * pthread_create(3), EINVAL if that CPU is gone, EPERM if binding is forbidden here: then there is
 * no thread. */
int cpus_start_thread(const struct cpus *cpus, size_t index, pthread_t *thread,
                      void *(*main)(void *), void *arg);

#endif
