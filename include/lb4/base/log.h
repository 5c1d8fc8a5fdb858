/* The log: one line for each event, written by a thread of its own, so that no reader of the log
 * can stop traffic.
 *
 * Every thread that logs owns a bounded ring (base/log_ring.h). The writer thread takes records
 * from all rings in turn, makes lines of them (base/log_format.h: text or JSON) and gives them to
 * the sink (base/log_sink.h: stderr, a file, syslog). A full ring drops the record and counts it;
 * the writer tells of the count ("12 log lines dropped") as soon as there is room, and of what the
 * sink did not take. Before log_start() and after log_stop() lines go straight to the sink.
 *
 * Who logs: the owners of threads (worker, prober, control, main), and what they own. base, loop,
 * conf, shared and relay/flow never do. */
#ifndef LB4_BASE_LOG_H
#define LB4_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "lb4/base/log_event.h"
#include "lb4/base/log_format.h"
#include "lb4/base/log_sink.h"

/* Lines above `level` are not formatted at all. Any thread. Default: LOG_LEVEL_INFO. */
void log_set_level(enum log_level level);
bool log_is_on(enum log_level level);

/* Start the writer thread on `fd`, as text; it stays the caller's. All signals are blocked in it.
 * It calls `prepare` first, to give up what it must not have (capabilities); NULL = nothing. Its
 * result is ignored. Returns 0 or -errno of pthread_create(3) or eventfd(2). Thread: main, before
 * others start. */
int log_start(int fd, int (*prepare)(void));

/* Write what is queued (for at most one second, should the reader have stopped reading), end the
 * writer. Thread: main, after all others ended. */
void log_stop(void);

/* From now on lines go there; the sink is the log's. Lines that were said before may follow, too.
 * Thread: one, the same for both. */
void log_use(struct log_sink *sink);
/* Open a file anew, for one that was moved away; nothing to do for other sinks. On error, -errno,
 * the old one stays. */
int log_reopen(void);

/* Give the calling thread a ring of its own and a name for its lines ("worker 1"; at most 15 bytes;
 * also pthread_setname_np(3)). A thread that does not call it logs straight to the sink. Returns 0
 * or -ENOMEM. The ring lives until log_stop(). */
int log_register_thread(const char *name);

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* An event of named values, in the order of the form's keys. */
void log_values(enum log_level level, const struct log_form *form, const union log_value *values);

/* One that a sentence tells in the text form, whatever the level of the log: what always counts. */
void log_told(enum log_level level, const struct log_form *form, const union log_value *values,
              const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Wait until most of the calling thread's ring is free, or `timeout_ms` are over: for a thread
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
