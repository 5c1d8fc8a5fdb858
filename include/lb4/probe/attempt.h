/* One probe of one server, from its start to its last descriptor: a TCP connect, a conversation
 * over TCP, or a question by datagram.
 *
 * A conversation (probe/talk.h) begins when the connect has succeeded; its verdict is the outcome.
 * A server may say ATTEMPT_HEAR_MAX bytes, in any pieces.
 *
 * A question by datagram is over with the first answer to it (probe/datagram.h). Datagrams get
 * lost, and nobody but us would send them again: attempt_repeat() does, once
 * in an attempt (the prober: at half of its time). Rise and fall would forgive a lost one, but not
 * the first probe of all, which decides alone.
 *
 * A connect that succeeded has its outcome at once, and a conversation with its verdict, good or
 * wrong, but it lingers: it sends its FIN, discards what
 * the server says and waits for the server's FIN, because close(2) with unread input, or input
 * after it, would be answered by a reset, which servers log (FAULTS.md K27). Owned by the prober,
 * used by its thread alone. A server that does not hang up after our FIN is the prober's to close.
 */
#ifndef LB4_PROBE_ATTEMPT_H
#define LB4_PROBE_ATTEMPT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lb4/base/addr.h"
#include "lb4/loop/loop.h"
#include "lb4/probe/health.h"
#include "lb4/probe/talk.h"
#include "lb4/shared/service.h"

enum attempt_state {
    ATTEMPT_IDLE,
    ATTEMPT_CONNECTING,
    ATTEMPT_ASKING,   /* the question was sent, as a datagram */
    ATTEMPT_TALKING,  /* connected; there is no verdict yet */
    ATTEMPT_WATCHING, /* connected; a reset without a word would be a failure */
    ATTEMPT_RUNNING,  /* a program (probe/program.h); it has no descriptor */
    ATTEMPT_LINGERING /* the outcome was told; it only takes leave */
};

struct attempt {
    struct source source;              /* SOURCE_PROBE */
    const struct service_check *check; /* what is tried; the service's */
    struct talk *talk;                 /* of a conversation, until its verdict; else NULL */
    const char *reason;  /* of a failure, a constant or reason_text; NULL = `error` says it all */
    const char *waiting; /* of ETIMEDOUT, a constant: for what, behind "timed out after 1s" */
    const struct origin *origin; /* from where, unless the check has a source; as long as the start
                                    lasts, NULL = as the kernel likes */
    uint32_t turn;               /* of its sources */
    enum attempt_state state;
    int error;          /* errno of a failed one; ETIMEDOUT for one that was given up; EBADMSG for
                           a wrong answer; 0 = none */
    uint32_t n_heard;   /* bytes that the server said; it is hung up on when they are too many */
    uint32_t told;      /* event bits, but for EPOLLOUT: what may be there to read; 0 = nothing */
    uint16_t port;      /* the server's */
    uint16_t query_id;  /* of a DNS query */
    uint8_t send_proxy; /* version of the PROXY header that goes first (probe/announce.h), 0 = none;
                           the caller sets it before the start */
    bool has_strays;    /* datagrams came that answered nothing */
    bool is_local;      /* to an address of this machine: it may end up at itself (K15) */
    bool watches;       /* looks closer: see attempt_start() */
    char reason_text[TALK_REASON_MAX];
};

/* What a server may say to a probe before it is hung up on, a reset or not; chosen: far beyond any
 * greeting. */
enum { ATTEMPT_HEAR_MAX = 64 * 1024 };

void attempt_init(struct attempt *attempt, const struct service_check *check, bool is_local);

/* Begin; the attempt is idle, and no batch of the loop is being worked off, as it may
 * hold an event of the attempt before. true: it is under way. false: it is over already,
 * *ret_outcome says how.
 *
 * `watches`: a connect that succeeds is not enough, the attempt waits for what comes next
 * (ATTEMPT_WATCHING), until it is settled: a reset without a byte fails it, anything else is fine.
 * For servers that are in doubt; of others a connect says enough. A conversation looks close
 * enough by itself. */
bool attempt_start(struct attempt *attempt, struct loop *loop, const struct addr *to, bool watches,
                   enum health_outcome *ret_outcome);

/* An event of its source. true: the outcome is there now; an attempt gives one outcome only. */
bool attempt_on_event(struct attempt *attempt, uint32_t bits, enum health_outcome *ret_outcome);

/* Ask again, by datagram, where the answer is waited for. true: there is an outcome instead. */
bool attempt_repeat(struct attempt *attempt, enum health_outcome *ret_outcome);

/* recv(2) on a stream, for probe/converse.c: -EAGAIN, and no system call, where no event has told
 * of anything since all was read. The socket is edge-triggered, what comes later is told of.
 * Returns bytes, 0 after the FIN, or -errno. */
ssize_t attempt_recv(struct attempt *attempt, void *bytes, size_t n_bytes);

/* One that watches has seen nothing wrong for long enough: HEALTH_OK, and it takes leave. */
enum health_outcome attempt_settle(struct attempt *attempt);

/* The time of one that has no outcome yet is over: HEALTH_FAILED with ETIMEDOUT. */
enum health_outcome attempt_give_up(struct attempt *attempt);

/* End it in any state, without an outcome. */
void attempt_close(struct attempt *attempt);

/* For probe/datagram.h: a socket that is connected, or on which connect(2) was called. Returns 0 or
 * -errno, told in `reason` where there is more to say. */
int attempt_socket(struct attempt *attempt, const struct addr *to, int *ret_fd);

#endif
