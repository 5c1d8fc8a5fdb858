/* Where lines of the log go: a descriptor (stderr), a file, or syslog.
 *
 * A sink is made by whoever configures the log, and given to it (log_use()); from then on it is the
 * log's. Nothing here blocks, but for what open(2) of a file may; a descriptor that is not ours is
 * written to after poll(2) only. */
#ifndef LB4_BASE_LOG_SINK_H
#define LB4_BASE_LOG_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "lb4/base/log_format.h"

enum log_sink_kind { LOG_SINK_FD, LOG_SINK_FILE, LOG_SINK_SYSLOG };

struct log_sink {
    enum log_sink_kind kind;
    int fd; /* -1: syslog is not there */
    char *path;
    struct log_style style;
};

/* `fd` stays the caller's. Is it the journal (JOURNAL_STREAM, sd-daemon(3)), lines are made for it.
 */
void log_sink_init_fd(struct log_sink *sink, int fd, bool is_json);

/* A descriptor as above. NULL: no memory. */
struct log_sink *log_sink_new_fd(int fd, bool is_json);

/* Open a file for appending; one that is made is for its owner and group (0640). Or take `fd`, open
 * already, unless it is negative; it is the sink's then, also on failure. Returns 0 or -errno. */
int log_sink_open_file(const char *path, int fd, bool is_json, struct log_sink **ret);

/* `facility`: 0..23. `path`: of the datagram socket, /dev/log. One that is not there is no error:
 * each line tries again. Returns 0 or -ENOMEM. */
int log_sink_open_syslog(const char *path, int facility, bool is_json, struct log_sink **ret);

/* Another sink like this one, opened anew. */
int log_sink_again(const struct log_sink *sink, struct log_sink **ret);

/* The descriptor of LOG_SINK_FD stays open. NULL is fine. */
void log_sink_free(struct log_sink *sink);

/* One write: whole lines of a file or descriptor, one line of syslog. Returns how many bytes were
 * taken, or -errno: -EAGAIN, poll(2) tells when there is room; of syslog what connect(2) says. */
ssize_t log_sink_write(struct log_sink *sink, const char *bytes, size_t n_bytes);

/* A line of who is not the sink's owner, who may write at the same time; waits for a reader at most
 * so long. A line of syslog goes through a socket of its own, and does not wait. */
ssize_t log_sink_write_straight(const struct log_sink *sink, const char *bytes, size_t n_bytes,
                                int wait_ms);

enum { LOG_WORD_MAX = 12 };
/* Facilities of syslog.conf(5): "daemon" is 3; NULL beyond the last. "" = a number without word. */
const char *log_facility_word(int facility);

#endif
