/* Small sends of one turn, which leave together in one system call (base/uring.h).
 *
 * A flow that has read a few bytes posts them here in place of sending them, and counts them as
 * sent; the bytes stay where they were read, in the thread's buffer. They leave before anything
 * else happens to their connection, and at the end of the turn at the latest; what the kernel then
 * did not take comes back to the flow (flow_settle()). A turn with few events gains nothing from
 * waiting: then the outbox stays shut. So it does once the kernel has refused the ring for good,
 * while it runs. Thread: the worker's. */
#ifndef LB4_RELAY_OUTBOX_H
#define LB4_RELAY_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/uring.h"

struct flow;
struct flow_side;

/* Slower, for tests: those with few connections would hardly come this way otherwise. */
#ifdef LB4_POST_ALWAYS
enum { OUTBOX_LEAST_EVENTS = 1 };
#else
enum { OUTBOX_LEAST_EVENTS = 4 /* of a turn in which it opens; measured */ };
#endif

enum {
    OUTBOX_MAX = 64,         /* posts; chosen */
    OUTBOX_POST_BYTES = 2048 /* a longer send is worth its own call; chosen */
};

struct post {
    struct flow *flow;
    struct flow_side *to;
    const uint8_t *bytes;
    uint32_t n;
    uint32_t n_unsent; /* of the last bytes, once submitted */
    int error;         /* as uring_failure has it; 0 too if it was not submitted */
};

struct outbox {
    struct uring uring;
    bool is_open; /* in this turn */
    int loss;     /* -errno: why the ring is gone that was there; 0 = it is not, or that was told */
    uint32_t n;
    uint32_t n_bytes; /* of the thread's buffer, from its start, that posts lie in */
    struct post posts[OUTBOX_MAX];
};

/* Without a ring: it never opens. */
void outbox_clear(struct outbox *outbox);

/* Get it a ring. On failure it is as after outbox_clear(). Returns 0, or as uring_init(). */
int outbox_init(struct outbox *outbox);
void outbox_fini(struct outbox *outbox);

/* A turn with so many events begins. */
void outbox_begin(struct outbox *outbox, size_t n_events);

/* It is open and has room. */
bool outbox_has_room(const struct outbox *outbox);

/* `bytes` lie in the thread's buffer at n_bytes. There is room, and n <= OUTBOX_POST_BYTES. */
void outbox_post(struct outbox *outbox, const struct post *post);

/* Send all. A ring that is refused for good is closed. Returns how many posts were not sent whole:
 * they are now the first of outbox->posts, until the next is posted; there is room for OUTBOX_MAX
 * again. */
size_t outbox_submit(struct outbox *outbox);

#endif
