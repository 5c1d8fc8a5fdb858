/* A turn of a flow, as a loop of two steps:
 *
 *    flush   send what is held; go on only when nothing is held any more
 *    fill    read once, by copy (recv and send at once) or by splice (into an empty pipe)
 *
 * Since fill runs only with nothing held, EAGAIN from a splice out of a socket has one meaning: the
 * socket is empty. With bytes in the pipe it could as well mean that the pipe's slots are full (K1,
 * K2).
 *
 *    from \ to     writable                         blocked
 *    readable      fill, flush, again               BLOCKED, nothing is read
 *    empty         IDLE                             IDLE, or BLOCKED with bytes held
 *    ended         ENDED once nothing is held       BLOCKED while bytes are held
 *    any           BROKEN once a send failed: what is held is dropped, and `from` is read no more
 */
#include "lb4/relay/flow.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lb4/base/sock.h"
#include "lb4/relay/flow_size.h"

/* What one step found. */
enum step {
    STEP_DONE,    /* go on with the next step */
    STEP_IDLE,    /* nothing to read */
    STEP_BLOCKED, /* the reader takes no more */
    STEP_BROKEN   /* the reader is gone */
};

int flow_context_init(struct flow_context *context, uint32_t max_pipes, uint32_t n_prepared)
{
    context->buffer = malloc(FLOW_BUFFER_BYTES);
    if (!context->buffer)
        return -ENOMEM;
    pipe_pool_init(&context->pipes, max_pipes, n_prepared);
    outbox_clear(&context->outbox);
    return 0;
}

void flow_context_fini(struct flow_context *context)
{
    pipe_pool_fini(&context->pipes);
    outbox_fini(&context->outbox);
    free(context->buffer);
    context->buffer = NULL;
}

void flow_side_note(struct flow_side *side, uint32_t bits)
{
    if (bits & (EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLHUP | EPOLLERR))
        side->is_readable = true;
    if (bits & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        side->is_writable = true;
    if (bits & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        side->has_hangup = true;
    if (bits & EPOLLPRI)
        side->has_urgent = true;
    if (bits & EPOLLERR && !side->error)
        side->error = sock_take_error(side->source.fd);
}

void flow_init(struct flow *flow)
{
    *flow = (struct flow){0};
}

int flow_begin_with(struct flow *flow, const uint8_t *bytes, size_t n)
{
    flow->rest = malloc(n);
    if (!flow->rest)
        return -ENOMEM;
    memcpy(flow->rest, bytes, n);
    flow->rest_at = 0;
    flow->n_held = (uint32_t)n;
    flow->n_lead = (uint8_t)n;
    return 0;
}

static void drop_held(struct flow *flow, struct flow_context *context)
{
    stats_add(&context->stats->dropped_bytes, flow->n_held - flow->n_lead);
    if (flow->pipe)
        pipe_discard(&context->pipes, flow->pipe);
    free(flow->rest);
    flow->pipe = NULL;
    flow->rest = NULL;
    flow->n_held = 0;
    flow->n_lead = 0;
}

void flow_fini(struct flow *flow, struct flow_context *context)
{
    if (flow->n_held)
        drop_held(flow, context);
}

/* The reader cannot be written to any more. Only that is over: its own last words may still wait in
 * its receive buffer, and the other flow reads them (FAULTS.md F06). That flow may have been told
 * the cause while a post was waiting, which then finds a dead socket only. */
static enum step break_sink(struct flow_side *to, int error)
{
    if (!to->error)
        to->error = error;
    to->has_hangup = true;
    to->is_readable = true;
    return STEP_BROKEN;
}

static void end_source(struct flow *flow, struct flow_side *from, int error)
{
    flow->is_ended = true;
    from->is_readable = false;
    if (error && !from->error)
        from->error = error;
}

/* splice(2) or the ring itself failed, not the socket: these sockets or this sandbox know none, or
 * it had no memory. recv(2) and send(2) decide what is left to do. */
static bool is_refusal(int error)
{
    return error == EINVAL || error == ENOSYS || error == EPERM || error == EOPNOTSUPP ||
           error == ENOMEM || error == ENOBUFS;
}

static void refuse_splice(struct flow *flow, struct flow_context *context)
{
    flow->is_splice_off = true;
    stats_add(&context->stats->splice_refused, 1);
}

static enum step send_failed(struct flow_side *to)
{
    if (!sock_would_block(errno))
        return break_sink(to, errno);
    to->is_writable = false;
    return STEP_BLOCKED;
}

/* Of bytes with the end right behind them, which the kernel then sends in one segment. What is held
 * goes without: a reset may have come meanwhile, in place of the end. */
static int send_flags(const struct flow *flow, const struct flow_side *to)
{
    return flow->is_ended && flow->n_held == 0 && !to->is_early ? MSG_NOSIGNAL | MSG_MORE
                                                                : MSG_NOSIGNAL;
}

/* Send until all is gone or the kernel says EAGAIN: only then a writable event is sure to come. */
static enum step send_bytes(struct flow *flow, struct flow_side *to, const uint8_t *bytes, size_t n,
                            size_t *ret_sent)
{
    int flags = send_flags(flow, to);

    *ret_sent = 0;
    while (*ret_sent < n) {
        ssize_t sent = send(to->source.fd, bytes + *ret_sent, n - *ret_sent, flags);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return send_failed(to);
        *ret_sent += (size_t)sent;
        flow->n_sent += (uint64_t)sent;
    }
    return STEP_DONE;
}

static void note_lead(struct flow *flow, size_t sent)
{
    uint8_t n = sent < flow->n_lead ? (uint8_t)sent : flow->n_lead;

    flow->n_sent -= n;
    flow->n_lead -= n;
}

static enum step flush_rest(struct flow *flow, struct flow_side *to)
{
    size_t sent;
    enum step step = send_bytes(flow, to, flow->rest + flow->rest_at, flow->n_held, &sent);

    note_lead(flow, sent);

    flow->rest_at += (uint32_t)sent;
    flow->n_held -= (uint32_t)sent;
    if (flow->n_held == 0) {
        free(flow->rest);
        flow->rest = NULL;
    }
    return step;
}

/* Move what a pipe holds to the heap and give the pipe back. Returns 0; -ENOMEM: nothing has
 * changed; -EIO: the pipe gave less than went in, and what it gave is lost. */
static int unload_pipe(struct flow *flow, struct flow_context *context)
{
    uint8_t *rest = malloc(flow->n_held);
    size_t at = 0;

    if (!rest)
        return -ENOMEM;
    while (at < flow->n_held) {
        ssize_t n = read(flow->pipe->read_fd, rest + at, flow->n_held - at);

        if (n <= 0)
            break;
        at += (size_t)n;
    }
    if (at < flow->n_held) {
        free(rest);
        return -EIO;
    }
    pipe_return(&context->pipes, flow->pipe);
    flow->pipe = NULL;
    flow->rest = rest;
    flow->rest_at = 0;
    return 0;
}

/* Whatever splice found wrong but a reset, the bytes in the pipe still take the way of a copy; if
 * the socket is the cause, send(2) says so. */
static enum step splice_out_failed(struct flow *flow, struct flow_side *to,
                                   struct flow_context *context)
{
    int error = errno;
    enum step step;

    if (sock_would_block(error) || sock_error_is_reset(error))
        return send_failed(to);
    refuse_splice(flow, context);
    if (unload_pipe(flow, context))
        return break_sink(to, error);
    step = flush_rest(flow, to);
    if (step == STEP_BROKEN && !is_refusal(error))
        to->error = error; /* told once: send(2) knows only that the socket is dead */
    return step;
}

static enum step flush_pipe(struct flow *flow, struct flow_side *to, struct flow_context *context)
{
    while (flow->n_held) {
        ssize_t n = splice(flow->pipe->read_fd, NULL, to->source.fd, NULL, flow->n_held,
                           SPLICE_F_NONBLOCK | SPLICE_F_MOVE);

        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            return break_sink(to, EIO); /* an empty pipe: what is held is not what went in */
        if (n < 0)
            return splice_out_failed(flow, to, context);
        flow->n_held -= (uint32_t)n;
        flow->n_sent += (uint64_t)n;
    }
    pipe_return(&context->pipes, flow->pipe);
    flow->pipe = NULL;
    return STEP_DONE;
}

/* While pipes are short, few bytes that wait in one go to the heap, so that readers who have
 * stopped cannot keep all pipes from those who read. */
static enum step leave_pipe(struct flow *flow, struct flow_side *to, struct flow_context *context)
{
    if (flow->n_held > 2 * FLOW_READ_BYTES || !pipe_pool_is_scarce(&context->pipes))
        return STEP_BLOCKED;
    return unload_pipe(flow, context) == -EIO ? break_sink(to, EIO) : STEP_BLOCKED;
}

static enum step flow_flush(struct flow *flow, struct flow_side *to, struct flow_context *context)
{
    enum step step;

    if (!flow->n_held)
        return STEP_DONE;
    if (to->error)
        return STEP_BROKEN;
    if (!to->is_writable)
        return STEP_BLOCKED;
    step = flow->pipe ? flush_pipe(flow, to, context) : flush_rest(flow, to);
    return step == STEP_BLOCKED && flow->pipe ? leave_pipe(flow, to, context) : step;
}

/* The socket is empty when a read came back short, unless it stopped at an urgent mark: this saves
 * the read that would only say EAGAIN. Or 0: once the end was told, nothing can come in any more,
 * and Linux says EPOLLERR with a hang-up that is a failure (tcp_poll()). On a Unix socket a read
 * stops short at descriptors that are passed, too, so that there the end is read. */
static void note_read(struct flow *flow, struct flow_side *from, size_t n, size_t asked)
{
    flow->n_received += n;
    if (n == asked || from->has_urgent)
        return;
    if (!from->has_hangup)
        from->is_readable = false;
    else if (from->is_tcp && !from->error)
        end_source(flow, from, 0);
}

static enum step read_failed(struct flow *flow, struct flow_side *from)
{
    if (sock_would_block(errno)) {
        from->is_readable = false;
        from->has_urgent = false;
        return STEP_IDLE;
    }
    end_source(flow, from, errno);
    return STEP_DONE;
}

/* Keep what a short send left. Without memory the connection cannot go on: its bytes would be lost.
 */
static enum step keep_rest(struct flow *flow, struct flow_side *to, const uint8_t *bytes, size_t n)
{
    flow->rest = malloc(n);
    if (!flow->rest)
        return break_sink(to, ENOMEM);
    memcpy(flow->rest, bytes, n);
    flow->rest_at = 0;
    flow->n_held = (uint32_t)n;
    return STEP_BLOCKED;
}

/* Send what was read, the bytes behind the posts in the thread's buffer. */
static enum step send_read(struct flow *flow, struct flow_side *to, const uint8_t *bytes, size_t n,
                           struct flow_context *context)
{
    size_t sent;
    enum step step = send_bytes(flow, to, bytes, n, &sent);

    if (step == STEP_BLOCKED)
        return keep_rest(flow, to, bytes + sent, n - sent);
    if (step == STEP_BROKEN)
        stats_add(&context->stats->dropped_bytes, n - sent);
    return step;
}

/* Not the first bytes of a flow: who has just come should not wait, and a server that leaves at
 * once is another story (connect.h). Nor the last, which leave with the end. */
static bool may_post(const struct flow *flow, const struct flow_side *from,
                     const struct flow_side *to, size_t n, const struct flow_context *context)
{
    return n <= OUTBOX_POST_BYTES && flow->n_sent > 0 && !from->is_readable && !from->has_hangup &&
           !from->error && !to->is_early && outbox_has_room(&context->outbox);
}

static enum step post(struct flow *flow, struct flow_side *to, const uint8_t *bytes, size_t n,
                      struct flow_context *context)
{
    const struct post post = {.flow = flow, .to = to, .bytes = bytes, .n = (uint32_t)n};

    outbox_post(&context->outbox, &post);
    flow->is_posted = true;
    flow->n_sent += n;
    return STEP_DONE;
}

void flow_settle(const struct post *post, struct flow_context *context)
{
    struct flow *flow = post->flow;
    const uint8_t *rest = post->bytes + (post->n - post->n_unsent);

    flow->n_sent -= post->n_unsent;
    if (!post->error || sock_would_block(post->error) || is_refusal(post->error)) {
        send_read(flow, post->to, rest, post->n_unsent, context);
        return;
    }
    break_sink(post->to, post->error);
    stats_add(&context->stats->dropped_bytes, post->n_unsent);
}

static enum step fill_by_copy(struct flow *flow, struct flow_side *from, struct flow_side *to,
                              struct flow_context *context)
{
    uint8_t *buffer = flow_spare(context);
    size_t asked = flow_copy_size(flow, to, FLOW_BUFFER_BYTES - context->outbox.n_bytes);
    ssize_t n = recv(from->source.fd, buffer, asked, 0);

    if (n < 0)
        return errno == EINTR ? STEP_DONE : read_failed(flow, from);
    if (n == 0) {
        end_source(flow, from, 0);
        return STEP_DONE;
    }
    note_read(flow, from, (size_t)n, asked);
    flow->is_bulk = n >= FLOW_BULK_BYTES;
    flow->n_small = 0;
    stats_add(&context->stats->relayed_copy, (uint64_t)n);
    if (may_post(flow, from, to, (size_t)n, context))
        return post(flow, to, buffer, (size_t)n, context);
    return send_read(flow, to, buffer, (size_t)n, context);
}

/* Splice cannot pass an urgent mark: with data behind it, it says EAGAIN on a non-blocking socket
 * and 0 once the FIN has come (tests/unit/kernel/test_splice.c). recv(2) steps over the mark, so it
 * has the last word on both answers. */
static bool is_splice_at_mark(const struct flow_side *from, ssize_t n, int error)
{
    return n == 0 || (sock_would_block(error) && from->has_urgent);
}

/* Copy from now on. If the socket was the cause, that was told once and looks like an end to
 * recv(2), with nothing before it. */
static enum step splice_in_failed(struct flow *flow, struct flow_side *from, struct flow_side *to,
                                  struct flow_context *context)
{
    int error = errno;
    uint64_t before = flow->n_received;
    enum step step;

    refuse_splice(flow, context);
    step = fill_by_copy(flow, from, to, context);
    if (flow->is_ended && flow->n_received == before && !from->error && !is_refusal(error))
        from->error = error;
    return step;
}

/* A pipe that got bytes is flushed by the next turn of the loop. */
static enum step fill_by_splice(struct flow *flow, struct flow_side *from, struct flow_side *to,
                                struct flow_context *context)
{
    ssize_t n = splice(from->source.fd, NULL, flow->pipe->write_fd, NULL,
                       flow_splice_size(flow, to, context), SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    int error = n < 0 ? errno : 0;

    if (n > 0) {
        flow->n_held = (uint32_t)n;
        flow->n_received += (uint64_t)n;
        flow->n_small = n < FLOW_BULK_BYTES ? flow->n_small + 1 : 0;
        flow->is_bulk = flow->n_small < FLOW_SMALL_READS;
        stats_add(&context->stats->relayed_splice, (uint64_t)n);
        return STEP_DONE;
    }
    pipe_return(&context->pipes, flow->pipe);
    flow->pipe = NULL;
    if (is_splice_at_mark(from, n, error))
        return fill_by_copy(flow, from, to, context);
    errno = error;
    if (error == EINTR)
        return STEP_DONE;
    if (sock_would_block(error))
        return read_failed(flow, from);
    return splice_in_failed(flow, from, to, context);
}

static enum step flow_fill(struct flow *flow, struct flow_side *from, struct flow_side *to,
                           struct flow_context *context)
{
    if (!from->is_readable)
        return STEP_IDLE;
    if (to->error)
        return STEP_BROKEN;
    if (!to->is_writable)
        return STEP_BLOCKED;
    if (flow->is_bulk && !flow->is_splice_off)
        flow->pipe = pipe_borrow(&context->pipes);
    if (flow->pipe) {
        flow_rein_in(flow, to);
        return fill_by_splice(flow, from, to, context);
    }
    return fill_by_copy(flow, from, to, context);
}

static enum flow_result step_result(enum step step)
{
    static const enum flow_result results[] = {[STEP_DONE] = FLOW_AGAIN,
                                               [STEP_IDLE] = FLOW_IDLE,
                                               [STEP_BLOCKED] = FLOW_BLOCKED,
                                               [STEP_BROKEN] = FLOW_BROKEN};

    return results[step];
}

enum flow_result flow_pump(struct flow *flow, struct flow_side *from, struct flow_side *to,
                           struct flow_context *context)
{
    uint64_t budget_end = flow->n_received + FLOW_BUDGET_BYTES;

    for (;;) {
        enum step step = flow_flush(flow, to, context);

        if (step == STEP_DONE && flow->is_ended)
            return FLOW_ENDED;
        if (step == STEP_DONE && flow->n_received >= budget_end) {
            flow_ease(flow, to);
            return FLOW_AGAIN;
        }
        if (step == STEP_DONE)
            step = flow_fill(flow, from, to, context);
        if (step == STEP_BROKEN)
            drop_held(flow, context);
        if (step != STEP_DONE)
            return step_result(step);
    }
}
