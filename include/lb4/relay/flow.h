/* One direction of a connection: bytes from one socket to the other, used twice in each connection.
 *
 * A flow borrows both sockets: it never closes, shuts down or resets one, and never calls upward;
 * it returns what happened and tcp.c decides. It owns the bytes that were read and not yet sent: in
 * a lent pipe, or on the heap.
 *
 * It begins by copying through the thread's buffer, changes to splice(2) when a read says bulk, and
 * back when reads are small again; measured, each is the cheaper one in its place. */
#ifndef LB4_RELAY_FLOW_H
#define LB4_RELAY_FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/loop/loop.h"
#include "lb4/relay/outbox.h"
#include "lb4/relay/pipe.h"
#include "lb4/shared/stats.h"

enum {
    FLOW_BUFFER_BYTES =
        256 * 1024, /* of the thread's copy buffer; bulk copy measured best from 128 KiB on */
    FLOW_SPARE_BYTES = FLOW_BUFFER_BYTES / 2, /* of it at least, with posts in it */
    FLOW_READ_BYTES = 32 * 1024,    /* one read of which the reader is not known to take all: what a
                                       stalled one holds */
    FLOW_BULK_BYTES = 16 * 1024,    /* a read of so much says bulk; measured */
    FLOW_UNSENT_BYTES = 128 * 1024, /* of a bulk flow that its reader's socket holds beyond what is
                                       under way; measured */
    FLOW_UNSENT_EASED_BYTES = 512 * 1024, /* of one whose reader took a budget in one turn */
    FLOW_SMALL_READS = 3,          /* so many smaller splices in a row say it is over; measured */
    FLOW_BUDGET_BYTES = 512 * 1024 /* of one flow in one turn, before others have theirs; chosen */
};

/* One socket of a connection, as both flows see it. Edge-triggered: a bit stays until a system call
 * proves otherwise. */
struct flow_side {
    struct source source;
    int error; /* latched errno, 0 = none: the kernel reports it once, then it looks like an end
                  (K3, K4) */
    bool is_readable : 1; /* until EAGAIN, or a short read with nothing special pending */
    bool is_writable : 1; /* until EAGAIN */
    bool has_hangup : 1;  /* RDHUP or HUP was seen: a short read may have the end behind it */
    bool has_urgent : 1;  /* PRI was seen: reads stop short at the urgent mark with data behind it
                             (K22, K28) */
    bool is_tcp : 1;      /* else a Unix socket, of which reads may stop short elsewhere, too */
    bool is_early : 1;    /* its handshake may not be through (Fast Open): until it is, the kernel
                             puts the end off, so that no bytes may wait for the end */
};

enum flow_result {
    FLOW_IDLE,    /* everything read is sent, and there is nothing to read */
    FLOW_BLOCKED, /* the reader takes no more now */
    FLOW_AGAIN,   /* used up its budget; there may be more */
    FLOW_ENDED,   /* the writer's last byte is delivered: its reset when from->error is set, else
                     its end: shut the reader's socket down or close it now, as the kernel may wait
                     with the last bytes for that */
    FLOW_BROKEN   /* the reader is gone: to->error is set, what it did not take is dropped */
};

struct flow {
    struct pipe *pipe; /* lent while it holds bytes */
    uint8_t *rest; /* malloc: copied bytes that the reader did not take; NULL when there are none */
    uint32_t rest_at;       /* the first of them */
    uint32_t n_held;        /* bytes in the pipe, or in rest from rest_at on */
    uint8_t n_lead;         /* of n_held, first: bytes of ours, not the writer's */
    uint8_t n_small;        /* small splices in a row, 0..FLOW_SMALL_READS */
    bool is_bulk : 1;       /* the last read said so */
    bool is_ended : 1;      /* the writer's end or error was read */
    bool is_reined : 1;     /* the reader's socket takes no more than FLOW_UNSENT_BYTES */
    bool is_eased : 1;      /* than FLOW_UNSENT_EASED_BYTES */
    bool is_splice_off : 1; /* splice was refused on these sockets: copy for good */
    bool is_posted : 1;     /* its last bytes are in the thread's outbox, and in n_sent */
    uint64_t n_received;    /* bytes read */
    uint64_t n_sent;        /* of those, what the reader's kernel took */
};

/* What all flows of a thread share. */
struct flow_context {
    uint8_t *buffer; /* FLOW_BUFFER_BYTES; between calls only posts lie in it, at its start */
    struct outbox outbox;
    struct pipe_pool pipes;
    struct stats_worker *stats;
};

/* `n_prepared` as in pipe_pool_init(). Returns 0 or -ENOMEM. */
int flow_context_init(struct flow_context *context, uint32_t max_pipes, uint32_t n_prepared);
void flow_context_fini(struct flow_context *context);

/* FLOW_SPARE_BYTES of the thread's buffer that are anyone's until the next call: behind the posts.
 */
static inline uint8_t *flow_spare(const struct flow_context *context)
{
    return context->buffer + context->outbox.n_bytes;
}

/* Note the bits of an epoll event; an error is fetched and latched here. */
void flow_side_note(struct flow_side *side, uint32_t bits);

void flow_init(struct flow *flow);

/* The reader gets these bytes first, at most 255, of a flow that has not been pumped yet. They
 * count as neither received nor sent nor dropped. Returns 0 or -ENOMEM. */
int flow_begin_with(struct flow *flow, const uint8_t *bytes, size_t n);

/* Give back what it holds; bytes inside are dropped and counted. May be called twice. */
void flow_fini(struct flow *flow, struct flow_context *context);

/* Move what can be moved now, at most about FLOW_BUDGET_BYTES. Not to be called again after
 * FLOW_ENDED or FLOW_BROKEN. Thread: the connection's worker. */
enum flow_result flow_pump(struct flow *flow, struct flow_side *from, struct flow_side *to,
                           struct flow_context *context);

/* The post of a flow that was not sent whole: send the rest, or keep it. Then its connection is to
 * be looked at. */
void flow_settle(const struct post *post, struct flow_context *context);

#endif
