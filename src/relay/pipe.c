#include "lb4/relay/pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* Growing fails with EPERM above pipe-max-size, and once the user's quota is used up (pipe(7)):
 * half as much may still be granted. What holds in the end is read back. */
static size_t pipe_grow(int fd)
{
    int wanted = PIPE_WANTED_BYTES;
    int cap;

    while (wanted >= PIPE_USEFUL_BYTES && fcntl(fd, F_SETPIPE_SZ, wanted) < 0)
        wanted /= 2;
    cap = fcntl(fd, F_GETPIPE_SZ);
    return cap > 0 ? (size_t)cap : 0;
}

static void pipe_close(struct pipe *pipe)
{
    close(pipe->read_fd);
    close(pipe->write_fd);
    free(pipe);
}

static struct pipe *pipe_open(void)
{
    struct pipe *pipe = malloc(sizeof(*pipe));
    int fds[2];

    if (!pipe)
        return NULL;
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0) {
        free(pipe);
        return NULL;
    }
    *pipe = (struct pipe){.read_fd = fds[0], .write_fd = fds[1], .cap_bytes = pipe_grow(fds[0])};
    if (pipe->cap_bytes < PIPE_USEFUL_BYTES) {
        pipe_close(pipe);
        return NULL;
    }
    return pipe;
}

static void pool_push(struct pipe_pool *pool, struct pipe *pipe)
{
    pipe->next = pool->idle;
    pool->idle = pipe;
    pool->n_idle++;
}

void pipe_pool_init(struct pipe_pool *pool, uint32_t max_pipes, uint32_t n_prepared)
{
    *pool = (struct pipe_pool){.max_pipes = max_pipes, .max_idle = n_prepared};
    for (uint32_t i = 0; i < n_prepared && i < max_pipes; i++) {
        struct pipe *pipe = pipe_open();

        if (!pipe)
            break;
        pool_push(pool, pipe);
    }
}

void pipe_pool_fini(struct pipe_pool *pool)
{
    while (pool->idle) {
        struct pipe *pipe = pool->idle;

        pool->idle = pipe->next;
        pipe_close(pipe);
    }
    pool->n_idle = 0;
}

struct pipe *pipe_borrow(struct pipe_pool *pool)
{
    struct pipe *pipe = pool->idle;

    if (pipe) {
        pool->idle = pipe->next;
        pool->n_idle--;
        pool->n_lent++;
        return pipe;
    }
    if (pool->n_lent >= pool->max_pipes)
        return NULL;
    if (pool->n_skipped > 0 && pool->n_skipped++ < PIPE_RETRY)
        return NULL;
    pipe = pipe_open();
    pool->n_skipped = pipe ? 0 : 1;
    if (pipe)
        pool->n_lent++;
    return pipe;
}

void pipe_return(struct pipe_pool *pool, struct pipe *pipe)
{
    pool->n_lent--;
    if (pool->n_idle < pool->max_idle)
        pool_push(pool, pipe);
    else
        pipe_close(pipe);
}

void pipe_discard(struct pipe_pool *pool, struct pipe *pipe)
{
    pool->n_lent--;
    pipe_close(pipe);
}

bool pipe_pool_is_scarce(const struct pipe_pool *pool)
{
    return pool->n_skipped > 0 || pool->n_lent * 2 > pool->max_pipes;
}
