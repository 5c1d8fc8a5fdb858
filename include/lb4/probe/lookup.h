/* One name into addresses, as the C library finds them: hosts file, name servers, search domains
 * (nsswitch.conf(5), resolv.conf(5); that file is read anew when it has changed). Blocks for as
 * long as those say. Thread: any, no lock is held. */
#ifndef LB4_PROBE_LOOKUP_H
#define LB4_PROBE_LOOKUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/addr.h"

/* Of one name; of more those of the lowest priority, among them the lowest; chosen. */
enum { RESOLVER_ADDRS_MAX = 16 };

/* Beside EAI_...: it could not begin. */
enum { LOOKUP_NO_THREAD = -1000 };

/* What an SRV record says beside the port. */
struct resolver_rank {
    uint16_t priority; /* the lowest first */
    uint16_t weight;
};

struct resolver_name {
    const char *host; /* the caller's */
    bool is_srv;      /* the name of SRV records, whose targets are looked up; no search domains */
    bool is_cut;      /* there were more */
    int error;        /* EAI_...; EAI_INPROGRESS at the deadline; 0 = none */
    size_t n_addrs;   /* 0 = failed, `error` says why */
    struct addr addrs[RESOLVER_ADDRS_MAX]; /* each once, IPv4 first, in ascending order; ports are
                                              0, those of SRV records are what the records say */
    struct resolver_rank ranks[RESOLVER_ADDRS_MAX]; /* of each; 0 without SRV records */
};

/* Fill in all but the host. Of SRV records all targets count, or, if one of them could not be asked
 * for (all but EAI_NONAME and the like), none: half of an answer would take servers out. */
void lookup_run(struct resolver_name *name);

/* "Name or service not known"; never NULL. */
const char *lookup_error_text(int error);

#endif
