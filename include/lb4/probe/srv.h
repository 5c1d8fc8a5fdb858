/* An answer of a name server to a question for SRV records (RFC 2782) into records. Pure; the bytes
 * are a stranger's, nothing about them is taken for granted. */
#ifndef LB4_PROBE_SRV_H
#define LB4_PROBE_SRV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/conf/bounds.h"

struct srv_record {
    uint16_t priority; /* the lowest first */
    uint16_t weight;   /* among those of the same priority */
    uint16_t port;     /* never 0 */
    char target[CONF_HOST_MAX + 1];
};

struct srv_set {
    struct srv_record *records; /* the caller's */
    size_t max;                 /* that fit */
    bool is_cut;                /* there were more */
};

enum { SRV_MALFORMED = -1 };

/* The records of `name` itself, or of the name that CNAME records lead to, in the answer of n_bytes
 * bytes; those without a port or with a target that is no host's name are left out, "." too, which
 * says that there is no such service. Of too many those of the lowest priority stay, in an order
 * that does not depend on that of the answer. Returns how many, or SRV_MALFORMED. */
int srv_parse(const uint8_t *answer, size_t n_bytes, const char *name, struct srv_set *ret);

#endif
