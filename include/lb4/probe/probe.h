/* One server as the prober sees it; of the prober's thread alone. */
#ifndef LB4_PROBE_PROBE_H
#define LB4_PROBE_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "lb4/base/list.h"
#include "lb4/probe/attempt.h"
#include "lb4/probe/health.h"
#include "lb4/probe/schedule.h"
#include "lb4/probe/tally.h"
#include "lb4/shared/service.h"

struct probe {
    struct schedule_entry entry; /* what comes next: a start, a time-out, an end of a mark */
    struct attempt attempt;
    struct health health;
    struct schedule_slots slots;
    struct list queue; /* on prober->waiting or prober->lingering, or on none */
    struct service *service;
    struct backend *backend; /* NULL: nobody has this number */
    struct addr addr;        /* with the port that is probed */
    uint64_t next_ns;        /* the next start is due; UINT64_MAX = none */
    uint64_t repeat_ns;      /* a dialogue asks again; UINT64_MAX = not any more */
    uint64_t attempt_by_ns;  /* the attempt's time is over */
    uint64_t watch_by_ns;    /* a closer look has seen enough */
    uint64_t unmark_ns;      /* PICK_FRESH, or the PICK_SUSPECT of one that is spared, ends;
                                UINT64_MAX = no mark */
    uint64_t ramp_ns;        /* the next step of its slow start; UINT64_MAX = none */
    uint64_t ramp_began_ns;  /* 0 = it has none */
    uint64_t evict_ns;       /* its eviction ends, or its flapping; UINT64_MAX = neither */
    uint64_t started_ns;     /* the last attempt */
    uint64_t late_ns;        /* how long after its due time that was */
    uint64_t prompted_ns;    /* the last one that a client's failed connect brought; 0 = never */
    uint64_t cleared_ns;     /* when it was last taken for no suspect any more; 0 = never */
    uint64_t told_ns;        /* since when it is told_health */
    uint32_t told_health;    /* the last in the history, see probe/chronicle.h */
    uint32_t n_relapses; /* suspect again soon after a probe had answered, so many times in a row */
    uint32_t away;       /* PICK_DRAIN, PICK_MAINT: the wishes that it is to come back from */
    struct tally troubles; /* of clients, lately */
    uint32_t n_troubles;   /* of backend_troubles(), taken into account */
    uint32_t n_failed_out; /* probes that have failed in a row of one that owes_parting */
    uint32_t n_unknown;    /* outcomes in a row that said nothing */
    bool is_prompted;      /* a client's failed connect was noticed, no probe has answered since */
    bool is_spared;        /* a probe has answered, but it stays a suspect until unmark_ns */
    bool is_new;           /* it comes from maintenance: the next outcome decides alone */
    bool is_evicted;       /* clients' trouble has taken it out: down until evict_ns */
    bool is_released;      /* that is over: the next outcome decides alone */
    bool owes_parting;     /* down by clients' trouble alone; if probes say so too, on-down holds */
    bool is_last_told;     /* it is the last usable one, hence not evicted: the log knows */
    bool is_open;          /* the attempt is counted in prober->n_open */
    bool is_unjudged;      /* its first probe is not over: counted in prober->n_unjudged */
};

static inline const struct service_check *probe_check(const struct probe *probe)
{
    return service_plan(probe->service)->check;
}

#endif
