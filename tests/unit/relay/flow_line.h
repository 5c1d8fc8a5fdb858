/* For tests of relay/flow: a line is writer -> flow -> reader over real sockets; several lines may
 * share the context of one thread. */
#ifndef TEST_FLOW_LINE_H
#define TEST_FLOW_LINE_H

#include <string.h>
#include <sys/ioctl.h>

#include "lb4/relay/flow.h"

#include "sockets.h"

struct desk {
    struct loop loop;
    struct stats_block stats;
    struct flow_context context;
};

struct line {
    struct desk *desk;
    struct flow flow;
    struct flow_side from;
    struct flow_side to;
    int writer_fd;
    int reader_fd;
    uint64_t base; /* of its stream in sockets_byte() */
    uint64_t n_written;
    uint64_t n_read;
};

/* One pipe of `max_pipes` is prepared, so that a pipe that came back shows as idle. */
static inline void desk_open(struct desk *desk, uint32_t max_pipes)
{
    assert_int_equal(loop_init(&desk->loop), 0);
    assert_int_equal(stats_block_init(&desk->stats, 1, 1), 0);
    desk->context.stats = &desk->stats.worker;
    assert_int_equal(flow_context_init(&desk->context, max_pipes, 1), 0);
}

/* All lines are closed: every pipe must have come back. */
static inline void desk_close(struct desk *desk)
{
    assert_int_equal(desk->context.pipes.n_lent, 0);
    flow_context_fini(&desk->context);
    stats_block_fini(&desk->stats);
    loop_fini(&desk->loop);
}

static inline void line_side_open(struct line *line, struct flow_side *side, int fd)
{
    *side = (struct flow_side){0};
    source_init(&side->source, SOURCE_CLIENT, fd);
    assert_int_equal(loop_add(&line->desk->loop, &side->source, LOOP_EDGE), 0);
}

static inline void line_open_on(struct line *line, struct desk *desk, struct pair in,
                                struct pair out)
{
    *line = (struct line){.desk = desk, .writer_fd = in.far, .reader_fd = out.far};
    flow_init(&line->flow);
    line_side_open(line, &line->from, in.near);
    line_side_open(line, &line->to, out.near);
}

/* `buffer_bytes` towards the reader, 0 = the kernel's own. */
static inline void line_open(struct line *line, struct desk *desk, int buffer_bytes)
{
    line_open_on(line, desk, sockets_pair(0), sockets_pair(buffer_bytes));
    line->from.is_tcp = true;
    line->to.is_tcp = true;
}

static inline void line_close(struct line *line)
{
    flow_fini(&line->flow, &line->desk->context);
    flow_fini(&line->flow, &line->desk->context);
    loop_close(&line->from.source);
    loop_close(&line->to.source);
    if (line->writer_fd >= 0)
        close(line->writer_fd);
    if (line->reader_fd >= 0)
        close(line->reader_fd);
}

/* Let the sides know what epoll says now. */
static inline void desk_note(struct desk *desk)
{
    size_t n = loop_wait(&desk->loop, 0);

    for (size_t i = 0; i < n; i++) {
        struct flow_side *side = container_of(desk->loop.batch[i].source, struct flow_side, source);

        flow_side_note(side, desk->loop.batch[i].bits);
    }
}

/* With the end passed on, as FLOW_ENDED asks for. */
static inline enum flow_result line_pump_noted(struct line *line)
{
    enum flow_result result = flow_pump(&line->flow, &line->from, &line->to, &line->desk->context);

    if (result == FLOW_ENDED && !line->from.error)
        shutdown(line->to.source.fd, SHUT_WR);
    return result;
}

static inline enum flow_result line_pump(struct line *line)
{
    desk_note(line->desk);
    return line_pump_noted(line);
}

static inline void line_write(struct line *line, size_t n)
{
    line->n_written += sockets_send(line->writer_fd, line->base + line->n_written, n);
}

/* At most n bytes; returns false at the end of the stream. */
static inline bool line_read(struct line *line, size_t n)
{
    ssize_t got = sockets_read(line->reader_fd, line->base + line->n_read, n);

    assert_true(got >= 0 || got == -EAGAIN);
    line->n_read += got > 0 ? (uint64_t)got : 0;
    return got != 0;
}

/* Until the bytes written have arrived in the flow's receive buffer. */
static inline void line_wait_queued(const struct flow_side *side, size_t n)
{
    struct patience patience = patience_new();
    int queued = 0;

    while ((size_t)queued < n && patience_holds(&patience))
        assert_int_equal(ioctl(side->source.fd, FIONREAD, &queued), 0);
}

/* Until the flow has come to this result; the reader does nothing. */
static inline void line_pump_until(struct line *line, enum flow_result wanted)
{
    struct patience patience = patience_new();

    while (line_pump(line) != wanted && patience_holds(&patience))
        ;
}

/* Until the reader has this many bytes. */
static inline void line_pump_through(struct line *line, uint64_t n_read)
{
    struct patience patience = patience_new();

    while (line->n_read < n_read && patience_holds(&patience)) {
        assert_int_not_equal(line_pump(line), FLOW_BROKEN);
        line_read(line, 65536);
    }
}

/* The writer's end: what is left reaches the reader, then FLOW_ENDED. */
static inline void line_finish(struct line *line)
{
    struct patience patience = patience_new();

    shutdown(line->writer_fd, SHUT_WR);
    while (line_pump(line) != FLOW_ENDED && patience_holds(&patience))
        line_read(line, 65536);
    assert_int_equal(line->flow.n_sent, line->n_written);
    assert_int_equal(line->flow.n_held, 0);
    while (line->n_read < line->n_written && patience_holds(&patience))
        line_read(line, 65536);
}

enum { STALL_BUFFER = 4096 }; /* of a reader that is soon full */

/* Open a line and fill it until bytes are held: on the heap, or in a pipe where the pool is not
 * scarce. */
static inline void line_stall(struct line *line, struct desk *desk, uint32_t max_pipes)
{
    const stats_counter *moved =
        max_pipes ? &desk->stats.worker.relayed_splice : &desk->stats.worker.relayed_copy;
    struct patience patience = patience_new();

    desk_open(desk, max_pipes);
    line_open(line, desk, STALL_BUFFER);
    while (stats_read(moved) == 0 && patience_holds(&patience)) {
        line_write(line, 300000);
        line_pump(line);
        line_read(line, 65536);
    }
    while (line_pump(line) != FLOW_BLOCKED && patience_holds(&patience))
        line_write(line, 300000);
    assert_true(line->flow.n_held > 0);
}

#endif
