/* What lb4 tells the service manager that started it: the protocol of sd_notify(3), datagrams to
 * the socket that NOTIFY_SOCKET names. Without one all of this does nothing. What cannot be told is
 * a warning in the log, never a reason to stop.
 *
 * Thread: control. A message waits at most NOTIFY_WAIT_MS for room in the manager's queue. */
#ifndef LB4_CONTROL_NOTIFY_H
#define LB4_CONTROL_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { NOTIFY_WAIT_MS = 200 }; /* chosen */

struct notify {
    int fd;               /* connected to the manager; -1 = there is none */
    socklen_t length;     /* of `to` */
    bool is_trouble_told; /* the log knows that messages do not arrive */
    struct sockaddr_un to;
    uint64_t watchdog_ns; /* the manager wants a sign of life so often; 0 = no watchdog */
};

/* No manager: for one that notify_open() has not seen. */
void notify_clear(struct notify *notify);

/* Read NOTIFY_SOCKET (a path, or '@' and an abstract name), WATCHDOG_USEC and WATCHDOG_PID, take
 * them out of the environment, and connect. Before other threads exist (environ(7)), and before
 * privileges are dropped. */
void notify_open(struct notify *notify);
void notify_close(struct notify *notify);

/* READY=1 with `status`, a line for people: start, or a reload, is complete. */
void notify_ready(struct notify *notify, const char *status);

/* RELOADING=1 with MONOTONIC_USEC (systemd 253 and later want it): a reload begins, and ends with
 * notify_ready(), whether or not it changed anything. */
void notify_reloading(struct notify *notify);

/* STOPPING=1: the end has begun and may last `drain_ms`. The manager is asked for that time and
 * some more, whatever its own patience (EXTEND_TIMEOUT_USEC). */
void notify_stopping(struct notify *notify, const char *status, uint64_t drain_ms);

/* WATCHDOG=1. Never waits. false: it did not get through now. */
bool notify_alive(struct notify *notify);

#endif
