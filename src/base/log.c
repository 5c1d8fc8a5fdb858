/* Producers and the writer.
 *
 * A ring holds records {time, level, length, text}. Its thread moves `head`, the writer moves
 * `tail`; both count bytes for ever and wrap by masking. The writer adds date, name and escapes, so
 * that a producer pays for one vsnprintf and one copy.
 *
 * Going to sleep without losing a wake-up: the writer stores is_asleep and then looks at every
 * head; a producer stores its head and then looks at is_asleep. All four are sequentially
 * consistent, so one of the two sees the other's store. Whoever clears is_asleep writes the
 * eventfd, so a producer makes at most one system call, and none while the writer is busy. */
#include "lb4/base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "lb4/base/clock.h"

enum {
    RING_BYTES = 64 * 1024, /* a power of two; chosen: over 120 of the longest lines */
    BATCH_BYTES = 4096,     /* PIPE_BUF: a write of no more does not block after POLLOUT, pipe(7) */
    FLUSH_MS = 1000,
    NAME_BYTES = 16 /* pthread_setname_np(3) */
};

struct record {
    uint64_t time_ns; /* CLOCK_REALTIME */
    uint16_t length;  /* bytes of text behind the record */
    uint8_t level;
};

struct ring {
    struct ring *next; /* constant once the ring is on the list */
    char name[NAME_BYTES];
    _Atomic size_t head;      /* producer */
    _Atomic size_t tail;      /* writer; release, so that the producer may overwrite */
    _Atomic uint64_t dropped; /* producer: lines for which there was no room */
    uint64_t dropped_told;    /* writer */
    char bytes[RING_BYTES];
};

struct line {
    char bytes[LOG_LINE_MAX];
    size_t used;
};

struct batch {
    char bytes[BATCH_BYTES];
    size_t used;
};

static struct {
    int fd;
    int wake_fd;
    int (*prepare)(void); /* the writer calls it first; NULL = nothing to do */
    pthread_t thread;
    sem_t done;
    _Atomic(struct ring *) rings;
    atomic_bool is_running;
    atomic_bool is_asleep;
    _Atomic uint64_t stop_at_ns; /* monotonic; 0 = not stopping */
    atomic_int straight_wait_ms; /* how long a line without a ring waits for a reader */
} writer = {.fd = STDERR_FILENO, .wake_fd = -1, .straight_wait_ms = FLUSH_MS};

static _Atomic enum log_level max_level = LOG_LEVEL_INFO;
static _Thread_local struct ring *own_ring;

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&max_level, level, memory_order_relaxed);
}

bool log_is_on(enum log_level level)
{
    return level <= atomic_load_explicit(&max_level, memory_order_relaxed);
}

/* --- one line --- */

static void line_begin(struct line *line, const struct record *record, const char *name)
{
    static const char *const LEVELS[] = {"ERROR", "WARN", "INFO", "DEBUG"};
    time_t seconds = (time_t)(record->time_ns / CLOCK_NS_PER_S);
    unsigned ms = (unsigned)(record->time_ns % CLOCK_NS_PER_S / CLOCK_NS_PER_MS);
    struct tm utc;
    int n;

    gmtime_r(&seconds, &utc);
    line->used = strftime(line->bytes, LOG_LINE_MAX, "%Y-%m-%dT%H:%M:%S", &utc);
    n = snprintf(line->bytes + line->used, LOG_LINE_MAX - line->used, ".%03uZ %s %s: ", ms,
                 LEVELS[record->level], name);
    line->used += (size_t)n;
}

/* Append the text with control bytes escaped, cut at a whole byte or escape, and the newline. */
static void line_end(struct line *line, const char *text, size_t length)
{
    static const char HEX[] = "0123456789abcdef";
    size_t cut = line->used; /* the last place where "..." and the newline still fit */

    for (size_t i = 0; i < length; i++) {
        unsigned char byte = (unsigned char)text[i];
        char escape[4] = {'\\', 'x', HEX[byte >> 4], HEX[byte & 15]};
        bool is_plain = byte >= 0x20 && byte < 0x7f;
        size_t n = is_plain ? 1 : sizeof(escape);

        if (line->used + n > LOG_LINE_MAX - 1) {
            memcpy(line->bytes + cut, "...", 3);
            line->used = cut + 3;
            break;
        }
        memcpy(line->bytes + line->used, is_plain ? text + i : escape, n);
        line->used += n;
        if (line->used <= LOG_LINE_MAX - 4)
            cut = line->used;
    }
    line->bytes[line->used++] = '\n';
}

/* --- a ring --- */

static void ring_copy_in(struct ring *ring, size_t at, const void *from, size_t n)
{
    size_t start = at % RING_BYTES;
    size_t first = n < RING_BYTES - start ? n : RING_BYTES - start;

    memcpy(ring->bytes + start, from, first);
    memcpy(ring->bytes, (const char *)from + first, n - first);
}

static void ring_copy_out(const struct ring *ring, size_t at, void *to, size_t n)
{
    size_t start = at % RING_BYTES;
    size_t first = n < RING_BYTES - start ? n : RING_BYTES - start;

    memcpy(to, ring->bytes + start, first);
    memcpy((char *)to + first, ring->bytes, n - first);
}

static void wake_writer(void)
{
    const uint64_t one = 1;

    if (atomic_load(&writer.is_asleep) && atomic_exchange(&writer.is_asleep, false))
        (void)!write(writer.wake_fd, &one, sizeof(one));
}

static void ring_put(struct ring *ring, const struct record *record, const char *text)
{
    size_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);

    if (RING_BYTES - (head - tail) < sizeof(*record) + record->length) {
        atomic_fetch_add(&ring->dropped, 1);
    } else {
        ring_copy_in(ring, head, record, sizeof(*record));
        ring_copy_in(ring, head + sizeof(*record), text, record->length);
        atomic_store(&ring->head, head + sizeof(*record) + record->length);
    }
    wake_writer();
}

int log_register_thread(const char *name)
{
    struct ring *ring = malloc(sizeof(*ring));

    if (ring == NULL)
        return -ENOMEM;
    snprintf(ring->name, sizeof(ring->name), "%s", name);
    atomic_init(&ring->head, 0);
    atomic_init(&ring->tail, 0);
    atomic_init(&ring->dropped, 0);
    ring->dropped_told = 0;
    ring->next = atomic_load(&writer.rings);
    while (!atomic_compare_exchange_weak(&writer.rings, &ring->next, ring))
        continue;
    own_ring = ring;
    pthread_setname_np(pthread_self(), ring->name);
    return 0;
}

/* --- the writer thread --- */

static int remaining_ms(uint64_t deadline_ns)
{
    uint64_t now = clock_now_ns();

    return now >= deadline_ns ? 0 : (int)((deadline_ns - now) / CLOCK_NS_PER_MS + 1);
}

static void clear_wake_fd(void)
{
    uint64_t count;

    (void)!read(writer.wake_fd, &count, sizeof(count));
}

/* Wait until the descriptor takes bytes or has an error to tell. False: the time to stop came. */
static bool wait_writable(void)
{
    for (;;) {
        uint64_t stop_at = atomic_load(&writer.stop_at_ns);
        struct pollfd fds[] = {{writer.fd, POLLOUT, 0}, {writer.wake_fd, POLLIN, 0}};
        int n = poll(fds, 2, stop_at == 0 ? -1 : remaining_ms(stop_at));

        if (fds[0].revents != 0)
            return true;
        if (n == 0)
            return false;
        clear_wake_fd();
    }
}

/* A descriptor that refuses bytes for good costs these lines; the next batch tries again. */
static void batch_flush(struct batch *batch)
{
    size_t done = 0;

    while (done < batch->used && wait_writable()) {
        ssize_t n = write(writer.fd, batch->bytes + done, batch->used - done);

        if (n >= 0)
            done += (size_t)n;
        else if (errno != EAGAIN && errno != EINTR)
            break;
    }
    batch->used = 0;
}

static void batch_add(struct batch *batch, const struct line *line)
{
    if (batch->used + line->used > BATCH_BYTES)
        batch_flush(batch);
    memcpy(batch->bytes + batch->used, line->bytes, line->used);
    batch->used += line->used;
}

static uint64_t now_realtime_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * CLOCK_NS_PER_S + (uint64_t)now.tv_nsec;
}

static void tell_dropped(struct ring *ring, uint64_t dropped, struct batch *batch)
{
    struct record record = {.time_ns = now_realtime_ns(), .level = LOG_LEVEL_WARN};
    struct line line;
    char text[64];
    int n =
        snprintf(text, sizeof(text), "%" PRIu64 " log lines dropped", dropped - ring->dropped_told);

    line_begin(&line, &record, ring->name);
    line_end(&line, text, (size_t)n);
    batch_add(batch, &line);
    ring->dropped_told = dropped;
}

/* What the ring holds now, and not what is added meanwhile, so that every ring gets its turn. */
static bool drain_ring(struct ring *ring, struct batch *batch)
{
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    size_t head = atomic_load(&ring->head);
    uint64_t dropped = atomic_load(&ring->dropped);
    bool has_work = tail != head || dropped != ring->dropped_told;

    while (tail != head) {
        struct record record;
        struct line line;
        char text[LOG_LINE_MAX];

        ring_copy_out(ring, tail, &record, sizeof(record));
        ring_copy_out(ring, tail + sizeof(record), text, record.length);
        tail += sizeof(record) + record.length;
        atomic_store_explicit(&ring->tail, tail, memory_order_release);
        line_begin(&line, &record, ring->name);
        line_end(&line, text, record.length);
        batch_add(batch, &line);
    }
    if (dropped != ring->dropped_told)
        tell_dropped(ring, dropped, batch);
    return has_work;
}

static bool drain_rings(struct batch *batch)
{
    bool has_work = false;

    for (struct ring *ring = atomic_load(&writer.rings); ring != NULL; ring = ring->next)
        has_work |= drain_ring(ring, batch);
    batch_flush(batch);
    return has_work;
}

static bool writer_has_work(void)
{
    if (atomic_load(&writer.stop_at_ns) != 0)
        return true;
    for (struct ring *ring = atomic_load(&writer.rings); ring != NULL; ring = ring->next) {
        if (atomic_load(&ring->head) != atomic_load(&ring->tail) ||
            atomic_load(&ring->dropped) != ring->dropped_told)
            return true;
    }
    return false;
}

static void writer_sleep(void)
{
    struct pollfd wake = {writer.wake_fd, POLLIN, 0};

    atomic_store(&writer.is_asleep, true);
    if (!writer_has_work())
        poll(&wake, 1, -1);
    atomic_store(&writer.is_asleep, false);
    clear_wake_fd();
}

static void *writer_run(void *unused)
{
    struct batch batch = {.used = 0};

    (void)unused;
    if (writer.prepare)
        writer.prepare();
    for (;;) {
        /* Read first: what was queued before the wish to stop is then in the rings. */
        bool is_stopping = atomic_load(&writer.stop_at_ns) != 0;

        if (drain_rings(&batch))
            continue;
        if (is_stopping)
            break;
        writer_sleep();
    }
    sem_post(&writer.done);
    return NULL;
}

int log_start(int fd, int (*prepare)(void))
{
    sigset_t all;
    sigset_t before;
    int rc;

    writer.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (writer.wake_fd < 0)
        return -errno;
    writer.fd = fd;
    writer.prepare = prepare;
    sem_init(&writer.done, 0, 0);
    atomic_store(&writer.stop_at_ns, 0);
    atomic_store(&writer.straight_wait_ms, FLUSH_MS);
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

/* Has the writer ended by itself? It keeps the deadline in poll(2); only a write(2) that blocks in
 * spite of POLLOUT (a terminal that was stopped, a pipe that another process filled) can hold it
 * longer, hence the grace. */
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

void log_stop(void)
{
    uint64_t stop_at_ns = clock_now_ns() + FLUSH_MS * CLOCK_NS_PER_MS;
    const uint64_t one = 1;
    struct ring *ring;

    if (!atomic_exchange(&writer.is_running, false))
        return;
    own_ring = NULL;
    atomic_store(&writer.stop_at_ns, stop_at_ns);
    (void)!write(writer.wake_fd, &one, sizeof(one));
    if (!wait_writer_done(stop_at_ns)) {
        /* The thread hangs in the kernel: its memory must outlive it, and the process ends next. */
        atomic_store(&writer.straight_wait_ms, 0);
        pthread_detach(writer.thread);
        return;
    }
    if (clock_now_ns() >= stop_at_ns)
        atomic_store(&writer.straight_wait_ms, 0);
    pthread_join(writer.thread, NULL);
    close(writer.wake_fd);
    sem_destroy(&writer.done);
    while ((ring = atomic_load(&writer.rings)) != NULL) {
        atomic_store(&writer.rings, ring->next);
        free(ring);
    }
}

/* --- a producer --- */

static void write_straight(const struct record *record, const char *text)
{
    struct pollfd ready = {writer.fd, POLLOUT, 0};
    struct line line;

    line_begin(&line, record, own_ring != NULL ? own_ring->name : "main");
    line_end(&line, text, record->length);
    if (poll(&ready, 1, atomic_load(&writer.straight_wait_ms)) > 0)
        (void)!write(writer.fd, line.bytes, line.used);
}

void log_line(enum log_level level, const char *format, ...)
{
    struct record record = {.level = (uint8_t)level};
    char text[LOG_LINE_MAX];
    int saved_errno = errno;
    va_list args;
    int length;

    if (!log_is_on(level))
        return;
    va_start(args, format);
    length = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (length < 0)
        length = 0;
    /* A text that is cut here does not fit a line either, so it gets its "..." from line_end(). */
    record.length = (uint16_t)(length < LOG_LINE_MAX ? length : LOG_LINE_MAX - 1);
    record.time_ns = now_realtime_ns();
    if (own_ring != NULL && atomic_load(&writer.is_running))
        ring_put(own_ring, &record, text);
    else
        write_straight(&record, text);
    errno = saved_errno;
}

static bool has_room(const struct ring *ring)
{
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);

    return atomic_load_explicit(&ring->head, memory_order_relaxed) - tail <= RING_BYTES / 2;
}

bool log_wait_room(int timeout_ms)
{
    const struct timespec pause = {.tv_nsec = 1000000};

    for (int i = 0; own_ring && !has_room(own_ring) && i < timeout_ms; i++)
        nanosleep(&pause, NULL);
    return !own_ring || has_room(own_ring);
}

uint64_t log_dropped_total(void)
{
    uint64_t n = 0;

    for (const struct ring *ring = atomic_load(&writer.rings); ring != NULL; ring = ring->next)
        n += atomic_load_explicit(&ring->dropped, memory_order_relaxed);
    return n;
}
