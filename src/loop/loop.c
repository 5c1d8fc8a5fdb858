#include "lb4/loop/loop.h"

#include <errno.h>
#include <unistd.h>

#include "lb4/base/clock.h"

enum {
    LOOP_KERNEL_MAX =
        LOOP_BATCH_MAX / 2, /* the rest is the list's, else a busy kernel starves it */
    BEHIND_MAX = 64         /* see loop_wait(); chosen */
};

void loop_clear(struct loop *loop)
{
    loop->epoll_fd = -1;
}

int loop_init(struct loop *loop)
{
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0)
        return -errno;
    list_init(&loop->again);
    loop->n_behind = 0;
    loop->now_ns = clock_now_ns();
    loop->told_ns = loop->now_ns;
    return 0;
}

void loop_fini(struct loop *loop)
{
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    loop->epoll_fd = -1;
}

void source_init(struct source *source, enum source_kind kind, int fd)
{
    list_init(&source->again);
    source->fd = fd;
    source->kind = kind;
    source->is_closed = false;
    source->is_armed = false;
}

int loop_add(struct loop *loop, struct source *source, enum loop_trigger trigger)
{
    struct epoll_event event = {.data.ptr = source};

    if (source->is_armed)
        return 0;
    switch (trigger) {
    case LOOP_LEVEL:
        event.events = EPOLLIN;
        break;
    case LOOP_EDGE:
        event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET;
        break;
    }
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, source->fd, &event) < 0)
        return -errno;
    source->is_armed = true;
    return 0;
}

void loop_remove(struct loop *loop, struct source *source)
{
    if (source->is_armed)
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
    source->is_armed = false;
    list_remove(&source->again);
}

/* No EPOLL_CTL_DEL: sockets here are close-on-exec and never duplicated, so that close(2) does it,
 * one system call less for each side of each connection. */
int source_take_fd(struct source *source)
{
    int fd = source->fd;

    list_remove(&source->again);
    source->fd = -1;
    source->is_armed = false;
    source->is_closed = true;
    return fd;
}

void loop_close(struct source *source)
{
    int fd = source_take_fd(source);

    if (fd >= 0)
        close(fd);
}

void loop_again(struct loop *loop, struct source *source)
{
    list_remove(&source->again);
    list_append(&loop->again, &source->again);
}

/* Sources that want another turn come after the kernel's events: who has just become ready has
 * waited longer than who has just been served. They are taken off the list before the batch is
 * worked off, so that asking again puts them into the turn after it. */
static size_t merge_again(struct loop *loop, size_t n)
{
    while (n < LOOP_BATCH_MAX) {
        struct list *first = list_take_first(&loop->again);

        if (!first)
            break;
        loop->batch[n].source = container_of(first, struct source, again);
        loop->batch[n].bits = 0;
        n++;
    }
    return n;
}

static void note_told(struct loop *loop, int n, uint64_t asked_ns)
{
    bool is_all = n >= 0 && n < LOOP_KERNEL_MAX;

    loop->n_behind = is_all || loop->n_behind == BEHIND_MAX ? 0 : loop->n_behind + 1;
    if (loop->n_behind == 0)
        loop->told_ns = asked_ns;
}

size_t loop_wait(struct loop *loop, int timeout_ms)
{
    struct epoll_event events[LOOP_KERNEL_MAX];
    uint64_t asked_ns = clock_now_ns();
    int n;

    if (!list_is_empty(&loop->again))
        timeout_ms = 0;
    n = epoll_wait(loop->epoll_fd, events, LOOP_KERNEL_MAX, timeout_ms);
    loop->now_ns = clock_now_ns();
    note_told(loop, n, asked_ns);
    for (int i = 0; i < n; i++) {
        loop->batch[i].source = events[i].data.ptr;
        loop->batch[i].bits = events[i].events;
    }
    return merge_again(loop, n > 0 ? (size_t)n : 0);
}
