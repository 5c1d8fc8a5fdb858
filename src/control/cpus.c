#include "lb4/control/cpus.h"

#include <unistd.h>

void cpus_read(struct cpus *cpus)
{
    if (sched_getaffinity(0, sizeof(cpus->set), &cpus->set) == 0) {
        cpus->n = (size_t)CPU_COUNT(&cpus->set);
        return;
    }
    CPU_ZERO(&cpus->set);
    cpus->n = (size_t)sysconf(_SC_NPROCESSORS_ONLN);
}

bool cpus_fit(const struct cpus *cpus, size_t n)
{
    return n > 1 && n == (size_t)CPU_COUNT(&cpus->set);
}

static size_t number_of(const struct cpus *cpus, size_t index)
{
    size_t cpu = 0;

    while (!CPU_ISSET(cpu, &cpus->set) || index-- > 0)
        cpu++;
    return cpu;
}

int cpus_start_thread(const struct cpus *cpus, size_t index, pthread_t *thread,
                      void *(*main)(void *), void *arg)
{
    pthread_attr_t attr;
    cpu_set_t own;
    int error = pthread_attr_init(&attr);

    if (error)
        return error;
    CPU_ZERO(&own);
    CPU_SET(number_of(cpus, index), &own);
    error = pthread_attr_setaffinity_np(&attr, sizeof(own), &own);
    if (!error)
        error = pthread_create(thread, &attr, main, arg);
    pthread_attr_destroy(&attr);
    return error;
}
