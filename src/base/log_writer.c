/* Going to sleep without losing a wake-up: the writer stores ASLEEP and then looks at every head; a
 * producer stores its head and then looks at the writer's state. All four are sequentially
 * consistent, so one of the two sees the other's store. Whoever makes it AWAKE writes the eventfd,
 * so a producer makes at most one system call, and none while the writer is busy. After work the
 * writer naps before it sleeps: lines that come meanwhile wait for each other, and who says them
 * pays nothing, unless its ring is half full. A first line after silence is written at once.
 *
 * Another sink is handed over in `next`, with a mark in each ring; the writer takes it once what is
 * before the marks has gone where it was meant to go, unless the present sink makes it wait. The
 * mutex is for those who write without a ring: the writer holds it only while it changes the sink.
 */
#include "lb4/base/log_writer.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "lb4/base/clock.h"

enum {
    BATCH_BYTES = 4096, /* PIPE_BUF: a write of no more does not block after POLLOUT, pipe(7) */
    FLUSH_MS = 1000,
    RETRY_MS = 1000, /* after a failure, to tell what was lost; chosen */
    NAP_MS = 5,      /* after work; chosen: measured 1/8 of the CPU for each line at 4,000/s */
    LOOK_MS = 50,    /* between looks for a syslogd that has gone; chosen */
    LOOKS_MAX = 20   /* one that is started anew is back by then */
};

enum writer_state { AWAKE, NAPPING, ASLEEP };

struct batch {
    char bytes[BATCH_BYTES];
    size_t used;
    size_t n_rest; /* in front: of a line whose begin was taken earlier */
    bool is_tell;  /* one line that tells of lost ones */
};

static struct {
    struct log_sink *sink;   /* the writer's; main's while there is no writer */
    struct log_sink *newest; /* the last that was handed over; of who does that */
    struct log_sink own;     /* the first one; .path NULL */
    struct log_sink *_Atomic next;
    pthread_mutex_t sink_mutex;
    int wake_fd;
    int (*prepare)(void); /* the writer calls it first; NULL = nothing to do */
    pthread_t thread;
    sem_t done;
    struct log_rings rings;
    atomic_bool is_running;
    _Atomic enum writer_state state;
    _Atomic uint64_t stop_at_ns; /* monotonic; 0 = not stopping */
    atomic_int straight_wait_ms; /* how long a line without a ring waits for a reader */

    /* The writer's own, but for `lost`, which is read by others and added to by straight ones. */
    _Atomic uint64_t lost; /* lines that the sink did not take */
    uint64_t lost_told;
    bool is_failing; /* since the last write */
    int error;       /* of the last loss */
    unsigned n_looks;
    struct batch batch;
} writer = {.sink_mutex = PTHREAD_MUTEX_INITIALIZER, .wake_fd = -1, .straight_wait_ms = FLUSH_MS};

static void clear_wake_fd(void)
{
    uint64_t count;

    (void)!read(writer.wake_fd, &count, sizeof(count));
}

static void signal_wake_fd(void)
{
    eventfd_write(writer.wake_fd, 1);
}

void log_writer_wake(const struct log_ring *ring)
{
    enum writer_state state = atomic_load(&writer.state);

    if (state == AWAKE || (state == NAPPING && log_ring_has_room(ring)))
        return;
    if (atomic_exchange(&writer.state, AWAKE) != AWAKE)
        signal_wake_fd();
}

/* --- the sink --- */

/* With the mutex held, or by the only thread there is. */
static void put_sink(struct log_sink *sink)
{
    if (writer.sink != &writer.own)
        log_sink_free(writer.sink);
    writer.sink = sink;
}

/* What was begun in the sink before is lost with it. */
static void take_next_sink(void)
{
    struct log_sink *next = atomic_exchange(&writer.next, NULL);

    if (!next)
        return;
    if (writer.batch.used > 0)
        atomic_fetch_add(&writer.lost, 1);
    writer.batch.used = writer.batch.n_rest = 0;
    writer.is_failing = false;
    writer.n_looks = 0;
    pthread_mutex_lock(&writer.sink_mutex);
    put_sink(next);
    pthread_mutex_unlock(&writer.sink_mutex);
}

void log_writer_use(struct log_sink *sink)
{
    struct log_sink *unused;

    if (!atomic_load(&writer.next)) /* else: what was meant for that one goes to this one */
        log_rings_mark(&writer.rings);
    unused = atomic_exchange(&writer.next, sink);
    writer.newest = sink;
    if (unused)
        log_sink_free(unused);
    if (atomic_load(&writer.is_running))
        signal_wake_fd();
    else
        take_next_sink();
}

int log_writer_reopen(void)
{
    struct log_sink *again;
    int error;

    if (!writer.newest || writer.newest->kind != LOG_SINK_FILE)
        return 0;
    error = log_sink_again(writer.newest, &again);
    if (!error)
        log_writer_use(again);
    return error;
}

/* --- a batch --- */

/* Wait until the sink takes bytes or has an error to tell. False: the time to stop came, or that of
 * another sink. */
static bool wait_writable(void)
{
    for (;;) {
        uint64_t stop_at = atomic_load(&writer.stop_at_ns);
        struct pollfd fds[] = {{writer.sink->fd, POLLOUT, 0}, {writer.wake_fd, POLLIN, 0}};
        int wait_ms = stop_at == 0 ? -1 : clock_remaining_ms(stop_at);
        int n;

        if (writer.sink->fd < 0)
            return true;
        n = poll(fds, 2, atomic_load(&writer.next) ? 0 : wait_ms);
        if (fds[0].revents != 0)
            return true;
        if (n == 0 || atomic_load(&writer.next))
            return false;
        clear_wake_fd();
    }
}

/* Once another sink is there, the present one gets only what it takes at once. */
static bool may_drain(void)
{
    struct pollfd ready = {writer.sink->fd, POLLOUT, 0};

    if (!atomic_load(&writer.next))
        return true;
    return !writer.is_failing && poll(&ready, 1, 0) > 0 && ready.revents == POLLOUT;
}

/* A syslogd that is started anew is away for a moment, which the rings bridge. */
static bool may_come_back(void)
{
    struct pollfd wake = {writer.wake_fd, POLLIN, 0};

    if (writer.sink->kind != LOG_SINK_SYSLOG || writer.sink->fd >= 0 || writer.is_failing ||
        writer.n_looks == LOOKS_MAX || atomic_load(&writer.stop_at_ns) != 0)
        return false;
    writer.n_looks++;
    if (poll(&wake, 1, LOOK_MS) > 0)
        clear_wake_fd();
    return !atomic_load(&writer.next);
}

static size_t count_lines(const char *bytes, size_t n_bytes)
{
    size_t n = 0;

    for (size_t i = 0; i < n_bytes; i++)
        n += bytes[i] == '\n';
    return n;
}

/* From `done` on nothing was taken. The rest of a line that was begun stays, to be finished. */
static void batch_lose(struct batch *batch, size_t done)
{
    const char *rest = batch->bytes + done;
    size_t n_rest = batch->used - done;
    bool is_begun = done == 0 ? batch->n_rest > 0 : batch->bytes[done - 1] != '\n';
    const char *end = is_begun ? memchr(rest, '\n', n_rest) : NULL;
    size_t n_kept = end ? (size_t)(end - rest) + 1 : 0;
    size_t n_lost =
        writer.sink->kind == LOG_SINK_SYSLOG ? 1 : count_lines(rest + n_kept, n_rest - n_kept);

    if (!batch->is_tell)
        atomic_fetch_add(&writer.lost, n_lost);
    memmove(batch->bytes, rest, n_kept);
    batch->used = batch->n_rest = n_kept;
}

/* Returns whether anything was taken. */
static bool batch_flush(struct batch *batch)
{
    size_t done = 0;
    int error = 0;

    while (done < batch->used && error == 0 && wait_writable()) {
        ssize_t n = log_sink_write(writer.sink, batch->bytes + done, batch->used - done);

        if (n >= 0)
            done += (size_t)n;
        else if (n != -EAGAIN && n != -EINTR && !may_come_back())
            error = (int)-n;
    }
    if (done == batch->used) {
        writer.is_failing = writer.is_failing && done == 0;
        writer.n_looks = done > 0 ? 0 : writer.n_looks;
        batch->used = batch->n_rest = 0;
        return done > 0;
    }
    writer.is_failing = true;
    writer.error = error;
    batch_lose(batch, done);
    return done > 0;
}

static void batch_add(struct batch *batch, const struct log_text *line)
{
    if (batch->used + line->used > BATCH_BYTES)
        batch_flush(batch);
    memcpy(batch->bytes + batch->used, line->bytes, line->used);
    batch->used += line->used;
    if (writer.sink->kind == LOG_SINK_SYSLOG)
        batch_flush(batch);
}

/* --- the thread --- */

static void add_record(const struct log_record *record, const char *thread, const char *bytes)
{
    struct log_text line;

    log_format(&line, &writer.sink->style, record, thread, bytes);
    batch_add(&writer.batch, &line);
}

/* In a batch of its own, so that it is known whether it was written. */
static bool tell(const char *thread, uint64_t n, int error)
{
    struct log_record record = {.time_ns = clock_wall_ns(), .level = LOG_LEVEL_WARN};
    struct batch *batch = &writer.batch;
    struct log_text line;
    char text[128];
    bool is_told;

    batch_flush(batch);
    if (writer.is_failing)
        return false;
    record.n_bytes = (uint16_t)snprintf(text, sizeof(text), "%" PRIu64 " log lines dropped%s%.60s",
                                        n, error ? ": " : "", error ? strerror(error) : "");
    log_format(&line, &writer.sink->style, &record, thread, text);
    memcpy(batch->bytes, line.bytes, line.used);
    batch->used = line.used;
    batch->is_tell = true;
    is_told = batch_flush(batch);
    batch->is_tell = false;
    return is_told;
}

/* What the ring holds now, and not what is added meanwhile, so that every ring gets its turn. Its
 * head is read before `next`: what was said after another sink came is not for this one. */
static bool drain_ring(struct log_ring *ring)
{
    size_t head = atomic_load(&ring->head);
    size_t end = atomic_load(&writer.next) ? atomic_load(&ring->mark) : head;
    uint64_t dropped = atomic_load(&ring->dropped);
    bool has_work = false;
    struct log_record record;
    char bytes[LOG_PAYLOAD_MAX];

    while (may_drain() && log_ring_take(ring, end, &record, bytes)) {
        add_record(&record, ring->name, bytes);
        has_work = true;
    }
    if (dropped != ring->dropped_told && tell(ring->name, dropped - ring->dropped_told, 0)) {
        ring->dropped_told = dropped;
        has_work = true;
    }
    return has_work;
}

static bool drain_rings(void)
{
    bool has_next = atomic_load(&writer.next);
    bool has_work = has_next;
    uint64_t lost;

    for (struct log_ring *ring = atomic_load(&writer.rings.first); ring; ring = ring->next)
        has_work |= drain_ring(ring);
    batch_flush(&writer.batch);
    lost = atomic_load(&writer.lost);
    if (lost != writer.lost_told && tell("log", lost - writer.lost_told, writer.error))
        writer.lost_told = lost;
    if (has_next)
        take_next_sink();
    return has_work;
}

static bool has_untold(void)
{
    return atomic_load(&writer.lost) != writer.lost_told || writer.batch.n_rest > 0 ||
           log_rings_have_untold(&writer.rings);
}

static bool has_work(void)
{
    return atomic_load(&writer.stop_at_ns) != 0 || atomic_load(&writer.next) ||
           log_rings_have_records(&writer.rings) || (!writer.is_failing && has_untold());
}

static void writer_sleep(void)
{
    struct pollfd wake = {writer.wake_fd, POLLIN, 0};
    bool is_retrying = writer.is_failing && has_untold();

    atomic_store(&writer.state, ASLEEP);
    if (!has_work() && poll(&wake, 1, is_retrying ? RETRY_MS : -1) == 0)
        writer.is_failing = false;
    atomic_store(&writer.state, AWAKE);
    clear_wake_fd();
}

static void nap(void)
{
    struct pollfd wake = {writer.wake_fd, POLLIN, 0};

    atomic_store(&writer.state, NAPPING);
    poll(&wake, 1, NAP_MS);
    atomic_store(&writer.state, AWAKE);
    clear_wake_fd();
}

static void *writer_run(void *unused)
{
    (void)unused;
    if (writer.prepare)
        writer.prepare();
    for (;;) {
        /* Read first: what was queued before the wish to stop is then in the rings. */
        bool is_stopping = atomic_load(&writer.stop_at_ns) != 0;

        if (drain_rings()) {
            if (!is_stopping)
                nap();
        } else if (is_stopping) {
            break;
        } else {
            writer_sleep();
        }
    }
    sem_post(&writer.done);
    return NULL;
}

/* --- from outside --- */

static void reset(int fd)
{
    put_sink(&writer.own);
    log_sink_init_fd(&writer.own, fd, false);
    writer.newest = &writer.own;
    writer.batch = (struct batch){.used = 0};
    writer.is_failing = false;
    writer.error = 0;
    writer.lost_told = 0;
    writer.n_looks = 0;
    atomic_store(&writer.lost, 0);
    atomic_store(&writer.stop_at_ns, 0);
    atomic_store(&writer.straight_wait_ms, FLUSH_MS);
}

int log_writer_start(int fd, int (*prepare)(void))
{
    sigset_t all;
    sigset_t before;
    int rc;

    writer.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (writer.wake_fd < 0)
        return -errno;
    reset(fd);
    writer.prepare = prepare;
    sem_init(&writer.done, 0, 0);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&writer.thread, NULL, writer_run, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        close(writer.wake_fd);
        return -rc;
    }
    pthread_setname_np(writer.thread, "log");
    atomic_store(&writer.is_running, true);
    return 0;
}

bool log_writer_is_running(void)
{
    return atomic_load(&writer.is_running);
}

void log_writer_add(struct log_ring *ring)
{
    log_rings_add(&writer.rings, ring);
}

/* Has the writer ended by itself? It keeps the deadline in poll(2); only a write(2) that blocks in
 * spite of POLLOUT (a terminal that was stopped, a pipe that another process filled, a file far
 * away) can hold it longer, hence the grace. */
static bool wait_writer_done(uint64_t stop_at_ns)
{
    uint64_t until_ns = stop_at_ns + 100 * CLOCK_NS_PER_MS;
    struct timespec until = {.tv_sec = (time_t)(until_ns / CLOCK_NS_PER_S),
                             .tv_nsec = (long)(until_ns % CLOCK_NS_PER_S)};
    int rc;

    do
        rc = sem_clockwait(&writer.done, CLOCK_MONOTONIC, &until);
    while (rc < 0 && errno == EINTR);
    return rc == 0;
}

void log_writer_stop(void)
{
    uint64_t stop_at_ns = clock_now_ns() + FLUSH_MS * CLOCK_NS_PER_MS;

    if (!atomic_exchange(&writer.is_running, false))
        return;
    atomic_store(&writer.stop_at_ns, stop_at_ns);
    signal_wake_fd();
    if (!wait_writer_done(stop_at_ns)) {
        /* The thread hangs in the kernel: its memory must outlive it, and the process ends next. */
        atomic_store(&writer.straight_wait_ms, 0);
        pthread_detach(writer.thread);
        return;
    }
    if (clock_now_ns() >= stop_at_ns)
        atomic_store(&writer.straight_wait_ms, 0);
    pthread_join(writer.thread, NULL);
    take_next_sink();
    close(writer.wake_fd);
    sem_destroy(&writer.done);
    log_rings_free(&writer.rings);
}

/* Before log_writer_start() it is stderr. */
void log_writer_straight(const struct log_record *record, const char *thread, const char *bytes)
{
    struct log_text line;

    pthread_mutex_lock(&writer.sink_mutex);
    if (!writer.sink) {
        writer.sink = writer.newest = &writer.own;
        log_sink_init_fd(&writer.own, STDERR_FILENO, false);
    }
    log_format(&line, &writer.sink->style, record, thread, bytes);
    if (log_sink_write_straight(writer.sink, line.bytes, line.used,
                                atomic_load(&writer.straight_wait_ms)) < 0)
        atomic_fetch_add(&writer.lost, 1);
    pthread_mutex_unlock(&writer.sink_mutex);
}

uint64_t log_writer_dropped(void)
{
    return atomic_load_explicit(&writer.lost, memory_order_relaxed) +
           log_rings_dropped(&writer.rings);
}
