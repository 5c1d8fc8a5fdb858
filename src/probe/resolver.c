/* The child's threads take one name after another and write a record for each into a pipe. What has
 * arrived when the deadline comes counts, whatever the other names are waiting for. */
#include "lb4/probe/resolver.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lb4/base/clock.h"

enum {
    THREADS_MAX = 32, /* names looked up at the same time; chosen */
    SLICE_MS = 20     /* between looks for a signal; chosen */
};

struct record {
    uint32_t index;            /* in the names */
    struct resolver_name name; /* whose host is not to be used */
};

_Static_assert(sizeof(struct record) <= PIPE_BUF, "else records of two threads mix, pipe(7)");

/* The child's. */
struct work {
    const struct resolver_name *names;
    size_t n_names;
    size_t n_taken;
    pthread_mutex_t mutex; /* of n_taken */
    int fd;
};

static bool take_next(struct work *work, uint32_t *ret_index)
{
    bool has_next;

    pthread_mutex_lock(&work->mutex);
    has_next = work->n_taken < work->n_names;
    if (has_next)
        *ret_index = (uint32_t)work->n_taken++;
    pthread_mutex_unlock(&work->mutex);
    return has_next;
}

static bool write_record(int fd, const struct record *record)
{
    ssize_t n;

    do
        n = write(fd, record, sizeof(*record));
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof(*record);
}

static void *run_thread(void *arg)
{
    struct work *work = arg;
    struct record record = {0};

    while (take_next(work, &record.index)) {
        record.name.host = work->names[record.index].host;
        record.name.is_srv = work->names[record.index].is_srv;
        lookup_run(&record.name);
        if (!write_record(work->fd, &record))
            break;
    }
    return NULL;
}

/* Threads that cannot be had make it slower, no more: this one works as well. */
static void run_threads(struct work *work)
{
    pthread_t threads[THREADS_MAX - 1];
    size_t n_threads = 0;

    while (n_threads + 1 < THREADS_MAX && n_threads + 1 < work->n_names &&
           pthread_create(&threads[n_threads], NULL, run_thread, work) == 0)
        n_threads++;
    run_thread(work);
    while (n_threads > 0)
        pthread_join(threads[--n_threads], NULL);
}

/* _exit(2): what is registered with atexit(3), and buffered in stdio, is the parent's. */
static _Noreturn void run_child(struct work *work, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* By default a dead name server costs 5 s before the second one is asked (resolv.conf(5)), all
     * the time there is. Who has set other options in the environment keeps them. */
    setenv("RES_OPTIONS", "timeout:1 attempts:2", 0);
    if (getppid() == parent)
        run_threads(work);
    _exit(0);
}

/* Signals are blocked by now and wait for somebody who listens: nobody should have to wait for us.
 */
static bool is_told_to_end(void)
{
    sigset_t pending;

    return sigpending(&pending) == 0 &&
           (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1 ||
            sigismember(&pending, SIGQUIT) == 1);
}

static bool wait_input(int fd, uint64_t deadline_ns)
{
    for (;;) {
        uint64_t now_ns = clock_now_ns();
        uint64_t left_ns = now_ns < deadline_ns ? deadline_ns - now_ns : 0;
        uint64_t left_ms = (left_ns + CLOCK_NS_PER_MS - 1) / CLOCK_NS_PER_MS;
        struct pollfd wanted = {.fd = fd, .events = POLLIN};
        int n = poll(&wanted, 1, left_ms < SLICE_MS ? (int)left_ms : SLICE_MS);

        if (n > 0)
            return true;
        if (left_ns == 0 || (n < 0 && errno != EINTR) || is_told_to_end())
            return false;
    }
}

enum arrival { ARRIVAL_RECORD, ARRIVAL_LATE, ARRIVAL_END };

static enum arrival read_record(int fd, uint64_t deadline_ns, struct record *ret)
{
    size_t n_read = 0;

    while (n_read < sizeof(*ret)) {
        ssize_t n;

        if (!wait_input(fd, deadline_ns))
            return ARRIVAL_LATE;
        n = read(fd, (char *)ret + n_read, sizeof(*ret) - n_read);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return ARRIVAL_END;
        n_read += (size_t)n;
    }
    return ARRIVAL_RECORD;
}

static void store_record(struct resolver_name *name, const struct record *record)
{
    const char *host = name->host;

    *name = record->name;
    name->host = host;
}

/* What the names without a record get: they were too slow, or the child has died. */
static int collect(int fd, struct resolver_name *names, size_t n_names, uint64_t deadline_ns)
{
    struct record record;

    for (size_t n_left = n_names; n_left > 0; n_left--) {
        switch (read_record(fd, deadline_ns, &record)) {
        case ARRIVAL_RECORD:
            store_record(&names[record.index], &record);
            break;
        case ARRIVAL_LATE:
            return EAI_INPROGRESS;
        case ARRIVAL_END:
            return EAI_FAIL;
        }
    }
    return 0;
}

static void end_child(pid_t child)
{
    kill(child, SIGKILL);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        continue;
}

/* Fork the child that writes to fds[1], and close that here. Returns its pid or -errno. */
static pid_t start_child(const struct resolver_name *names, size_t n_names, int fds[2])
{
    struct work work = {
        .names = names,
        .n_names = n_names,
        .mutex = PTHREAD_MUTEX_INITIALIZER,
        .fd = fds[1],
    };
    pid_t parent = getpid();
    pid_t child;

    child = fork();
    if (child == 0) {
        close(fds[0]);
        run_child(&work, parent);
    }
    if (child < 0)
        child = -errno;
    close(fds[1]);
    return child;
}

/* No record has n_addrs 0 and error 0. */
static bool is_missing(const struct resolver_name *name)
{
    return name->n_addrs == 0 && name->error == 0;
}

/* Returns what names without a record got for an error; 0 = all have one. */
static int conclude(int fd, struct resolver_name *names, size_t n_names, uint64_t deadline_ns)
{
    int missing;

    for (size_t i = 0; i < n_names; i++) {
        names[i].n_addrs = 0;
        names[i].is_cut = false;
        names[i].error = 0;
    }
    missing = collect(fd, names, n_names, deadline_ns);
    for (size_t i = 0; i < n_names; i++)
        if (is_missing(&names[i]))
            names[i].error = missing;
    return missing;
}

int resolver_resolve(struct resolver_name *names, size_t n_names, uint64_t timeout_ms)
{
    uint64_t deadline_ns = clock_now_ns() + timeout_ms * CLOCK_NS_PER_MS;
    pid_t child;
    int fds[2];
    int missing;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    child = start_child(names, n_names, fds);
    if (child < 0) {
        close(fds[0]);
        return child;
    }
    missing = conclude(fds[0], names, n_names, deadline_ns);
    end_child(child);
    close(fds[0]);
    return missing && is_told_to_end() ? -EINTR : 0;
}

/* --- in this process -------------------------------------------------------------------------- */

/* What threads share that may outlive the call: who is the last frees it. */
struct shared_work {
    struct work work;
    struct resolver_name *names; /* copies; only the hosts count */
    size_t n_users;              /* under work.mutex */
};

static void shared_free(struct shared_work *shared)
{
    for (size_t i = 0; shared->names && i < shared->work.n_names; i++)
        free((char *)(uintptr_t)shared->names[i].host);
    free(shared->names);
    if (shared->work.fd >= 0)
        close(shared->work.fd);
    pthread_mutex_destroy(&shared->work.mutex);
    free(shared);
}

static void shared_leave(struct shared_work *shared)
{
    bool is_last;

    pthread_mutex_lock(&shared->work.mutex);
    is_last = --shared->n_users == 0;
    pthread_mutex_unlock(&shared->work.mutex);
    if (is_last)
        shared_free(shared);
}

/* Owns `fd`. NULL: no memory. */
static struct shared_work *shared_new(const struct resolver_name *names, size_t n_names, int fd)
{
    struct shared_work *shared = calloc(1, sizeof(*shared));

    if (!shared) {
        close(fd);
        return NULL;
    }
    pthread_mutex_init(&shared->work.mutex, NULL);
    shared->work.fd = fd;
    shared->work.n_names = n_names;
    shared->n_users = 1;
    shared->names = calloc(n_names, sizeof(*shared->names));
    shared->work.names = shared->names;
    for (size_t i = 0; shared->names && i < n_names; i++) {
        shared->names[i].is_srv = names[i].is_srv;
        shared->names[i].host = strdup(names[i].host);
        if (shared->names[i].host)
            continue;
        shared_free(shared);
        return NULL;
    }
    if (shared->names)
        return shared;
    shared_free(shared);
    return NULL;
}

static void *shared_thread(void *arg)
{
    struct shared_work *shared = arg;

    run_thread(&shared->work);
    shared_leave(shared);
    return NULL;
}

static bool start_thread(struct shared_work *shared)
{
    pthread_t thread;

    pthread_mutex_lock(&shared->work.mutex);
    shared->n_users++;
    pthread_mutex_unlock(&shared->work.mutex);
    if (pthread_create(&thread, NULL, shared_thread, shared) == 0) {
        pthread_detach(thread);
        return true;
    }
    shared_leave(shared);
    return false;
}

int resolver_resolve_by_threads(struct resolver_name *names, size_t n_names, uint64_t timeout_ms)
{
    uint64_t deadline_ns = clock_now_ns() + timeout_ms * CLOCK_NS_PER_MS;
    struct shared_work *shared;
    size_t n_threads = 0;
    int fds[2];
    int missing;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    shared = shared_new(names, n_names, fds[1]);
    while (shared && n_threads < n_names && n_threads < THREADS_MAX && start_thread(shared))
        n_threads++;
    if (shared)
        shared_leave(shared);
    if (n_threads == 0) {
        close(fds[0]);
        return -ENOMEM;
    }
    missing = conclude(fds[0], names, n_names, deadline_ns);
    close(fds[0]);
    return missing && is_told_to_end() ? -EINTR : 0;
}
