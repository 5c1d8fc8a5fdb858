/* All that serves, and what it was built from: services, listening sockets, workers, the prober,
 * and the budget of descriptors. Built at the start in the order of the functions here; a reload
 * changes it while it runs (control/change.h). Thread: control, or main before there are others. */
#ifndef LB4_CONTROL_RUNTIME_H
#define LB4_CONTROL_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/control/activation.h"
#include "lb4/control/limits.h"
#include "lb4/control/spawner.h"
#include "lb4/probe/prober.h"
#include "lb4/shared/mailbox.h"
#include "lb4/shared/service.h"
#include "lb4/shared/service_table.h"
#include "lb4/worker/listener.h"
#include "lb4/worker/worker.h"

struct runtime {
    size_t n_workers;
    struct limits_budget budget;
    struct service_table services;
    struct listener_table listeners;
    struct worker_group group;
    struct prober prober;
    uint64_t asked; /* the last question to all threads, see runtime_ask() */
};

/* Make runtime_fini() harmless. */
void runtime_clear(struct runtime *runtime, size_t n_workers);
/* All threads have ended. */
void runtime_fini(struct runtime *runtime);

/* Each returns 0 or -errno, after a line in the log. */
int runtime_build_services(struct runtime *runtime, const struct conf *conf);
int runtime_share_descriptors(struct runtime *runtime, const struct conf *conf);
int runtime_bind_listeners(struct runtime *runtime, const struct conf *conf,
                           struct activation *activation, const struct privileges_ids *ids);
int runtime_build_threads(struct runtime *runtime, const struct conf *conf,
                          struct mailbox *control);
/* lb4 has become `ids`: let the spawner do so, too, and give the prober its link. An error without
 * a spawner, if programs are to run. */
int runtime_link_programs(struct runtime *runtime, const struct conf *conf, struct spawner *spawner,
                          const struct privileges_ids *ids);

/* What the descriptors would pay for under this configuration, with `n_leaving` more listening
 * sockets. Returns 0 or -errno with a sentence. */
int runtime_compute_budget(const struct runtime *runtime, const struct conf *conf, size_t n_leaving,
                           struct limits_budget *ret, char reterr[static LIMITS_TEXT_MAX]);

/* A grace: when every worker and the prober have answered the question of this number, none holds a
 * pointer any more that it took before, and what was posted before is done. */
uint64_t runtime_ask(struct runtime *runtime);
bool runtime_has_answered(const struct runtime *runtime, uint64_t number);

/* Services of the configuration; listeners, those that are about to leave too. */
size_t runtime_count_services(const struct runtime *runtime);
size_t runtime_count_listeners(const struct runtime *runtime);

#endif
