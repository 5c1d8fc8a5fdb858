#include "lb4/control/spawner.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lb4/probe/program_host.h"

enum {
    END_LOOKS = 400, /* 2 s: programs that were killed may take one */
    END_LOOK_NS = 5 * 1000000,
    AGAIN_S = 1, /* from one host to the next; chosen */
    ARGS_MAX = 4096,
    LINK_FD = STDERR_FILENO + 1 /* the keeper's, and the host's */
};

static const char title[] = "lb4: spawner";

/* --- the keeper ------------------------------------------------------------------------------- */

/* What ps(1) shows: the arguments lie one behind the other, from the name on. */
static void set_title(void)
{
    char args[ARGS_MAX];
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, args, sizeof(args));

    if (fd >= 0)
        close(fd);
    if (n > (ssize_t)sizeof(title)) {
        memset(program_invocation_name, 0, (size_t)n);
        memcpy(program_invocation_name, title, sizeof(title));
    }
    prctl(PR_SET_NAME, "lb4-spawner");
}

/* Whom the kernel is to kill first when memory runs out: lb4's protection is not its programs'. */
static void give_up_protection(void)
{
    int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    char text[16] = "";

    if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 && text[0] == '-' &&
        lseek(fd, 0, SEEK_SET) == 0 && write(fd, "0", 1) < 0)
        text[0] = '\0'; /* nothing depends on it */
    if (fd >= 0)
        close(fd);
}

static void leave_parent(int link_fd)
{
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    sigset_t all;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    signal(SIGCHLD, SIG_DFL);
    setsid();
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (dup2(null_fd, fd) < 0)
            _exit(1);
    if (link_fd != LINK_FD && dup3(link_fd, LINK_FD, O_CLOEXEC) < 0)
        _exit(1);
    closefrom(LINK_FD + 1);
    if (chdir("/") < 0)
        _exit(1);
    /* Children of programs that outlive them come here to be waited for, not to an lb4 that is the
     * first process of a container. */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    give_up_protection();
    set_title();
}

/* The first packet says who to be. false: there is no more lb4, or it must not be. */
static bool become(void)
{
    struct privileges_ids ids;
    char text[PRIVILEGES_ERROR_MAX];

    if (recv(LINK_FD, &ids, sizeof(ids), 0) != (ssize_t)sizeof(ids))
        return false;
    return privileges_drop(&ids, text) == 0 && privileges_thread_none() == 0 && geteuid() != 0;
}

/* false: lb4 has closed its end. */
static bool wait_for_request(void)
{
    struct pollfd wanted = {.fd = LINK_FD, .events = POLLIN};
    char byte;

    while (poll(&wanted, 1, -1) < 0 && errno == EINTR)
        continue;
    return recv(LINK_FD, &byte, 1, MSG_PEEK) > 0;
}

/* Also for others that come to this process to be waited for. */
static int wait_for_host(pid_t host)
{
    int status;
    pid_t pid;

    do
        pid = waitpid(-1, &status, 0);
    while (pid != host && (pid >= 0 || errno == EINTR));
    return pid == host ? status : 0;
}

static void kill_left(struct program_place places[static PROGRAMS_MAX])
{
    for (size_t i = 0; i < PROGRAMS_MAX; i++) {
        if (places[i].group > 0)
            kill(-places[i].group, SIGKILL);
        places[i].group = 0;
    }
}

/* One host after the other, should one not end by itself: the next tells lb4 that what was asked of
 * it is lost. */
static void keep(struct program_place places[static PROGRAMS_MAX])
{
    const struct timespec again = {.tv_sec = AGAIN_S};

    for (int nth = 1; nth > 1 || wait_for_request(); nth++) {
        pid_t host = fork();

        if (host == 0)
            _exit(program_host_serve(LINK_FD, nth, places));
        if (host > 0 && wait_for_host(host) == 0)
            return;
        kill_left(places);
        nanosleep(&again, NULL);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            continue;
    }
}

static _Noreturn void run_keeper(int link_fd)
{
    void *places;

    leave_parent(link_fd);
    if (!become())
        _exit(1);
    places = mmap(NULL, PROGRAMS_MAX * sizeof(struct program_place), PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (places == MAP_FAILED)
        _exit(1);
    keep(places);
    _exit(0);
}

/* --- lb4's side ------------------------------------------------------------------------------- */

void spawner_start(struct spawner *spawner)
{
    int fds[2];

    *spawner = (struct spawner){.link_fd = -1};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0) {
        spawner->error = -errno;
        return;
    }
    spawner->pid = fork();
    if (spawner->pid == 0) {
        close(fds[0]);
        run_keeper(fds[1]);
    }
    close(fds[1]);
    if (spawner->pid > 0) {
        spawner->link_fd = fds[0];
        return;
    }
    spawner->error = -errno;
    spawner->pid = 0;
    close(fds[0]);
}

int spawner_take_link(struct spawner *spawner, const struct privileges_ids *ids)
{
    int fd = spawner->link_fd;

    if (fd < 0)
        return -1;
    spawner->link_fd = -1;
    if (send(fd, ids, sizeof(*ids), MSG_NOSIGNAL) == (ssize_t)sizeof(*ids))
        return fd;
    close(fd);
    return -1;
}

void spawner_end(struct spawner *spawner)
{
    const struct timespec look = {.tv_nsec = END_LOOK_NS};

    if (spawner->link_fd >= 0)
        close(spawner->link_fd);
    spawner->link_fd = -1;
    for (int i = 0; spawner->pid > 0 && i < END_LOOKS; i++) {
        if (waitpid(spawner->pid, NULL, WNOHANG) != 0)
            break;
        nanosleep(&look, NULL);
    }
    spawner->pid = 0;
}
