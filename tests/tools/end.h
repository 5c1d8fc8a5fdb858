/* One end (client or server) of a storm connection: sends its tagged stream, checks the other's,
 * and ends as the plan says. It owns its descriptor; whoever holds the epoll set calls it with
 * events and, every few milliseconds, with the time, and asks what to watch afterwards. */
#ifndef LB4_TESTS_TOOLS_END_H
#define LB4_TESTS_TOOLS_END_H

#include <stdbool.h>
#include <stdint.h>

#include "plan.h"
#include "tag.h"

/* In ascending severity: a connection gets the worse verdict of its two ends. */
enum end_verdict {
    END_OPEN,
    END_OK,
    END_WRONG_END,  /* FIN in place of a planned RST, or RST after all bytes */
    END_SHORT,      /* ended before all bytes */
    END_STUCK,      /* no progress and no end; given by the caller */
    END_MISMATCHED, /* wrong byte, or more bytes than were sent */
    END_FOREIGN,    /* bytes of another connection */
    END_N_VERDICTS
};

struct end {
    int fd;
    enum plan_side side;
    uint32_t id;
    const struct plan *plan; /* NULL: a server end that has not read the whole header */
    uint32_t watched;        /* epoll mask that the caller has set */
    size_t live_index;       /* the caller's place for it */
    uint64_t random;         /* state of the chunk sizes */

    uint64_t n_sent, n_received; /* bytes */
    uint64_t stall_until_ns, fin_at_ns, progress_ns;
    unsigned n_stalls_done;
    bool is_connected, is_peer_known, has_sent_fin, has_seen_fin, has_seen_reset;

    enum end_verdict verdict;
    struct tag_fault fault; /* of MISMATCHED and FOREIGN */
    uint8_t header[PLAN_HEADER_BYTES];
};

/* @plan is NULL for an accepted end; end_identify() gives it one. @fd is owned from here on. */
void end_init(struct end *end, int fd, enum plan_side side, const struct plan *plan);

/* The header has arrived and belongs to connection @id with @plan; compares all of it.
 * Returns false, verdict set, if it does not. */
bool end_identify(struct end *end, uint32_t id, const struct plan *plan);

/* True once a planless server end holds a whole header. */
bool end_has_header(const struct end *end);

/* React to @events (0 = only time has passed). The verdict leaves END_OPEN when this end is
 * through; the descriptor is closed then. A planless end never sets a verdict but by
 * end_identify(); its end shows in has_seen_fin/_reset. */
void end_step(struct end *end, uint32_t events, uint64_t now_ns);

/* EPOLLIN and EPOLLOUT as far as this end wants them now. */
uint32_t end_interest(const struct end *end, uint64_t now_ns);

/* Give up: close with RST and take @verdict unless there is one already. */
void end_abort(struct end *end, enum end_verdict verdict);

#endif
