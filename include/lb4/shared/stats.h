/* Counters of traffic: a block for each worker, which alone writes it, and a snapshot that sums the
 * blocks.
 *
 * Writer: the owning worker, relaxed (load, add, store: no locked instruction). Readers: any
 * thread, by the sums. Active is never counted: it is the total minus the closed. */
#ifndef LB4_SHARED_STATS_H
#define LB4_SHARED_STATS_H

#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/shared/counter.h"
#include "lb4/shared/histogram.h"
#include "lb4/shared/local_trouble.h"
#include "lb4/shared/refusal.h"
#include "lb4/shared/stats_affinity.h"
#include "lb4/shared/stats_checks.h"
#include "lb4/shared/stats_udp.h"
#include "lb4/shared/stats_waiting.h"
#include "lb4/shared/stats_worker.h"

/* Why a connection ended: the vocabulary of log, counters and tests. The first cause wins. */
enum close_reason {
    CLOSE_NONE, /* it lives */
    CLOSE_CLIENT_FIN,
    CLOSE_SERVER_FIN,
    CLOSE_CLIENT_RST,
    CLOSE_SERVER_RST,
    CLOSE_IDLE,
    CLOSE_HALF_CLOSE,
    CLOSE_CONNECT_FAILED,
    CLOSE_NO_SERVER,
    CLOSE_ADMIN,
    CLOSE_DRAIN,
    CLOSE_LIMIT,
    CLOSE_DENIED,
    CLOSE_SERVER_DOWN,
    CLOSE_ERROR,
    CLOSE_REASONS
};
/* "client_fin" ...; "none" for CLOSE_NONE. */
const char *close_reason_word(enum close_reason reason);

struct stats_service {
    stats_counter connections; /* accepted for this service */
    stats_counter closed[CLOSE_REASONS];
    stats_counter bytes_in;         /* client to server, received */
    stats_counter bytes_out;        /* server to client, received */
    stats_counter redispatches;     /* connects that went on to another server */
    struct histogram session_ns;    /* of connections that ended, from accept to end */
    struct histogram session_bytes; /* of the same, both directions together */
    struct stats_udp udp;
    struct stats_waiting waiting;
    struct stats_refusal refused;
    struct stats_affinity affinity;
    struct stats_local local;
};

struct stats_server {
    stats_counter connections; /* connects that succeeded */
    stats_counter connect_failures;
    stats_counter turns;         /* connects begun from an origin: which of its sources is next */
    stats_counter portless_ns;   /* no count: when a connect to it found no local port last */
    stats_counter busy_ns;       /* no count: the turn that found its backlog full last */
    struct histogram connect_ns; /* of connects that succeeded, from connect(2) on */
};

/* The counters of one worker. */
struct stats_block {
    alignas(64) struct stats_worker worker;
    struct stats_service *services; /* by service->index */
    struct stats_server *servers;   /* by backend->stats_index */
    size_t n_services;
    size_t n_servers;
};

/* For so many at the most, all 0; memory comes with use. Returns 0 or -ENOMEM. */
int stats_block_init(struct stats_block *block, size_t n_services, size_t n_servers);
void stats_block_fini(struct stats_block *block);

/* One service summed over all workers. active = connections - sum of closed, never negative. */
struct stats_service_sum {
    uint64_t connections;
    uint64_t active;
    uint64_t closed[CLOSE_REASONS];
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t redispatches;
    struct histogram_sum session_ns;
    struct histogram_sum session_bytes;
    struct stats_udp_sum udp;
    struct stats_waiting_sum waiting;
    struct stats_refusal_sum refused;
    struct stats_affinity_sum affinity;
    struct stats_local_sum local;
};

struct stats_server_sum {
    uint64_t connections;
    uint64_t connect_failures;
    uint64_t checks_ok; /* the prober's, of which the blocks know nothing */
    uint64_t checks_failed;
    uint64_t checks_unknown;
    struct histogram_sum connect_ns;
};

void stats_sum_service(const struct stats_block *blocks, size_t n_blocks, size_t index,
                       struct stats_service_sum *ret);
/* Without the checks. */
void stats_sum_server(const struct stats_block *blocks, size_t n_blocks, size_t index,
                      struct stats_server_sum *ret);

void stats_carry_server(struct stats_server_sum *to, const struct stats_server_sum *from);

/* Back to 0, for the next one with this index. Control, when no thread counts there any more. */
void stats_clear_service(struct stats_block *blocks, size_t n_blocks, size_t index);
void stats_clear_server(struct stats_block *blocks, size_t n_blocks, size_t index);

#endif
