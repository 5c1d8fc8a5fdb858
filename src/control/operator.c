#include "lb4/control/operator.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"

void operator_init(struct operator* operator, struct runtime * runtime, struct reload *reload)
{
    *operator=(struct operator){.runtime = runtime, .reload = reload};
    sweeper_init(&operator->sweeper, runtime);
    farewell_init(&operator->farewell, runtime, &operator->sweeper);
    operator->sweeper.other = & operator->farewell.sweeper;
    rebalance_init(&operator->rebalance, runtime, &operator->sweeper);
    admin_clear(&operator->admin);
    http_clear(&operator->http);
}

static int open_admin(struct operator* operator, const struct privileges_ids * ids)
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

static int open_http(struct operator* operator)
{
    const struct addr *at = &operator->reload->conf->http;
    char text[HTTP_ERROR_MAX];
    char where[ADDR_TEXT_MAX];
    int error;

    if (at->sa.sa_family == AF_UNSPEC)
        return 0;
    error = http_open(&operator->http, at, text);
    if (error)
        log_error("%s", text);
    else if (!addr_is_loopback(at))
        log_warn("http: %s is open to the network: whoever reaches it can read the state of all "
                 "services and servers",
                 addr_format(at, where));
    return error;
}

int operator_open(struct operator* operator, const struct privileges_ids * ids)
{
    int error = open_admin(operator, ids);

    if (error)
        return error;
    operator->wishes = history_new();
    return operator->wishes ? open_http(operator) : - ENOMEM;
}

static int start_sockets(struct operator* operator, struct loop * loop)
{
    int error = 0;

    if (operator->admin.socket.fd >= 0)
        error = admin_start(&operator->admin, loop, &operator->snapshot);
    if (error)
        log_error("admin: %s", strerror(-error));
    else if (operator->http.door.source.fd >= 0)
        error = http_start(&operator->http, loop, &operator->snapshot);
    return error;
}

int operator_start(struct operator* operator, struct loop * loop, const char *config_name)
{
    struct runtime *runtime = operator->runtime;

    operator->snapshot =(struct snapshot_from){.conf = operator->reload->conf,
                                               .config_name = config_name,
                                               .services = &runtime->services,
                                               .group = &runtime->group,
                                               .prober = &runtime->prober,
                                               .budget = &runtime->budget,
                                               .reload = operator->reload,
                                               .sweeper = &operator->sweeper,
                                               .rebalance = &operator->rebalance,
                                               .wishes = operator->wishes,
                                               .started_ns = clock_now_ns()};
    return start_sockets(operator, loop);
}

void operator_on_event(struct operator* operator, const struct loop_event * event)
{
    struct source *source = event->source;

    if (source->kind == SOURCE_ADMIN_LISTENER)
        admin_on_listener(&operator->admin);
    else if (source->kind == SOURCE_ADMIN_CLIENT)
        admin_on_client(&operator->admin, source, event->bits);
    else if (source->kind == SOURCE_HTTP_LISTENER)
        http_on_listener(&operator->http);
    else if (source->kind == SOURCE_HTTP_CLIENT)
        http_on_client(&operator->http, source, event->bits);
}

void operator_close(struct operator* operator)
{
    if (!operator->runtime)
        return;
    admin_close(&operator->admin);
    http_close(&operator->http);
    history_free(operator->wishes);
    farewell_fini(&operator->farewell);
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
    http_end_turn(&operator->http);
    farewell_step(&operator->farewell, now_ns);
    rebalance_step(&operator->rebalance, now_ns, operator->snapshot.is_ready);
    sweeper_tidy(&operator->sweeper, now_ns);
}

uint64_t operator_due_ns(const struct operator* operator)
{
    uint64_t http_ns = http_due_ns(&operator->http);
    uint64_t rebalance_ns = rebalance_due_ns(&operator->rebalance);
    uint64_t due_ns = admin_due_ns(&operator->admin);
    uint64_t farewell_ns = farewell_due_ns(&operator->farewell);

    due_ns = farewell_ns < due_ns ? farewell_ns : due_ns;

    due_ns = http_ns < due_ns ? http_ns : due_ns;
    due_ns = rebalance_ns < due_ns ? rebalance_ns : due_ns;

    /* One that asked and has gone may have left results behind. */
    if (operator->sweeper.over_ns> 0 && operator->sweeper.over_ns + 2 * CLOCK_NS_PER_S<due_ns)
        due_ns = operator->sweeper.over_ns + 2 * CLOCK_NS_PER_S;
    return due_ns;
}
