/* The part of an attempt (probe/attempt.h) that speaks UDP: a question in one datagram, and what
 * comes back. Of the prober's thread, as the attempt is.
 *
 * A connected socket hears its server alone, and hears of a refusal (ICMP). Functions return 0 or
 * -errno. */
#ifndef LB4_PROBE_DATAGRAM_H
#define LB4_PROBE_DATAGRAM_H

#include "lb4/base/addr.h"
#include "lb4/probe/attempt.h"

/* A socket for the attempt, returned, not yet put into it; and a new id for a DNS query. The errors
 * of sock_udp_connect(); -ECONNREFUSED too if the socket is its own peer (FAULTS.md K15). */
int datagram_open(struct attempt *attempt, const struct addr *to);

/* Send the question: the same bytes each time, behind a PROXY header (LOCAL) if attempt->send_proxy
 * says so. -EINVAL: there is no query for the name. The others
 * are of send(2). */
int datagram_ask(const struct attempt *attempt);

/* Take what has come. 0: an answer as it should be. -EAGAIN: none so far; strays that were skipped
 * show in has_strays. -EBADMSG: a wrong answer, attempt->reason says what is wrong. Others: an ICMP
 * message, or trouble of ours. */
int datagram_hear(struct attempt *attempt);

#endif
