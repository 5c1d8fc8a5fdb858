/* One worker's pipes for splice(2): lent to a direction only while bytes are inside, so that one
 * pipe serves every connection that is not blocked.
 *
 * A pipe comes back only when it is proven empty; one that still holds bytes is closed, never
 * pooled: the next borrower would deliver them to a stranger (FAULTS.md F13). A pool belongs to one
 * thread. */
#ifndef LB4_RELAY_PIPE_H
#define LB4_RELAY_PIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PIPE_WANTED_BYTES =
        1024 * 1024,   /* asked for; /proc/sys/fs/pipe-max-size without privilege, pipe(7) */
    PIPE_RETRY = 1024, /* borrows without asking the kernel again after it refused; chosen */
    PIPE_USEFUL_BYTES =
        256 *
        1024 /* below, copying is cheaper: measured, 64 KiB pipes cost 0.62 CPU s/GB, copy 0.41 */
};

struct pipe {
    struct pipe *next; /* in pool->idle */
    int read_fd;
    int write_fd;
    size_t cap_bytes; /* as the kernel granted it, F_GETPIPE_SZ */
};

struct pipe_pool {
    struct pipe *idle;
    uint32_t n_idle;
    uint32_t n_lent;
    uint32_t max_idle; /* more are closed when they come back */
    uint32_t max_pipes;
    uint32_t n_skipped; /* borrowed in vain since the kernel granted no useful pipe; 0 = it does */
};

/* `n_prepared` pipes are made now and kept: those that root makes before it drops its privileges do
 * not count against the quota of the user that lb4 runs as (FAULTS.md K10). More, up to
 * `max_pipes`, come and go with the need. What the kernel refuses is done without. */
void pipe_pool_init(struct pipe_pool *pool, uint32_t max_pipes, uint32_t n_prepared);
void pipe_pool_fini(struct pipe_pool *pool);

/* An empty pipe, or NULL: none left, none granted. Copy instead. */
struct pipe *pipe_borrow(struct pipe_pool *pool);
/* Only when everything that was put in has been taken out. */
void pipe_return(struct pipe_pool *pool, struct pipe *pipe);
/* Close a pipe that holds bytes. */
void pipe_discard(struct pipe_pool *pool, struct pipe *pipe);

/* More than half of the pipes are lent, or the kernel has lately refused one: whoever waits with
 * few bytes in a pipe should move them to the heap. */
bool pipe_pool_is_scarce(const struct pipe_pool *pool);

#endif
