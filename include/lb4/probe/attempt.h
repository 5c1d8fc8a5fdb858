/* One probe of one server: a TCP connect, from its start to its last descriptor.
 *
 * An attempt that connected has its outcome at once, but lingers: it sends its FIN, discards what
 * the server says and waits for the server's FIN, because close(2) with unread input, or input
 * after it, would be answered by a reset, which servers log (FAULTS.md K27). Owned by the prober,
 * used by its thread alone. A server that does not hang up after our FIN is the prober's to close.
 */
#ifndef LB4_PROBE_ATTEMPT_H
#define LB4_PROBE_ATTEMPT_H

#include <stdbool.h>
#include <stdint.h>

#include "lb4/base/addr.h"
#include "lb4/loop/loop.h"
#include "lb4/probe/health.h"

enum attempt_state {
    ATTEMPT_IDLE,
    ATTEMPT_CONNECTING,
    ATTEMPT_WATCHING, /* connected; a reset without a word would be a failure */
    ATTEMPT_LINGERING /* the outcome was told; it only takes leave */
};

struct attempt {
    struct source source; /* SOURCE_PROBE */
    enum attempt_state state;
    int error;          /* errno of a failed one; ETIMEDOUT for one that was given up; 0 = none */
    uint32_t n_drained; /* bytes that the server said; it is hung up on when they are too many */
    bool is_local;      /* to an address of this machine: it may end up at itself (K15) */
    bool watches;       /* looks closer: see attempt_start() */
};

void attempt_init(struct attempt *attempt, bool is_local);

/* Begin a connect; the attempt is idle, and no batch of the loop is being worked off, as it may
 * hold an event of the attempt before. true: it is under way. false: it is over already,
 * *ret_outcome says how.
 *
 * `watches`: a connect that succeeds is not enough, the attempt waits for what comes next
 * (ATTEMPT_WATCHING), until it is settled: a reset without a byte fails it, anything else is fine.
 * For servers that are in doubt; of others a connect says enough. */
bool attempt_start(struct attempt *attempt, struct loop *loop, const struct addr *to, bool watches,
                   enum health_outcome *ret_outcome);

/* An event of its source. true: the outcome is there now; an attempt gives one outcome only. */
bool attempt_on_event(struct attempt *attempt, uint32_t bits, enum health_outcome *ret_outcome);

/* One that watches has seen nothing wrong for long enough: HEALTH_OK, and it takes leave. */
enum health_outcome attempt_settle(struct attempt *attempt);

/* The time of one that is connecting is over: HEALTH_FAILED with ETIMEDOUT. */
enum health_outcome attempt_give_up(struct attempt *attempt);

/* End it in any state, without an outcome. */
void attempt_close(struct attempt *attempt);

#endif
