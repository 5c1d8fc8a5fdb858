#include "lb4/control/notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"
#include "lb4/base/number.h"

enum {
    MESSAGE_MAX = 512,
    STATUS_MAX = 300,     /* bytes; longer ones are cut */
    STOP_SPARE_MS = 5000, /* from the end of the drain to the exit; chosen */
    NS_PER_US = 1000,
    US_PER_MS = 1000
};

void notify_clear(struct notify *notify)
{
    *notify = (struct notify){.fd = -1};
}

/* Each trouble once, until a message gets through again: a watchdog would fill the log. */
static void tell_trouble(struct notify *notify, int error)
{
    if (!notify->is_trouble_told)
        log_warn("NOTIFY_SOCKET: the service manager cannot be told: %s", strerror(error));
    notify->is_trouble_told = true;
}

static int parse_socket(const char *name, struct notify *notify)
{
    size_t length = strlen(name);

    if ((name[0] != '/' && name[0] != '@') || length < 2)
        return -EINVAL;
    if (length >= sizeof(notify->to.sun_path))
        return -ENAMETOOLONG;
    notify->to.sun_family = AF_UNIX;
    memcpy(notify->to.sun_path, name, length + 1);
    /* unix(7): a path has its NUL, an abstract name begins with one and is as long as it is. */
    if (name[0] == '@')
        notify->to.sun_path[0] = '\0';
    else
        length++;
    notify->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    return 0;
}

static int connect_to_manager(struct notify *notify)
{
    const struct timeval patience = {.tv_usec = NOTIFY_WAIT_MS * US_PER_MS};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&notify->to, notify->length) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0) {
        int error = -errno;

        close(fd);
        return error;
    }
    if (notify->fd >= 0)
        close(notify->fd);
    notify->fd = fd;
    return 0;
}

/* WATCHDOG_PID names the process that is watched; without it, it is us (sd_watchdog_enabled(3)). */
static uint64_t read_watchdog(void)
{
    const char *pid_text = getenv("WATCHDOG_PID");
    const char *text = getenv("WATCHDOG_USEC");
    uint64_t pid = (uint64_t)getpid();
    uint64_t usec;

    if (!text)
        return 0;
    if (pid_text && number_parse(pid_text, 1, INT32_MAX, &pid) < 0) {
        log_warn("WATCHDOG_PID '%s' is no process id: no watchdog", pid_text);
        return 0;
    }
    if (pid != (uint64_t)getpid())
        return 0;
    if (number_parse(text, 1, UINT64_MAX / NS_PER_US, &usec) < 0) {
        log_warn("WATCHDOG_USEC '%s' is no number of microseconds from 1 on: no watchdog", text);
        return 0;
    }
    return usec * NS_PER_US;
}

void notify_open(struct notify *notify)
{
    const char *name = getenv("NOTIFY_SOCKET");
    int error;

    notify_clear(notify);
    if (name) {
        error = parse_socket(name, notify);
        if (!error)
            error = connect_to_manager(notify);
        if (error)
            log_warn("NOTIFY_SOCKET '%s' cannot be used (a path or '@' and a name is): %s", name,
                     strerror(-error));
        else
            notify->watchdog_ns = read_watchdog();
    }
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

void notify_close(struct notify *notify)
{
    if (notify->fd >= 0)
        close(notify->fd);
    notify_clear(notify);
}

static bool is_peer_gone(int error)
{
    return error == ECONNREFUSED || error == ENOTCONN || error == ECONNRESET || error == EPIPE;
}

/* A manager that has started anew listens at the same name. */
static bool tell(struct notify *notify, const char *message, int flags)
{
    size_t length = strlen(message);
    ssize_t sent;

    if (notify->fd < 0)
        return true;
    sent = send(notify->fd, message, length, flags | MSG_NOSIGNAL);
    if (sent < 0 && is_peer_gone(errno) && connect_to_manager(notify) == 0)
        sent = send(notify->fd, message, length, flags | MSG_NOSIGNAL);
    if (sent < 0)
        tell_trouble(notify, errno);
    else
        notify->is_trouble_told = false;
    return sent >= 0;
}

void notify_ready(struct notify *notify, const char *status)
{
    char message[MESSAGE_MAX];

    snprintf(message, sizeof(message), "READY=1\nSTATUS=%.*s", STATUS_MAX, status);
    tell(notify, message, 0);
}

void notify_reloading(struct notify *notify)
{
    char message[MESSAGE_MAX];

    snprintf(message, sizeof(message), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\nSTATUS=reloading",
             clock_now_ns() / NS_PER_US);
    tell(notify, message, 0);
}

void notify_stopping(struct notify *notify, const char *status, uint64_t drain_ms)
{
    char message[MESSAGE_MAX];

    snprintf(message, sizeof(message), "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRIu64 "\nSTATUS=%.*s",
             (drain_ms + STOP_SPARE_MS) * US_PER_MS, STATUS_MAX, status);
    tell(notify, message, 0);
}

bool notify_alive(struct notify *notify)
{
    return tell(notify, "WATCHDOG=1", MSG_DONTWAIT);
}
