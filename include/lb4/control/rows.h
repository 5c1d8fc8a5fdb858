/* One reading of all counters of services and servers, for a scrape: a row for each name, into
 * which those that have left and still hold connections are summed. Thread: control. */
#ifndef LB4_CONTROL_ROWS_H
#define LB4_CONTROL_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/control/snapshot.h"
#include "lb4/control/sources_sum.h"

/* Labels of a row as text; names hold at most CONF_NAME_MAX bytes, none of which needs escapes. */
enum { ROW_LABELS_MAX = 2 * CONF_NAME_MAX + 32 };

struct row_service {
    char labels[ROW_LABELS_MAX]; /* service="db" */
    const char *name;
    bool has_udp;
    uint64_t n_servers; /* of the configuration */
    uint64_t n_usable;
    bool has_affinity;
    uint64_t n_affinity; /* clients that are held now */
    bool has_sources;
    struct sources_sum sources;
    struct stats_service_sum stats;
};

struct row_server {
    char labels[ROW_LABELS_MAX]; /* service="db",server="db1" */
    const char *service;
    const char *name;
    bool is_serving; /* in the configuration */
    uint64_t is_up;  /* 1: its health is good, or nobody has said otherwise */
    uint64_t is_usable;
    uint64_t active;
    struct stats_server_sum stats;
};

struct rows {
    struct row_service *services;
    size_t n_services;
    struct row_server *servers;
    size_t n_servers;
};

/* Returns 0 or -ENOMEM; rows_fini() is due in any case. */
int rows_take(const struct snapshot_from *from, struct rows *ret);
void rows_fini(struct rows *rows);

#endif
