/* The log: one line for each event, written by a thread of its own, so that no reader of stderr can
 * stop traffic.
 *
 * Every thread that logs owns a bounded ring (single producer, single consumer). The writer thread
 * takes lines from all rings in turn and write(2)s them. A full ring drops the line and counts it;
 * the writer tells of the count
 * ("12 log lines dropped") as soon as there is room. Before log_start() and after log_stop() lines
 * go straight to the descriptor.
 *
 * A line: 2026-11-22T18:07:07.123Z LEVEL thread: text
 * Bytes below 0x20 and from 0x7f on in the text are written as \xHH: peer input cannot forge a
 * line.
 *
 * Who logs: the owners of threads (worker, prober, control, main). base, loop, conf, shared and
 * relay/flow never do. */
#ifndef LB4_BASE_LOG_H
#define LB4_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

enum { LOG_LINE_MAX = 512 }; /* bytes with the newline; longer text is cut and ends in "..." */

/* Lines above `level` are not formatted at all. Any thread. Default: LOG_LEVEL_INFO. */
void log_set_level(enum log_level level);
bool log_is_on(enum log_level level);

/* Start the writer thread on `fd`, which stays the caller's. All signals are blocked in it. It
 * calls `prepare` first, to give up what it must not have (capabilities); NULL = nothing. Its
 * result is ignored. Returns 0 or -errno of pthread_create(3) or eventfd(2). Thread: main, before
 * others start. */
int log_start(int fd, int (*prepare)(void));

/* Write what is queued (for at most one second, should the reader have stopped reading), end the
 * writer. Thread: main, after all others ended. */
void log_stop(void);

/* Give the calling thread a ring of its own and a name for its lines ("worker 1"; at most 15 bytes;
 * also pthread_setname_np(3)). A thread that does not call it logs straight to the descriptor.
 * Returns 0 or -ENOMEM. The ring lives until log_stop(). */
int log_register_thread(const char *name);

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Wait until half of the calling thread's ring is free, or `timeout_ms` are over: for a thread
 * without traffic that has much to say. false: there is no room, nobody reads the log. */
bool log_wait_room(int timeout_ms);

/* Lines of all threads that were dropped since the start. Any thread, until log_stop(). */
uint64_t log_dropped_total(void);

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
/* The arguments are evaluated only when debug lines are wanted. */
#define log_debug(...)                              \
    do {                                            \
        if (log_is_on(LOG_LEVEL_DEBUG))             \
            log_line(LOG_LEVEL_DEBUG, __VA_ARGS__); \
    } while (0)

#endif
