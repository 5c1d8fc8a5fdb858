/* The prober: one thread that probes every server of every checked service, all at the same time,
 * and writes what it learns into their standing (shared/backend.h). Workers see it at their next
 * choice. It logs every change with its reason and how long the state before had lasted.
 *
 * First probes are sent at once; then each server at its slots (probe/schedule.h), or sooner
 * (probe/pace.h). A worker that met a failed connect sets PICK_SUSPECT and posts
 * MAILBOX_SUSPECT: the server is probed at once. In services that are not checked a suspect is
 * spared for a while, as nothing else would clear it.
 *
 * The operator's maintenance (PICK_MAINT) ends and keeps away probes; who comes out of it
 * (PICK_NEW) is probed at once, and takes no clients before that. MAILBOX_WISH tells of both, and
 * of `drain`.
 *
 * What an outcome means for the server, and the log lines about it, are in probe/verdict.h. */
#ifndef LB4_PROBE_PROBER_H
#define LB4_PROBE_PROBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/list.h"
#include "lb4/loop/loop.h"
#include "lb4/probe/nap.h"
#include "lb4/probe/probe.h"
#include "lb4/probe/program.h"
#include "lb4/shared/history.h"
#include "lb4/shared/mailbox.h"
#include "lb4/shared/service.h"
#include "lb4/shared/service_table.h"
#include "lb4/shared/stats.h"

/* What the log was told of one service. */
struct prober_service {
    bool is_told_lost;     /* no server is up */
    bool has_told;         /* at all */
    uint64_t lost_told_ns; /* the last time */
};

/* What control asks for, beside a look at which services have another check now; constant until the
 * prober has answered a question that was asked after it (mailbox.h). Backends that are gone are
 * told so before their number is given to others. */
struct prober_change {
    struct backend *const *added;
    struct service *const *added_to; /* the service of each */
    size_t n_added;
    struct backend *const *gone;
    size_t n_gone;
    struct service *const *dropped; /* all of whose servers are gone */
    size_t n_dropped;
    uint32_t max_open; /* attempts at a time from now on */
};

struct prober {
    struct mailbox mailbox;             /* MAILBOX_SUSPECT, _WISH, _CHANGE, _SYNC, _PING, _EXIT */
    const struct prober_change *change; /* control's */
    struct mailbox *control;            /* is told of answers; NULL = nobody asks */
    struct loop loop;
    struct source mailbox_source;
    struct nap nap;
    struct programs programs; /* of `check exec` */
    struct schedule schedule;
    struct service_table *services;
    struct probe *probes; /* SERVICE_STATS_MAX places, by backend->stats_index: every server, also
                             those not probed */
    size_t n_probes;      /* places below may be taken */
    struct stats_checks *checks;          /* by backend->stats_index */
    struct history *history;              /* changes of health; any thread reads it */
    struct prober_service *services_told; /* by service->index */
    struct list waiting;   /* of struct probe: due, but max_open is reached; in order */
    struct list lingering; /* of struct probe: their descriptors can be had back */
    uint32_t n_open;       /* attempts that hold a descriptor */
    uint32_t max_open;
    uint32_t n_starts;   /* in this turn */
    uint32_t n_unjudged; /* probed servers whose first probe is not over yet */
    uint64_t random;
    bool is_exiting;
};

/* How many servers of the table are probed at all: descriptors for that many may be in use. */
size_t prober_count(const struct service_table *services);

/* Make prober_fini() harmless on a prober that prober_init() has not seen yet. */
void prober_clear(struct prober *prober);

/* Everything that can fail, before the thread runs. At most `max_open` (at least 1) attempts hold a
 * descriptor at a time; others wait for their turn. Returns 0 or -errno; on error nothing is kept
 * and prober_fini() is harmless. */
int prober_init(struct prober *prober, struct service_table *services, uint32_t max_open);
/* Control: have it take the change, which stays there until it has answered. */
void prober_take_change(struct prober *prober, const struct prober_change *change);

/* The thread has ended, and nobody posts any more. */
void prober_fini(struct prober *prober);

/* Its own thread, for probe/roster.c: put the probe where it comes up next; end its attempt. For
 * probe/program.c: the attempt has this outcome. */
void prober_arm(struct prober *prober, struct probe *probe);
void prober_close_attempt(struct prober *prober, struct probe *probe);
void prober_end_attempt(struct prober *prober, struct probe *probe, enum health_outcome outcome);

/* The body of the thread: returns after MAILBOX_EXIT, with every attempt closed. */
void prober_run(struct prober *prober);

#endif
