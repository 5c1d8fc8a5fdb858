#include "lb4/control/process.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

static void fill_signals(sigset_t *set)
{
    static const int caught[] = {SIGHUP, SIGTERM, SIGQUIT, SIGINT, SIGUSR1, SIGUSR2};

    sigemptyset(set);
    for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++)
        sigaddset(set, caught[i]);
}

/* A descriptor 0, 1 or 2 that is free would be taken by a socket, and the log written into it. */
static void fill_standard_descriptors(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

void process_prepare(void)
{
    sigset_t set;

    fill_standard_descriptors();
    signal(SIGPIPE, SIG_IGN);
    fill_signals(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

int process_open_signals(void)
{
    sigset_t set;
    int fd;

    fill_signals(&set);
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

size_t process_count_cpus(void)
{
    cpu_set_t cpus;

    if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
        return (size_t)sysconf(_SC_NPROCESSORS_ONLN); /* more CPUs than a cpu_set_t has bits */
    return (size_t)CPU_COUNT(&cpus);
}
