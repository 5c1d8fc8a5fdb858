/* The ring is a bounded queue of cells with sequence numbers. Cell i starts with sequence i. A
 * poster may claim position p when its cell's sequence is p, and publishes it with p + 1; the owner
 * may take position p when the sequence is p + 1, and frees the cell for the next round with p +
 * MAILBOX_RING. Posters race for the tail by compare-and-swap; the owner is alone at the head. */
#include "lb4/shared/mailbox.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lb4/base/clock.h"

int mailbox_init(struct mailbox *mailbox)
{
    atomic_init(&mailbox->pending, 0);
    atomic_init(&mailbox->done, 0);
    atomic_init(&mailbox->n_pongs, 0);
    atomic_init(&mailbox->asked, 0);
    atomic_init(&mailbox->answered, 0);
    mailbox->heard = 0;
    atomic_init(&mailbox->tail, 0);
    atomic_init(&mailbox->head, 0);
    for (uint64_t i = 0; i < MAILBOX_RING; i++)
        atomic_init(&mailbox->cells[i].sequence, i);
    mailbox->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return mailbox->event_fd < 0 ? -errno : 0;
}

void mailbox_fini(struct mailbox *mailbox)
{
    struct mailbox_handoff handoff;

    while (mailbox_receive(mailbox, &handoff))
        close(handoff.fd);
    if (mailbox->event_fd >= 0)
        close(mailbox->event_fd);
    mailbox->event_fd = -1;
}

/* Release: what was written before the post is seen by the owner's acquire in mailbox_take(). */
void mailbox_post(struct mailbox *mailbox, uint32_t requests)
{
    const uint64_t one = 1;
    uint32_t before = atomic_fetch_or_explicit(&mailbox->pending, requests, memory_order_acq_rel);

    /* An eventfd refuses only at 2^64 - 2 unread posts; one post at a time is outstanding. */
    if (before == 0 && write(mailbox->event_fd, &one, sizeof(one)) < 0)
        return;
}

/* The eventfd is emptied before the bits are taken: a post in between writes it again, so that the
 * owner wakes once too often rather than never. */
uint32_t mailbox_take(struct mailbox *mailbox)
{
    uint64_t count;
    uint32_t requests;

    if (read(mailbox->event_fd, &count, sizeof(count)) < 0)
        count = 0;
    requests = atomic_exchange_explicit(&mailbox->pending, 0, memory_order_acq_rel);
    if (requests & MAILBOX_SYNC)
        mailbox->heard = atomic_load_explicit(&mailbox->asked, memory_order_relaxed);
    return requests;
}

void mailbox_doze(const struct mailbox *mailbox, uint64_t duration_ns)
{
    struct pollfd pending = {.fd = mailbox->event_fd, .events = POLLIN};
    struct timespec duration = {.tv_sec = (time_t)(duration_ns / CLOCK_NS_PER_S),
                                .tv_nsec = (long)(duration_ns % CLOCK_NS_PER_S)};

    ppoll(&pending, 1, &duration, NULL);
}

void mailbox_ask(struct mailbox *mailbox, uint64_t number)
{
    atomic_store_explicit(&mailbox->asked, number, memory_order_relaxed);
    mailbox_post(mailbox, MAILBOX_SYNC);
}

/* Release: what the owner did in this turn, and before, is over for who sees the answer. */
bool mailbox_answer(struct mailbox *mailbox)
{
    if (mailbox->heard == atomic_load_explicit(&mailbox->answered, memory_order_relaxed))
        return false;
    atomic_store_explicit(&mailbox->answered, mailbox->heard, memory_order_release);
    return true;
}

uint64_t mailbox_answered(const struct mailbox *mailbox)
{
    return atomic_load_explicit(&mailbox->answered, memory_order_acquire);
}

void mailbox_mark_done(struct mailbox *mailbox, uint32_t requests)
{
    atomic_fetch_or_explicit(&mailbox->done, requests, memory_order_release);
}

bool mailbox_is_done(const struct mailbox *mailbox, uint32_t requests)
{
    return (atomic_load_explicit(&mailbox->done, memory_order_acquire) & requests) == requests;
}

/* Relaxed: it tells of life alone, of nothing that was done before. */
void mailbox_pong(struct mailbox *mailbox)
{
    atomic_fetch_add_explicit(&mailbox->n_pongs, 1, memory_order_relaxed);
}

uint64_t mailbox_pongs(const struct mailbox *mailbox)
{
    return atomic_load_explicit(&mailbox->n_pongs, memory_order_relaxed);
}

bool mailbox_hand_over(struct mailbox *mailbox, const struct mailbox_handoff *handoff)
{
    uint64_t tail = atomic_load_explicit(&mailbox->tail, memory_order_relaxed);

    for (;;) {
        struct mailbox_cell *cell = &mailbox->cells[tail % MAILBOX_RING];
        uint64_t sequence = atomic_load_explicit(&cell->sequence, memory_order_acquire);

        if (sequence < tail)
            return false;
        if (sequence > tail) {
            tail = atomic_load_explicit(&mailbox->tail, memory_order_relaxed);
        } else if (atomic_compare_exchange_weak_explicit(&mailbox->tail, &tail, tail + 1,
                                                         memory_order_relaxed,
                                                         memory_order_relaxed)) {
            cell->handoff = *handoff;
            atomic_store_explicit(&cell->sequence, tail + 1, memory_order_release);
            mailbox_post(mailbox, MAILBOX_HANDOFF);
            return true;
        }
    }
}

bool mailbox_receive(struct mailbox *mailbox, struct mailbox_handoff *ret)
{
    uint64_t head = atomic_load_explicit(&mailbox->head, memory_order_relaxed);
    struct mailbox_cell *cell = &mailbox->cells[head % MAILBOX_RING];

    if (atomic_load_explicit(&cell->sequence, memory_order_acquire) != head + 1)
        return false;
    *ret = cell->handoff;
    atomic_store_explicit(&cell->sequence, head + MAILBOX_RING, memory_order_release);
    atomic_store_explicit(&mailbox->head, head + 1, memory_order_release);
    return true;
}

size_t mailbox_depth(const struct mailbox *mailbox)
{
    uint64_t head = atomic_load_explicit(&mailbox->head, memory_order_acquire);
    uint64_t tail = atomic_load_explicit(&mailbox->tail, memory_order_acquire);

    return tail > head ? (size_t)(tail - head) : 0;
}
