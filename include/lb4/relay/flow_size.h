/* How many bytes a flow reads at once, and how many its reader's socket may hold. Part of
 * relay/flow.h; thread: the connection's worker. */
#ifndef LB4_RELAY_FLOW_SIZE_H
#define LB4_RELAY_FLOW_SIZE_H

#include <stddef.h>

#include "lb4/relay/flow.h"

/* Of a read by copy: a lot, `most` at most, only when the reader's send buffer has room for it, so
 * that a reader who stops is never owed more than a small read. */
size_t flow_copy_size(const struct flow *flow, const struct flow_side *to, size_t most);

/* Of a splice into flow->pipe. */
size_t flow_splice_size(const struct flow *flow, const struct flow_side *to,
                        const struct flow_context *context);

/* From now on the reader's socket holds no more than FLOW_UNSENT_BYTES beyond what is under way. */
void flow_rein_in(struct flow *flow, const struct flow_side *to);
/* The reader's socket took FLOW_BUDGET_BYTES in one turn, so that most of that went on its way:
 * from now on, if the flow is reined in, it holds up to FLOW_UNSENT_EASED_BYTES. That stays, also
 * when the reader is slow or stops later. */
void flow_ease(struct flow *flow, const struct flow_side *to);

#endif
