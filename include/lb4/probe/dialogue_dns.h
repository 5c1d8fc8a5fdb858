/* The bytes of a DNS probe: one query, and what an answer to it says about the server. Pure.
 *
 * The query: type A, class IN, recursion desired (RFC 1035 section 4). Of the answer the header and
 * the question are looked at; the records are not, and no compression pointer is followed: that the
 * server works shows before them, and what is not parsed cannot be attacked.
 *
 * NOERROR and NXDOMAIN are good: the server did its work, and whether a name exists is no matter of
 * its health (a probe must not fail because somebody removed a record). Every other code is a
 * failure: SERVFAIL cannot resolve, REFUSED does not serve us, and clients reach it from this very
 * machine, FORMERR and NOTIMP cannot read the plainest of queries. */
#ifndef LB4_PROBE_DIALOGUE_DNS_H
#define LB4_PROBE_DIALOGUE_DNS_H

#include <stddef.h>
#include <stdint.h>

#include "lb4/probe/talk.h"

enum {
    DIALOGUE_DNS_QUERY_MAX = 12 + 255 + 4 /* header, name, type and class: RFC 1035 section 2.3.4 */
};

struct dialogue_dns_query {
    uint8_t bytes[DIALOGUE_DNS_QUERY_MAX];
    size_t n_bytes; /* 0 = the name cannot be asked for */
};

enum dialogue_verdict {
    DIALOGUE_STRAY, /* not about this query: wait on */
    DIALOGUE_GOOD,
    DIALOGUE_WRONG
};

/* `name`: labels of 1..63 bytes, dots in between, n_name 1..253, as conf/endpoint.h accepts hosts;
 * for anything else the query is empty. */
void dialogue_dns_build(struct dialogue_dns_query *query, const uint8_t *name, size_t n_name,
                        uint16_t id);

/* Any bytes that came back, of any length. An answer is known by its id: without it, a stray. It
 * must repeat the question, in any case of letters; one that tells of an error need not, as servers
 * send that as a bare header. *ret_reason: what is wrong with a wrong one, a constant; else it is
 * left alone. */
enum dialogue_verdict dialogue_dns_judge(const struct dialogue_dns_query *query,
                                         const uint8_t *answer, size_t n_answer,
                                         const char **ret_reason);

/* The same over TCP (probe/talk.h), where two bytes of length come before a message (RFC 7766
 * section 8). The first answer decides. */
enum talk_step dialogue_dns_open(struct talk *talk);
enum talk_step dialogue_dns_hear(struct talk *talk);
enum talk_step dialogue_dns_end(struct talk *talk);

#endif
