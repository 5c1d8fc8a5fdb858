#include "lb4/relay/flow_size.h"

#include "lb4/base/sock.h"
#include "lb4/base/sock_options.h"

/* The send buffer grows to megabytes. Filled to the brim by each of many bulk flows, what waits
 * there is out of the CPU's caches before it is sent: 16 streams cost 11 % more CPU, of the whole
 * system (measured). */
void flow_rein_in(struct flow *flow, const struct flow_side *to)
{
    if (flow->is_reined)
        return;
    flow->is_reined = true;
    sock_limit_unsent(to->source.fd, FLOW_UNSENT_BYTES);
}

void flow_ease(struct flow *flow, const struct flow_side *to)
{
    if (!flow->is_reined || flow->is_eased)
        return;
    flow->is_eased = true;
    sock_limit_unsent(to->source.fd, FLOW_UNSENT_EASED_BYTES);
}

static size_t send_room(const struct flow *flow, const struct flow_side *to)
{
    size_t room = sock_send_room(to->source.fd);
    size_t limit = flow->is_eased ? FLOW_UNSENT_EASED_BYTES : FLOW_UNSENT_BYTES;
    size_t unsent;

    if (!flow->is_reined || room < FLOW_READ_BYTES)
        return room;
    unsent = sock_unsent(to->source.fd);
    if (unsent >= limit)
        return 0;
    return room < limit - unsent ? room : limit - unsent;
}

size_t flow_copy_size(const struct flow *flow, const struct flow_side *to, size_t most)
{
    size_t room;

    if (!flow->is_bulk)
        return FLOW_READ_BYTES;
    room = send_room(flow, to);
    if (room < FLOW_READ_BYTES)
        return FLOW_READ_BYTES;
    return room < most ? room : most;
}

/* While pipes abound a splice fills one: asking for the room first and stopping at it costs 15 to
 * 25 % of the CPU of 16 bulk streams (measured). A reader who stops then keeps a pipe; once half of
 * them are out like that, splices too are no larger than the room. */
size_t flow_splice_size(const struct flow *flow, const struct flow_side *to,
                        const struct flow_context *context)
{
    size_t most = flow->pipe->cap_bytes;

    return pipe_pool_is_scarce(&context->pipes) ? flow_copy_size(flow, to, most) : most;
}
