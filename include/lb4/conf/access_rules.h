/* Who may come in, as it was written: `allow` and `deny` lines in their order, the first one that
 * has the client's address decides. Plain data, part of conf/model.h. */
#ifndef LB4_CONF_ACCESS_RULES_H
#define LB4_CONF_ACCESS_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/prefix_map.h"
#include "lb4/conf/ends.h"

enum {
    CONF_PREFIXES_MAX = 1000000,            /* networks of one service; chosen */
    CONF_RULES_MAX = 1000,                  /* allow and deny lines of one service; chosen */
    CONF_LIST_MAX_BYTES = 64 * 1024 * 1024, /* of a file of networks; chosen */
};

/* What a client gets that is not let in. */
enum conf_refuse {
    CONF_REFUSE_UNSET, /* once checked, never */
    CONF_REFUSE_RESET,
    CONF_REFUSE_CLOSE, /* a FIN */
    CONF_REFUSE_SILENT /* nothing */
};

/* A file of networks. */
struct conf_prefix_list {
    struct conf_prefix_list *next;
    const char *file;        /* its path; owned by conf->files */
    struct prefix *prefixes; /* in their order, none twice */
    uint32_t *lines;         /* where each stands first */
    size_t n;
    int64_t read_s; /* when it was written to last, as it was read: seconds since the epoch */
    int64_t read_ns;
};

struct conf_access_rule {
    struct conf_place place; /* of the network */
    bool allows;
    bool is_all;
    char *word;                          /* "file:..." as written; NULL: `prefix` */
    const struct conf_prefix_list *list; /* with `word` */
    struct prefix prefix;
};

struct conf_access_rules {
    struct conf_access_rule *rules;
    size_t n;
    bool is_default; /* they are those of `defaults`, which owns them */
    enum conf_refuse refuse;
    struct prefix_map *map; /* of checked rules; NULL: there are none. The service is its user */
};

#endif
