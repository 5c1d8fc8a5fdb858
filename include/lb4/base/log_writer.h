/* The writer of the log: the thread that takes records from all rings in turn, makes lines of them
 * and gives them to the sink; and who writes where there is no such thread.
 *
 * What the sink does not take is waited for (a full pipe) or lost (a full disk, a reader that has
 * gone). Lost lines, and those that a ring had no room for, are counted, and told of as soon as
 * there is room: "12 log lines dropped". A line of a file or pipe that was written in part is
 * finished first. Internal to base/log. */
#ifndef LB4_BASE_LOG_WRITER_H
#define LB4_BASE_LOG_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "lb4/base/log_ring.h"
#include "lb4/base/log_sink.h"

/* See log_start() and log_stop(). */
int log_writer_start(int fd, int (*prepare)(void));
void log_writer_stop(void);
bool log_writer_is_running(void);

/* It is the writer's, until log_writer_stop(). Any thread. */
void log_writer_add(struct log_ring *ring);

/* There is something in the ring, or a count to tell. Thread: the ring's. */
void log_writer_wake(const struct log_ring *ring);

/* Write one line now, with a little patience. Any thread that may wait. */
void log_writer_straight(const struct log_record *record, const char *thread, const char *bytes);

/* See log_use() and log_reopen(). */
void log_writer_use(struct log_sink *sink);
int log_writer_reopen(void);

/* See log_dropped_total(). */
uint64_t log_writer_dropped(void);

#endif
