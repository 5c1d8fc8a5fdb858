#include "lb4/control/door.h"

#include <errno.h>
#include <sys/socket.h>

#include "lb4/base/clock.h"
#include "lb4/base/sock.h"

enum {
    CALLERS_MAX = 64, /* in one turn, chosen */
    PAUSE_MS = 100    /* after an accept that failed for want of descriptors or memory; chosen */
};

void door_init(struct door *door, enum source_kind kind, int fd)
{
    *door = (struct door){0};
    source_init(&door->source, kind, fd);
}

int door_open(struct door *door, struct loop *loop)
{
    door->loop = loop;
    return loop_add(loop, &door->source, LOOP_LEVEL);
}

int door_take_fd(struct door *door)
{
    return source_take_fd(&door->source);
}

void door_on_event(struct door *door)
{
    door->has_callers = true;
}

static void pause_callers(struct door *door)
{
    loop_remove(door->loop, &door->source);
    door->resume_ns = door->loop->now_ns + PAUSE_MS * CLOCK_NS_PER_MS;
}

static int accept_one(struct door *door)
{
    int fd = accept4(door->source.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0 && sock_out_of_resources(errno))
        pause_callers(door);
    return fd;
}

int door_accept(struct door *door, bool has_room)
{
    int fd = -1;

    if (door->n_callers == 0)
        door->was_full = !has_room;
    if (door->has_callers && door->n_callers < CALLERS_MAX && (has_room || door->was_full))
        fd = accept_one(door);
    door->has_callers = fd >= 0;
    door->n_callers = fd >= 0 ? door->n_callers + 1 : 0;
    return fd;
}

void door_end_turn(struct door *door)
{
    bool is_back;

    if (door->resume_ns == 0 || door->resume_ns > door->loop->now_ns)
        return;
    is_back = loop_add(door->loop, &door->source, LOOP_LEVEL) == 0;
    door->resume_ns = is_back ? 0 : door->loop->now_ns + PAUSE_MS * CLOCK_NS_PER_MS;
}

uint64_t door_due_ns(const struct door *door)
{
    return door->resume_ns ? door->resume_ns : UINT64_MAX;
}
