/* What one thread may say to another: request bits, and for workers a bounded ring of accepted
 * connections.
 *
 * Any thread posts, the owner takes. An eventfd wakes the owner; it is written only when nothing
 * was pending, so a burst costs one system call. A full ring is an answer, not an error: the poster
 * keeps its connection. */
#ifndef LB4_SHARED_MAILBOX_H
#define LB4_SHARED_MAILBOX_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/addr.h"

enum mailbox_request {
    MAILBOX_HANDOFF = 1 << 0, /* to a worker: the ring has something */
    MAILBOX_DRAIN =
        1 << 1, /* to a worker: accept no more, tell control when the last connection has ended */
    MAILBOX_RESET = 1 << 2, /* to a worker: end every connection now, reason drain */
    MAILBOX_EXIT =
        1 << 3, /* to a worker, once everything has ended, and to the prober: leave the thread */
    MAILBOX_PROGRESS =
        1 << 4, /* to control: a worker has something new to tell about its draining */
    MAILBOX_SUSPECT = 1 << 5,  /* to the prober: a server has become suspect, or proven */
    MAILBOX_CHANGE = 1 << 6,   /* to workers and the prober: control has put a change there */
    MAILBOX_SYNC = 1 << 7,     /* to workers and the prober: tell when this turn has ended */
    MAILBOX_PING = 1 << 8,     /* to workers and the prober: show that you live, mailbox_pong() */
    MAILBOX_UDP_ROOM = 1 << 9, /* to a worker: another one has asked for places (udp_room.h) */
    MAILBOX_SWEEP = 1 << 10,   /* to a worker: control has put a sweep there */
    MAILBOX_WISH = 1 << 11,    /* to the prober: of an operator: drain, maint or ready */
    MAILBOX_WAITING = 1 << 12  /* to a worker: its clients that wait may find a server now */
};

enum {
    MAILBOX_RING = 64
}; /* accepted connections in flight to one worker; a power of two; chosen */

/* An accepted connection on its way to another worker. The descriptor belongs to the ring until it
 * is taken. */
struct mailbox_handoff {
    int fd;
    uint32_t listener;  /* index of the listener it was accepted on */
    uint64_t n_changes; /* that the sender had taken (worker.h); the listener may be of the last */
    struct addr peer;
};

struct mailbox_cell {
    _Atomic uint64_t sequence; /* whose turn the cell is; see mailbox.c */
    struct mailbox_handoff handoff;
};

struct mailbox {
    int event_fd; /* readable while something is pending; the owner watches it */
    alignas(64) _Atomic uint32_t pending; /* enum mailbox_request bits */
    _Atomic uint32_t done;                /* those that the owner has carried out for good */
    _Atomic uint64_t n_pongs;             /* MAILBOX_PING; the owner adds */
    _Atomic uint64_t asked;               /* the last number of mailbox_ask() */
    _Atomic uint64_t answered;            /* ... that the owner has answered */
    uint64_t heard;                       /* the owner's: answered when its turn ends */
    alignas(64) _Atomic uint64_t tail;    /* posters claim cells here */
    alignas(
        64) _Atomic uint64_t head; /* the owner takes cells here; posters read it for the depth */
    struct mailbox_cell cells[MAILBOX_RING];
};

/* Returns 0 or -errno of eventfd(2). */
int mailbox_init(struct mailbox *mailbox);
/* Closes what is still in the ring. */
void mailbox_fini(struct mailbox *mailbox);

/* Any thread. */
void mailbox_post(struct mailbox *mailbox, uint32_t requests);
/* false: the ring is full and the caller keeps the descriptor. */
bool mailbox_hand_over(struct mailbox *mailbox, const struct mailbox_handoff *handoff);
size_t mailbox_depth(const struct mailbox *mailbox);

/* Owner only. The pending requests, which are cleared, and the eventfd with them. */
uint32_t mailbox_take(struct mailbox *mailbox);
/* Owner only: sleep for so long, or until something is pending. */
void mailbox_doze(const struct mailbox *mailbox, uint64_t duration_ns);
/* Owner only: these requests are carried out. What the owner did before is seen by who finds them
 * done. */
void mailbox_mark_done(struct mailbox *mailbox, uint32_t requests);
/* Any thread. */
bool mailbox_is_done(const struct mailbox *mailbox, uint32_t requests);

/* Owner only: a MAILBOX_PING was taken. */
void mailbox_pong(struct mailbox *mailbox);
/* Any thread. How often the owner has shown that it lives. */
uint64_t mailbox_pongs(const struct mailbox *mailbox);

/* A grace: control asks with a growing number (1..); when that is answered, the owner has ended a
 * turn that began after the question, so it holds no pointer that it took before, and has carried
 * out what was posted before. Owner: mailbox_answer() at the end of each turn; true if there was a
 * question. */
void mailbox_ask(struct mailbox *mailbox, uint64_t number);
bool mailbox_answer(struct mailbox *mailbox);
uint64_t mailbox_answered(const struct mailbox *mailbox);

/* Owner only. false: the ring is empty. */
bool mailbox_receive(struct mailbox *mailbox, struct mailbox_handoff *ret);

#endif
