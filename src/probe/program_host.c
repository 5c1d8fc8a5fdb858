/* A place of a program:
 *
 *    free --request--> running --ended--> (group killed, waited for, answered) free
 *                         |                                                     ^
 *                         | time-out: killed, answered; or killed on request    |
 *                         +--------------> ending -------------ended------------+
 *
 * Requests are taken while there is a free place; others wait in the socket. */
#include "lb4/probe/program_host.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lb4/base/clock.h"
#include "lb4/loop/deadline.h"

enum {
    STREAMS = 2,       /* what it prints: on stdout, on stderr */
    READ_BYTES = 4096, /* in one turn of one stream, so that a flood stops nobody; chosen */
    END_MS = 1000,     /* for those killed at the end to be gone; chosen */
    FIXED_POLLS = 2
};

static const uint64_t STOPPED_NS = 100 * 1000000ull; /* after the time to wake up; chosen */

struct stream {
    int fd; /* -1 = closed */
    bool is_whole;
    char line[PROGRAM_LINE_MAX];
};

struct run {
    uint64_t id;
    pid_t pid; /* 0 = free */
    bool is_ending;
    uint64_t kill_ns;
    struct stream streams[STREAMS];
};

struct host {
    int link_fd;
    int signal_fd;
    pid_t parent;
    bool is_over;
    size_t n_runs;
    struct program_place *places; /* beside the runs */
    struct run runs[PROGRAMS_MAX];
};

/* --- answers ---------------------------------------------------------------------------------- */

/* Blocking: the prober reads all the time, and at most an answer for each request is due. */
static void answer(const struct host *host, struct program_answer *what, const struct run *run)
{
    if (run) {
        const struct stream *out = &run->streams[0];
        const struct stream *first = out->line[0] ? out : &run->streams[1];

        what->id = run->id;
        memcpy(what->line, first->line, sizeof(what->line));
    }
    while (send(host->link_fd, what, sizeof(*what), MSG_NOSIGNAL) < 0 && errno == EINTR)
        continue;
}

static void say(const struct host *host, uint64_t id, enum program_fate fate, int value)
{
    struct program_answer what = {.id = id, .fate = (int32_t)fate, .value = value};

    answer(host, &what, NULL);
}

/* --- the end of a program --------------------------------------------------------------------- */

/* The process too: it may not have made itself a group yet. It was not waited for, so that the
 * number is nobody else's. */
static void kill_run(const struct run *run)
{
    kill(-run->pid, SIGKILL);
    kill(run->pid, SIGKILL);
}

static void close_streams(struct run *run)
{
    for (size_t i = 0; i < STREAMS; i++) {
        if (run->streams[i].fd >= 0)
            close(run->streams[i].fd);
        run->streams[i].fd = -1;
    }
}

/* What comes after the line is read, too: a full pipe would stop the program. */
static void read_stream(struct stream *stream)
{
    char bytes[READ_BYTES];
    ssize_t n = read(stream->fd, bytes, sizeof(bytes));

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        if (!stream->is_whole)
            stream->is_whole = program_line_take(stream->line, bytes, (size_t)n);
        return;
    }
    close(stream->fd);
    stream->fd = -1;
}

static void read_rest(struct run *run)
{
    for (size_t i = 0; i < STREAMS; i++)
        if (run->streams[i].fd >= 0 && !run->streams[i].is_whole)
            read_stream(&run->streams[i]);
}

/* Who has no process, no memory for it, is not to blame for the program. */
static bool is_own_trouble(int error)
{
    return error == EAGAIN || error == ENOMEM || error == EMFILE || error == ENFILE;
}

static struct program_answer judge(const siginfo_t *info, int exec_error)
{
    struct program_answer what = {.value = info->si_status};

    if (exec_error) {
        what.fate = is_own_trouble(exec_error) ? PROGRAM_NOT_TRIED : PROGRAM_NOT_STARTED;
        what.value = exec_error;
    } else {
        what.fate = info->si_code == CLD_EXITED ? PROGRAM_EXITED : PROGRAM_KILLED;
    }
    return what;
}

static void end_run(struct host *host, struct run *run, const siginfo_t *info)
{
    struct program_place *place = &host->places[run - host->runs];
    struct program_answer what = judge(info, place->exec_error);

    kill_run(run);
    read_rest(run);
    close_streams(run);
    place->group = 0;
    waitpid(run->pid, NULL, 0);
    if (!run->is_ending)
        answer(host, &what, run);
    run->pid = 0;
    host->n_runs--;
}

/* Looked at before they are waited for: until then the number of the group is not given anew. */
static void end_runs(struct host *host)
{
    siginfo_t info = {0};

    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0) {
        struct run *found = NULL;

        for (size_t i = 0; i < PROGRAMS_MAX && !found; i++)
            if (host->runs[i].pid == info.si_pid)
                found = &host->runs[i];
        if (found)
            end_run(host, found, &info);
        else
            waitpid(info.si_pid, NULL, 0);
        info.si_pid = 0;
    }
}

/* --- the start of a program ------------------------------------------------------------------- */

static void set_signals(void)
{
    sigset_t none;

    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL); /* refused for those that cannot be caught */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* The child. The program ends with this process, should that be killed. */
static _Noreturn void run_program(const struct program_request *request, const char *const *env,
                                  const int outputs[static STREAMS], struct program_place *place)
{
    char *argv[2] = {(char *)(uintptr_t)request->text, NULL};

    place->group = setsid();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (dup2(outputs[0], STDOUT_FILENO) >= 0 && dup2(outputs[1], STDERR_FILENO) >= 0) {
        set_signals();
        execve(request->text, argv, (char *const *)(uintptr_t)env);
    }
    place->exec_error = errno;
    _exit(127);
}

/* Ends for the program in `outputs`, for us in the run's streams. Returns 0 or -errno. */
static int open_streams(struct run *run, int outputs[static STREAMS])
{
    for (size_t i = 0; i < STREAMS; i++) {
        int fds[2];

        if (pipe2(fds, O_CLOEXEC) < 0)
            return -errno;
        run->streams[i].fd = fds[0];
        outputs[i] = fds[1];
        fcntl(fds[0], F_SETFL, O_NONBLOCK);
    }
    return 0;
}

static int start_run(struct host *host, struct run *run, const struct program_request *request,
                     const char *const *env)
{
    struct program_place *place = &host->places[run - host->runs];
    int outputs[STREAMS] = {-1, -1};
    int error = open_streams(run, outputs);

    place->exec_error = 0;
    if (!error) {
        run->pid = fork();
        if (run->pid == 0)
            run_program(request, env, outputs, place);
        error = run->pid < 0 ? -errno : 0;
    }
    for (size_t i = 0; i < STREAMS; i++)
        if (outputs[i] >= 0)
            close(outputs[i]);
    return error;
}

static struct run *free_run(struct host *host)
{
    for (size_t i = 0; i < PROGRAMS_MAX; i++)
        if (host->runs[i].pid == 0)
            return &host->runs[i];
    return NULL;
}

static void begin_run(struct host *host, const struct program_request *request,
                      const char *const *env)
{
    struct run *run = free_run(host);
    int error;

    if (!run)
        return; /* not asked for while there is none */
    *run = (struct run){.id = request->id, .streams = {{.fd = -1}, {.fd = -1}}};
    error = start_run(host, run, request, env);
    if (error) {
        close_streams(run);
        run->pid = 0;
        say(host, request->id, PROGRAM_NOT_TRIED, -error);
        return;
    }
    run->kill_ns = clock_now_ns() + request->timeout_ns;
    host->n_runs++;
}

static void kill_by_id(struct host *host, uint64_t id)
{
    for (size_t i = 0; i < PROGRAMS_MAX; i++) {
        struct run *run = &host->runs[i];

        if (run->pid == 0 || run->id != id || run->is_ending)
            continue;
        run->is_ending = true;
        kill_run(run);
    }
}

/* --- what happens ----------------------------------------------------------------------------- */

static void take_request(struct host *host)
{
    struct program_request request;
    const char *env[PROGRAM_ENV_MAX + 1];
    ssize_t n = recv(host->link_fd, &request, sizeof(request), MSG_DONTWAIT);

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        host->is_over = true;
    if (n <= 0 || !program_request_open(&request, (size_t)n, env))
        return;
    if (request.timeout_ns == 0)
        kill_by_id(host, request.id);
    else
        begin_run(host, &request, env);
}

/* SIGCHLD; or SIGTERM, which the kernel sends when the parent dies, and anybody else may, too. */
static void take_signals(struct host *host)
{
    struct signalfd_siginfo info;

    while (read(host->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        continue;
    if (getppid() != host->parent)
        host->is_over = true;
    end_runs(host);
}

/* One that cannot be killed now, since the kernel waits for a disk, keeps its place. */
static void expire(struct host *host, uint64_t now_ns)
{
    for (size_t i = 0; i < PROGRAMS_MAX; i++) {
        struct run *run = &host->runs[i];
        struct program_answer what = {.fate = PROGRAM_TIMED_OUT};

        if (run->pid == 0 || run->is_ending || run->kill_ns > now_ns)
            continue;
        run->is_ending = true;
        kill_run(run);
        read_rest(run);
        answer(host, &what, run);
    }
}

/* This process, and so perhaps all, was stopped or starved: it takes no time from the programs. */
static void forgive(struct host *host, uint64_t late_ns)
{
    for (size_t i = 0; i < PROGRAMS_MAX; i++)
        host->runs[i].kill_ns += late_ns;
}

static uint64_t next_due_ns(const struct host *host)
{
    uint64_t due_ns = UINT64_MAX;

    for (size_t i = 0; i < PROGRAMS_MAX; i++) {
        const struct run *run = &host->runs[i];

        if (run->pid != 0 && !run->is_ending && run->kill_ns < due_ns)
            due_ns = run->kill_ns;
    }
    return due_ns;
}

/* --- the loop --------------------------------------------------------------------------------- */

struct turn {
    nfds_t n;
    struct pollfd polls[FIXED_POLLS + STREAMS * PROGRAMS_MAX];
    struct stream *streams[FIXED_POLLS + STREAMS * PROGRAMS_MAX];
};

static void want(struct turn *turn, int fd, struct stream *stream)
{
    turn->streams[turn->n] = stream;
    turn->polls[turn->n++] = (struct pollfd){.fd = fd, .events = POLLIN};
}

/* The end of the link shows as POLLHUP, whether requests are wanted or not. */
static void prepare_turn(struct host *host, struct turn *turn)
{
    turn->n = 0;
    want(turn, host->signal_fd, NULL);
    want(turn, host->link_fd, NULL);
    if (host->n_runs == PROGRAMS_MAX)
        turn->polls[1].events = 0;
    for (size_t i = 0; i < PROGRAMS_MAX; i++)
        for (size_t k = 0; host->runs[i].pid != 0 && k < STREAMS; k++)
            if (host->runs[i].streams[k].fd >= 0)
                want(turn, host->runs[i].streams[k].fd, &host->runs[i].streams[k]);
}

/* Streams first, then signals: the end of a program comes behind what it printed, and closes its
 * streams. */
static void serve_turn(struct host *host, struct turn *turn)
{
    for (nfds_t i = FIXED_POLLS; i < turn->n; i++)
        if (turn->polls[i].revents)
            read_stream(turn->streams[i]);
    if (turn->polls[0].revents)
        take_signals(host);
    if (turn->polls[1].revents & POLLHUP && !(turn->polls[1].revents & POLLIN))
        host->is_over = true;
    else if (turn->polls[1].revents)
        take_request(host);
}

static void run_turn(struct host *host, struct turn *turn)
{
    uint64_t due_ns = next_due_ns(host);
    int n;

    prepare_turn(host, turn);
    n = poll(turn->polls, turn->n, deadline_wait_ms(due_ns, clock_now_ns()));
    if (clock_now_ns() > due_ns && clock_now_ns() - due_ns > STOPPED_NS)
        forgive(host, clock_now_ns() - due_ns);
    if (n > 0)
        serve_turn(host, turn);
    expire(host, clock_now_ns());
}

static void kill_all(struct host *host)
{
    uint64_t end_ns = clock_now_ns() + END_MS * CLOCK_NS_PER_MS;
    struct pollfd wanted = {.fd = host->signal_fd, .events = POLLIN};

    for (size_t i = 0; i < PROGRAMS_MAX; i++) {
        if (host->runs[i].pid == 0)
            continue;
        host->runs[i].is_ending = true;
        kill_run(&host->runs[i]);
    }
    for (;;) {
        uint64_t now_ns = clock_now_ns();

        end_runs(host);
        if (host->n_runs == 0 || now_ns >= end_ns)
            return;
        if (poll(&wanted, 1, deadline_wait_ms(end_ns, now_ns)) > 0)
            take_signals(host);
    }
}

static int open_signals(struct host *host)
{
    sigset_t set;

    host->parent = getppid();
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    host->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return host->signal_fd < 0 ? -errno : 0;
}

int program_host_serve(int link_fd, int nth, struct program_place places[static PROGRAMS_MAX])
{
    static struct host host;
    static struct turn turn;

    host = (struct host){.link_fd = link_fd, .places = places};
    if (open_signals(&host) < 0)
        return 1;
    say(&host, 0, PROGRAM_HOST_BEGINS, nth);
    while (!host.is_over)
        run_turn(&host, &turn);
    kill_all(&host);
    close(host.signal_fd);
    return 0;
}
