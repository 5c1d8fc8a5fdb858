#include "lb4/worker/udp_side.h"

#include <errno.h>

#include "lb4/shared/reserve.h"

int udp_side_prepare(struct udp_side *side, const struct udp_side_options *options)
{
    int error;

    if (side->listeners)
        return 0;
    side->listeners = reserve_memory(LISTENER_TABLE_MAX, sizeof(*side->listeners));
    if (!side->listeners)
        return -ENOMEM;
    side->relay.loop = options->loop;
    side->relay.access = options->access;
    side->relay.refuse = options->refuse;
    side->relay.stats = options->stats;
    side->relay.prober = options->prober;
    side->relay.room = options->room;
    side->relay.n_workers = options->n_workers;
    error = udp_relay_init(&side->relay, options->services);
    if (error) {
        reserve_release(side->listeners, LISTENER_TABLE_MAX, sizeof(*side->listeners));
        side->listeners = NULL;
    }
    return error;
}

static int open_listener(struct udp_side *side, struct listener_table *table, size_t worker,
                         size_t index)
{
    const struct listener *from = &table->listeners[index];
    struct udp_listener *listener = &side->listeners[index];

    *listener = (struct udp_listener){
        .service = from->service,
        .at = from->addr,
        .is_wildcard = addr_is_wildcard(&from->addr),
        .is_dual_stack = from->is_dual_stack,
        .accept_proxy = from->accept_proxy,
    };
    source_init(&listener->source, SOURCE_UDP_LISTENER, listener_table_take(table, worker, index));
    if (index >= side->n_places)
        side->n_places = index + 1;
    side->n_open++;
    udp_relay_note_port(&side->relay, addr_port(&from->addr), true);
    return listener->source.fd < 0 ? 0 : loop_add(side->relay.loop, &listener->source, LOOP_LEVEL);
}

static bool is_open(const struct udp_side *side, size_t index)
{
    const struct udp_listener *listener = &side->listeners[index];

    return listener->service && !listener->source.is_closed;
}

static bool has_port(const struct udp_side *side, uint16_t port)
{
    for (size_t i = 0; i < side->n_places; i++)
        if (is_open(side, i) && addr_port(&side->listeners[i].at) == port)
            return true;
    return false;
}

/* Its memory stays: the batch may still hold its events. A socket that was passed to us lives on
 * elsewhere, and would stay in the loop. */
static void close_listener(struct udp_side *side, size_t index)
{
    struct udp_listener *listener = &side->listeners[index];

    if (!is_open(side, index))
        return;
    loop_remove(side->relay.loop, &listener->source);
    loop_close(&listener->source);
    side->n_open--;
    if (listener->is_looking)
        deadline_stop(&listener->look);
    listener->is_looking = false;
}

int udp_side_take_step(struct udp_side *side, struct listener_table *table, size_t worker,
                       const struct listener_step *step)
{
    struct udp_listener *listener = &side->listeners[step->listener];

    switch (step->verb) {
    case LISTENER_STEP_OPEN:
        return open_listener(side, table, worker, step->listener);
    case LISTENER_STEP_MOVE:
    case LISTENER_STEP_STAY:
        listener->service = step->service;
        listener->accept_proxy = step->accept_proxy;
        listener->is_leaving = false;
        break;
    case LISTENER_STEP_LEAVE:
        listener->is_leaving = true;
        listener->heir = step->has_heir ? &side->listeners[step->heir] : NULL;
        break;
    case LISTENER_STEP_CLOSE:
        udp_end_of_listener(&side->relay, listener);
        close_listener(side, step->listener);
        if (!has_port(side, addr_port(&listener->at)))
            udp_relay_note_port(&side->relay, addr_port(&listener->at), false);
        break;
    }
    return 0;
}

int udp_side_init(struct udp_side *side, struct listener_table *table,
                  const struct udp_side_options *options)
{
    int error = 0;

    for (size_t i = 0; !error && i < table->n_listeners; i++) {
        if (table->listeners[i].transport != CONF_UDP)
            continue;
        error = udp_side_prepare(side, options);
        if (!error)
            error = open_listener(side, table, options->worker, i);
    }
    return error;
}

void udp_side_fini(struct udp_side *side)
{
    udp_side_close_listeners(side);
    udp_relay_fini(&side->relay);
    reserve_release(side->listeners, LISTENER_TABLE_MAX, sizeof(*side->listeners));
    side->listeners = NULL;
}

/* Answers first: they lie in memory that what ends a session may take away. */
void udp_side_end_turn(struct udp_side *side, bool is_resetting)
{
    if (side->n_places == 0)
        return;
    udp_end_turn(&side->relay);
    udp_expire(&side->relay);
    if (is_resetting)
        udp_end_all(&side->relay);
    udp_reap(&side->relay);
}

uint64_t udp_side_next_due_ns(const struct udp_side *side)
{
    return side->n_places ? udp_next_due_ns(&side->relay) : UINT64_MAX;
}

uint32_t udp_side_live(const struct udp_side *side)
{
    return side->n_places ? side->relay.n_live : 0;
}

bool udp_side_ask_for_room(struct udp_side *side)
{
    return side->n_places && udp_ask_for_room(&side->relay);
}

void udp_side_give_room(struct udp_side *side)
{
    if (side->n_places)
        udp_give_room(&side->relay);
}

void udp_side_start_draining(struct udp_side *side)
{
    if (side->n_places)
        udp_start_draining(&side->relay);
}

void udp_side_close_listeners(struct udp_side *side)
{
    for (size_t i = 0; i < side->n_places; i++)
        close_listener(side, i);
}

bool udp_side_is_open(const struct udp_side *side)
{
    return side->n_open > 0;
}
