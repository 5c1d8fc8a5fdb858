#include "lb4/control/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
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

/* SIGPIPE is ignored for the whole process: splice(2) to a reset socket raises it and takes no
 * MSG_NOSIGNAL (FAULTS.md K5). */
void signals_prepare(void)
{
    sigset_t set;

    fill_standard_descriptors();
    signal(SIGPIPE, SIG_IGN);
    fill_signals(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

int signals_open(void)
{
    sigset_t set;
    int fd;

    fill_signals(&set);
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}
