#include "lb4/worker/udp_side.h"

#include <errno.h>
#include <stdlib.h>

#include "lb4/base/scope.h"

static void take_listener(struct udp_side *side, struct listener_table *table, size_t worker,
                          size_t index)
{
    const struct listener *from = &table->listeners[index];
    struct udp_listener *listener = &side->listeners[side->n_listeners++];

    source_init(&listener->source, SOURCE_UDP_LISTENER, listener_table_take(table, worker, index));
    listener->service = from->service;
    listener->at = from->addr;
    listener->is_wildcard = addr_is_wildcard(&from->addr);
}

static int relay_init(struct udp_side *side, const struct listener_table *table,
                      const struct udp_side_options *options)
{
    size_t n = table->n_listeners - table->n_tcp;
    scope_free struct udp_port_range *ports = calloc(n, sizeof(*ports));

    if (!ports)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        uint16_t port = addr_port(&table->listeners[table->n_tcp + i].addr);

        ports[i] = (struct udp_port_range){port, port};
    }
    side->relay.loop = options->loop;
    side->relay.stats = options->stats;
    side->relay.prober = options->prober;
    side->relay.room = options->room;
    side->relay.n_workers = options->n_workers;
    return udp_relay_init(&side->relay, options->services, ports, n);
}

int udp_side_init(struct udp_side *side, struct listener_table *table,
                  const struct udp_side_options *options)
{
    size_t n = table->n_listeners - table->n_tcp;
    int error = 0;

    if (n == 0)
        return 0;
    side->listeners = calloc(n, sizeof(*side->listeners));
    if (!side->listeners)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        take_listener(side, table, options->worker, table->n_tcp + i);
    error = relay_init(side, table, options);
    for (size_t i = 0; !error && i < n; i++)
        error = loop_add(options->loop, &side->listeners[i].source, LOOP_LEVEL);
    return error;
}

void udp_side_fini(struct udp_side *side)
{
    udp_relay_fini(&side->relay);
    udp_side_close_listeners(side);
    free(side->listeners);
    side->listeners = NULL;
}

/* Answers first: they lie in memory that what ends a session may take away. */
void udp_side_end_turn(struct udp_side *side, bool is_resetting)
{
    if (side->n_listeners == 0)
        return;
    udp_end_turn(&side->relay);
    udp_expire(&side->relay);
    if (is_resetting)
        udp_end_all(&side->relay);
    udp_reap(&side->relay);
}

uint64_t udp_side_next_due_ns(const struct udp_side *side)
{
    return side->n_listeners ? udp_next_due_ns(&side->relay) : UINT64_MAX;
}

bool udp_side_ask_for_room(struct udp_side *side)
{
    return side->n_listeners && udp_ask_for_room(&side->relay);
}

void udp_side_give_room(struct udp_side *side)
{
    if (side->n_listeners)
        udp_give_room(&side->relay);
}

void udp_side_start_draining(struct udp_side *side)
{
    if (side->n_listeners)
        udp_start_draining(&side->relay);
}

/* Their memory stays: the batch may still hold their events. */
void udp_side_close_listeners(struct udp_side *side)
{
    for (size_t i = 0; i < side->n_listeners; i++)
        loop_close(&side->listeners[i].source);
    side->n_listeners = 0;
}

bool udp_side_is_open(const struct udp_side *side)
{
    return side->n_listeners > 0;
}
