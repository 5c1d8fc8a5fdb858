/* A service at run time: its servers, its policy and its limits, shared by all workers.
 *
 * Built by the control thread from the configuration before the workers start, and constant
 * afterwards but for the servers' counters and the round robin ticket. */
#ifndef LB4_SHARED_SERVICE_H
#define LB4_SHARED_SERVICE_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/conf/model.h"
#include "lb4/shared/backend.h"
#include "lb4/shared/pick.h"

struct service {
    /* Every worker draws from it for round robin. */
    alignas(64) _Atomic uint64_t ticket;

    /* Constant. */
    alignas(64) struct backend *backends;
    size_t n_backends;
    uint16_t *sequence; /* of round robin; NULL for other policies */
    size_t n_sequence;
    enum conf_balance balance;
    uint32_t index; /* in stats_block.services and in the workers' timeouts */
    uint32_t tries; /* servers that may time out on one client */
    uint64_t connect_ns;
    uint64_t idle_ns;
    uint64_t half_close_ns;
    char name[CONF_NAME_MAX + 1];
};

/* All services of the configuration; one allocation each, indices in order. */
struct service_table {
    struct service *services;
    size_t n_services;
    size_t n_backends; /* over all services */
};

/* Returns 0 or -ENOMEM. */
int service_table_init(struct service_table *table, const struct conf *conf);
void service_table_fini(struct service_table *table);

/* Choose a server that is not in `tried` and take a place on it: the caller owes one
 * backend_release(). `random` is any number, different from call to call: where a tie is broken.
 * NULL: every server was tried. Thread: any worker. */
struct backend *service_choose(struct service *service, const struct pick_set *tried,
                               uint32_t random);

#endif
