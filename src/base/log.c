/* Producers. What a thread says is a record in its ring; the writer adds date, name and escapes, so
 * that a producer pays for one vsnprintf, or some copies, and none of the lines. */
#include "lb4/base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lb4/base/clock.h"
#include "lb4/base/log_ring.h"
#include "lb4/base/log_writer.h"

static _Atomic enum log_level max_level = LOG_LEVEL_INFO;
static _Thread_local struct log_ring *own_ring;

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&max_level, level, memory_order_relaxed);
}

bool log_is_on(enum log_level level)
{
    return level <= atomic_load_explicit(&max_level, memory_order_relaxed);
}

int log_start(int fd, int (*prepare)(void))
{
    return log_writer_start(fd, prepare);
}

void log_stop(void)
{
    if (log_writer_is_running())
        own_ring = NULL;
    log_writer_stop();
}

void log_use(struct log_sink *sink)
{
    log_writer_use(sink);
}

int log_reopen(void)
{
    return log_writer_reopen();
}

int log_register_thread(const char *name)
{
    struct log_ring *ring = log_ring_new(name);

    if (!ring)
        return -ENOMEM;
    log_writer_add(ring);
    own_ring = ring;
    pthread_setname_np(pthread_self(), ring->name);
    return 0;
}

static void put(const struct log_record *record, const char *bytes, const char *rest, size_t n_rest)
{
    char whole[LOG_PAYLOAD_MAX];

    if (own_ring && log_writer_is_running()) {
        log_ring_put(own_ring, record, bytes, rest, n_rest);
        log_writer_wake(own_ring);
        return;
    }
    memcpy(whole, bytes, record->n_bytes - n_rest);
    if (n_rest > 0)
        memcpy(whole + record->n_bytes - n_rest, rest, n_rest);
    log_writer_straight(record, own_ring ? own_ring->name : "main", whole);
}

static size_t format_text(char text[static LOG_LINE_MAX], const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

/* What is cut here does not fit a line either, so it gets its "..." there. */
static size_t format_text(char text[static LOG_LINE_MAX], const char *format, va_list args)
{
    int n = vsnprintf(text, LOG_LINE_MAX, format, args);

    if (n < 0)
        return 0;
    return n < LOG_LINE_MAX ? (size_t)n : LOG_LINE_MAX - 1;
}

void log_line(enum log_level level, const char *format, ...)
{
    struct log_record record = {.level = (uint8_t)level};
    char text[LOG_LINE_MAX];
    int saved_errno = errno;
    va_list args;

    if (!log_is_on(level))
        return;
    va_start(args, format);
    record.n_bytes = (uint16_t)format_text(text, format, args);
    va_end(args);
    record.time_ns = clock_wall_ns();
    put(&record, text, NULL, 0);
    errno = saved_errno;
}

static void put_event(enum log_level level, const struct log_form *form,
                      const union log_value *values, const char *sentence, size_t n_sentence)
{
    char packed[LOG_EVENT_PACKED_MAX];
    size_t n = log_event_pack(form, values, packed);
    struct log_record record = {.time_ns = clock_wall_ns(),
                                .n_bytes = (uint16_t)(n + n_sentence),
                                .level = (uint8_t)level,
                                .is_event = true};

    put(&record, packed, sentence, n_sentence);
}

void log_values(enum log_level level, const struct log_form *form, const union log_value *values)
{
    int saved_errno = errno;

    if (log_is_on(level))
        put_event(level, form, values, NULL, 0);
    errno = saved_errno;
}

void log_told(enum log_level level, const struct log_form *form, const union log_value *values,
              const char *format, ...)
{
    char text[LOG_LINE_MAX];
    int saved_errno = errno;
    va_list args;

    va_start(args, format);
    put_event(level, form, values, text, format_text(text, format, args));
    va_end(args);
    errno = saved_errno;
}

bool log_wait_room(int timeout_ms)
{
    const struct timespec pause = {.tv_nsec = 1000000};

    for (int i = 0; own_ring && !log_ring_has_room(own_ring) && i < timeout_ms; i++)
        nanosleep(&pause, NULL);
    return !own_ring || log_ring_has_room(own_ring);
}

uint64_t log_dropped_total(void)
{
    return log_writer_dropped();
}
