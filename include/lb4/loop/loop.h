/* One thread's epoll set: add and close sources, wait for a batch of events.
 *
 * A source is embedded in its owner, which is found again with container_of(). loop knows kinds,
 * not what they mean: the owner of the thread switches on source->kind. A loop and its sources
 * belong to one thread.
 *
 * Stale events: loop_close() marks the source closed and the batch may still hold it, so its memory
 * is neither freed nor reused before the batch has been worked off. Whoever walks the batch skips
 * closed sources. */
#ifndef LB4_LOOP_LOOP_H
#define LB4_LOOP_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "lb4/base/list.h"

/* Everything that a thread of lb4 can wake up for. */
enum source_kind {
    SOURCE_LISTENER,       /* worker: a connection waits in an accept queue */
    SOURCE_CLIENT,         /* worker: the client's side of a connection */
    SOURCE_SERVER,         /* worker: the server's side */
    SOURCE_UDP_LISTENER,   /* worker: datagrams of clients */
    SOURCE_UDP_SERVER,     /* worker: datagrams of the server of one session */
    SOURCE_MAILBOX,        /* worker, prober, control: another thread has something to say */
    SOURCE_PROBE,          /* prober: an attempt to reach a server */
    SOURCE_PROGRAMS,       /* prober: how programs of checks have ended */
    SOURCE_SIGNAL,         /* control: signalfd */
    SOURCE_ADMIN_LISTENER, /* control: an operator's client connects */
    SOURCE_ADMIN_CLIENT,   /* control: an operator's client */
    SOURCE_HTTP_LISTENER,  /* control: a client of the HTTP listener connects */
    SOURCE_HTTP_CLIENT     /* control: a client of the HTTP listener */
};

struct source {
    struct list again; /* on loop->again: used up its budget, wants another turn */
    int fd;            /* -1 once closed, and before it is opened */
    enum source_kind kind : 8;
    bool is_closed : 1;
    bool is_armed : 1; /* in the epoll set */
};

/* What the source is told. ERR and HUP need no asking. */
enum loop_trigger {
    LOOP_LEVEL, /* IN, level-triggered: listeners (a paused edge-triggered one gets no second
                   event), mailboxes */
    LOOP_EDGE /* IN, OUT, RDHUP, PRI, edge-triggered: relay sockets, added once and never changed */
};

enum {
    LOOP_BATCH_MAX = 256
}; /* events of one turn; chosen: bounds the memory that waits for the end of a batch */

/* One entry of a batch: event bits of epoll(7), 0 for a source that asked for another turn. */
struct loop_event {
    struct source *source;
    uint32_t bits;
};

struct loop {
    int epoll_fd;
    struct list again; /* of struct source */
    uint64_t now_ns;   /* read once a turn, after the wait */
    uint64_t told_ns;  /* what happened up to here, the kernel has told: expire deadlines by this */
    uint32_t n_behind; /* turns in a row that left told_ns as it was */
    struct loop_event batch[LOOP_BATCH_MAX];
};

/* Make loop_fini() harmless on a loop that loop_init() has not seen yet. */
void loop_clear(struct loop *loop);

/* Returns 0 or -errno of epoll_create1(2). */
int loop_init(struct loop *loop);
void loop_fini(struct loop *loop);

void source_init(struct source *source, enum source_kind kind, int fd);

/* Start to watch source->fd; nothing to do if it is watched. For a socket that connects: only after
 * connect(2) was called, or the kernel reports a false HUP. Returns 0 or -errno (-ENOMEM, -ENOSPC:
 * epoll_ctl(2)). */
int loop_add(struct loop *loop, struct source *source, enum loop_trigger trigger);

/* Stop to watch, keep the descriptor: a paused listener. May be called twice. */
void loop_remove(struct loop *loop, struct source *source);

/* Mark closed and hand the descriptor to the caller, who closes it at once: an open file that
 * nobody else holds leaves the set with its last descriptor (epoll(7), "Questions and answers"). -1
 * if there is none. */
int source_take_fd(struct source *source);

/* source_take_fd() and close(2). */
void loop_close(struct source *source);

/* Give the source an entry in the next batch, with bits 0, whatever the kernel says. May be called
 * twice. */
void loop_again(struct loop *loop, struct source *source);

/* A deadline that is due by now_ns may have been met by an event that still waits in the kernel,
 * when the process was stopped or starved of CPU. So told_ns follows the clock only in turns that
 * fetched all there was, and holds the time before they asked; after 64 other turns it follows
 * anyway, so that deadlines hold under any load.
 *
 * Wait up to `timeout_ms` (-1 = for ever; 0 when sources ask for another turn) and fill
 * loop->batch; updates now_ns. Returns the number of entries; 0 after a signal too. */
size_t loop_wait(struct loop *loop, int timeout_ms);

#endif
