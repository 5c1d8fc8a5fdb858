/* The table of all services: those of the configuration, and those that have left it but not ended.
 * Control is the one writer (shared/service.h). */
#ifndef LB4_SHARED_SERVICE_TABLE_H
#define LB4_SHARED_SERVICE_TABLE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/shared/service.h"

struct stats_server_sum;

/* SERVICE_TABLE_MAX places; those below n_services may be taken (service->is_used). */
struct service_table {
    struct service *services;
    size_t n_services;
    size_t n_backends;            /* numbers (stats_index) below may be taken */
    _Atomic uint64_t n_farewells; /* the prober adds: servers whose connections are to leave */
    struct backend **by_number;   /* SERVICE_STATS_MAX; NULL = free */
    size_t first_free;            /* no number below is free */
    uint32_t n_clients;           /* for which tables of sources are made: maxconn at the start */
    struct waiting_crew *crew;    /* workers, whose clients may wait */
};

/* A table of all services of the configuration, ready to serve. Returns 0 or -ENOMEM. */
int service_table_init(struct service_table *table, const struct conf *conf);
void service_table_fini(struct service_table *table);

/* The service of this name that is in the configuration, or NULL. */
struct service *service_table_find(const struct service_table *table, const char *name);
/* One of this name that has left it, but not ended; or NULL. */
struct service *service_table_find_gone(const struct service_table *table, const char *name);

/* Thread of all that follows: control. */

/* Make a place for a new service, with nobody in it. NULL: no memory, no place. Until its first
 * change is commited service_table_drop() takes it back. */
struct service *service_table_add(struct service_table *table, const char *name);

/* A place for this server, BACKEND_ADDED, not to be chosen. NULL: there is none. */
struct backend *service_add_backend(struct service_table *table, struct service *service,
                                    const struct conf_server *server);

/* Nobody is to be chosen any more; the service is not in the configuration. */
void service_retire(struct service *service);

/* Its last connection has ended, and a grace has passed since, also for the prober. Its counters
 * are zero again; what they said, `left`, is added to who bears its name, or bore it and lives. */
void service_free_backend(struct service_table *table, struct service *service,
                          struct backend *backend, const struct stats_server_sum *left);
/* The same for a service; its servers go with it. */
void service_table_drop(struct service_table *table, struct service *service);

#endif
