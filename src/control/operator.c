#include "lb4/control/operator.h"

#include <stdio.h>
#include <string.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"

void operator_init(struct operator* operator, struct runtime * runtime, struct reload *reload)
{
    *operator=(struct operator){.runtime = runtime, .reload = reload};
    sweeper_init(&operator->sweeper, runtime);
    rebalance_init(&operator->rebalance, runtime, &operator->sweeper);
    admin_clear(&operator->admin);
}

int operator_open(struct operator* operator, const struct privileges_ids * ids)
{
    char text[ADMIN_SOCKET_ERROR_MAX];
    int error;

    if (!operator->reload->conf->admin[0])
        return 0;
    snprintf(operator->directive, sizeof(operator->directive), "%s", operator->reload->conf->admin);
    error = admin_open(&operator->admin, operator->directive, ids, text);
    if (error)
        log_error("%s", text);
    return error;
}

int operator_start(struct operator* operator, struct loop * loop, const char *config_name)
{
    struct runtime *runtime = operator->runtime;
    int error;

    operator->snapshot =(struct snapshot_from){.conf = operator->reload->conf,
                                               .config_name = config_name,
                                               .services = &runtime->services,
                                               .group = &runtime->group,
                                               .prober = &runtime->prober,
                                               .budget = &runtime->budget,
                                               .reload = operator->reload,
                                               .sweeper = &operator->sweeper,
                                               .rebalance = &operator->rebalance,
                                               .started_ns = clock_now_ns()};
    if (operator->admin.socket.fd<0)
        return 0;
    error = admin_start(&operator->admin, loop, &operator->snapshot);
    if (error)
        log_error("admin: %s", strerror(-error));
    return error;
}

void operator_close(struct operator* operator)
{
    if (!operator->runtime)
        return;
    admin_close(&operator->admin);
    rebalance_fini(&operator->rebalance);
    sweeper_fini(&operator->sweeper);
}

void operator_begin_turn(struct operator* operator, enum lifecycle_state state)
{
    operator->snapshot.state = lifecycle_state_word(state);
    operator->snapshot.is_ready = state == LIFECYCLE_RUNNING;
}

/* A reload may have put another configuration there. */
void operator_end_turn(struct operator* operator, uint64_t now_ns)
{
    operator->snapshot.conf = operator->reload->conf;
    admin_end_turn(&operator->admin);
    rebalance_step(&operator->rebalance, now_ns, operator->snapshot.is_ready);
    sweeper_tidy(&operator->sweeper, now_ns);
}

uint64_t operator_due_ns(const struct operator* operator)
{
    uint64_t admin_ns = admin_due_ns(&operator->admin);
    uint64_t rebalance_ns = rebalance_due_ns(&operator->rebalance);

    uint64_t due_ns = admin_ns < rebalance_ns ? admin_ns : rebalance_ns;

    /* One that asked and has gone may have left results behind. */
    if (operator->sweeper.over_ns> 0 && operator->sweeper.over_ns + 2 * CLOCK_NS_PER_S<due_ns)
        due_ns = operator->sweeper.over_ns + 2 * CLOCK_NS_PER_S;
    return due_ns;
}
