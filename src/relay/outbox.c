#include "lb4/relay/outbox.h"

#include "lb4/relay/flow.h"

_Static_assert(OUTBOX_MAX *OUTBOX_POST_BYTES <= FLOW_BUFFER_BYTES - FLOW_SPARE_BYTES,
               "the other half is for those who read much");

enum {
    LINE_BYTES = 64 /* of a CPU's cache: posts do not share one */
};

void outbox_clear(struct outbox *outbox)
{
    outbox->is_open = false;
    outbox->loss = 0;
    outbox->n = 0;
    outbox->n_bytes = 0;
    uring_clear(&outbox->uring);
}

int outbox_init(struct outbox *outbox)
{
    outbox_clear(outbox);
    return uring_init(&outbox->uring, OUTBOX_MAX);
}

void outbox_fini(struct outbox *outbox)
{
    uring_fini(&outbox->uring);
}

void outbox_begin(struct outbox *outbox, size_t n_events)
{
    outbox->is_open = n_events >= OUTBOX_LEAST_EVENTS && uring_is_open(&outbox->uring);
}

bool outbox_has_room(const struct outbox *outbox)
{
    return outbox->is_open && outbox->n < OUTBOX_MAX;
}

void outbox_post(struct outbox *outbox, const struct post *post)
{
    uint32_t n_lines = (post->n + LINE_BYTES - 1) / LINE_BYTES;

    outbox->posts[outbox->n++] = *post;
    outbox->n_bytes += n_lines * LINE_BYTES;
}

/* A descriptor that was closed may be another's by now. */
static uint32_t queue_all(struct outbox *outbox)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < outbox->n; i++) {
        struct post post = outbox->posts[i];

        if (post.to->source.is_closed)
            continue;
        uring_send(&outbox->uring, post.to->source.fd, post.bytes, post.n);
        outbox->posts[n++] = post;
    }
    return n;
}

static size_t gather_failed(struct outbox *outbox, uint32_t n)
{
    size_t n_failed = 0;

    for (uint32_t i = 0; i < n; i++)
        if (outbox->posts[i].n_unsent)
            outbox->posts[n_failed++] = outbox->posts[i];
    return n_failed;
}

/* A sandbox that has come later, or a ring that the kernel has shut: asked each turn it would cost
 * a system call and bring nothing. */
static void give_up(struct outbox *outbox, int error)
{
    uring_fini(&outbox->uring);
    outbox->is_open = false;
    outbox->loss = error;
}

/* The kernel may tell of failures in any order: mark, then gather. */
size_t outbox_submit(struct outbox *outbox)
{
    uint32_t n = queue_all(outbox);
    uint32_t n_taken;
    struct uring_failure failure;
    size_t n_marked = 0;
    int error = uring_submit(&outbox->uring, &n_taken);

    outbox->n = 0;
    outbox->n_bytes = 0;
    if (error)
        for (uint32_t i = n_taken; i < n; i++, n_marked++)
            outbox->posts[i].n_unsent = outbox->posts[i].n;
    for (; uring_next_failure(&outbox->uring, &failure); n_marked++) {
        struct post *post = &outbox->posts[failure.index];

        post->n_unsent = post->n - failure.n_sent;
        post->error = failure.error;
    }
    if (error && !uring_error_passes(error))
        give_up(outbox, error);
    return n_marked ? gather_failed(outbox, n) : 0;
}
