/* The TCP relay of one worker: takes accepted connections, finds each a server, moves bytes both
 * ways, and ends each with one reason. All functions: the worker's thread. */
#ifndef LB4_RELAY_TCP_H
#define LB4_RELAY_TCP_H

#include <stddef.h>
#include <stdint.h>

#include "lb4/relay/tcp_relay.h"
#include "lb4/shared/service_table.h"

/* `relay->loop`, `stats`, `capacity` and `prober` are set by the caller and outlive the relay.
 * Returns 0, -ENOMEM, or -errno of getrandom(2). May be called before the thread runs. */
int tcp_relay_init(struct tcp_relay *relay, const struct service_table *services,
                   const struct tcp_relay_options *options);
/* All connections have ended. */
void tcp_relay_fini(struct tcp_relay *relay);

/* The service is new, or has another plan: its timeouts count from now on, for connections that are
 * there when they next have a byte to move. Returns 0, or -ENOMEM: those that it had go on; a new
 * one has none, and its clients are reset. */
int tcp_relay_adopt(struct tcp_relay *relay, const struct service *service);

/* Where a client came in. */
struct tcp_door {
    struct service *service;
    const struct prefix_map *proxies; /* whose PROXY headers are believed, who alone may connect;
                                         NULL: clients come without a header */
    uint16_t port;                    /* that it connected to */
    bool has_fastopen;                /* data may have come before its handshake was through */
};

/* An accepted client: `fd` and one place of maxconn belong to the relay now, whatever happens. */
void tcp_accept(struct tcp_relay *relay, const struct tcp_door *door, int fd,
                const struct addr *peer);

/* An event of a SOURCE_CLIENT or SOURCE_SERVER source; bits 0: another turn after a used-up budget.
 */
void tcp_on_client(struct tcp_relay *relay, struct source *source, uint32_t bits);
void tcp_on_server(struct tcp_relay *relay, struct source *source, uint32_t bits);

/* A batch of so many events begins. Until tcp_end_batch() small sends may be put off: see
 * relaying_deliver(). */
void tcp_begin_batch(struct tcp_relay *relay, size_t n_events);
void tcp_end_batch(struct tcp_relay *relay);

/* Once a turn: what has come due; then free what was closed. */
void tcp_expire(struct tcp_relay *relay);
void tcp_reap(struct tcp_relay *relay);

/* When tcp_expire() is next needed; UINT64_MAX = never. */
uint64_t tcp_next_due_ns(const struct tcp_relay *relay);

/* End every connection with a reset to both sides. */
void tcp_reset_all(struct tcp_relay *relay, enum close_reason reason);

#endif
