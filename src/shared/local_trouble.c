#include "lb4/shared/local_trouble.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

const char *local_cause_word(enum local_cause cause)
{
    static const char *const words[LOCAL_CAUSES] = {
        [LOCAL_PORTS] = "ports",         [LOCAL_SOURCE] = "source",
        [LOCAL_INTERFACE] = "interface", [LOCAL_DESCRIPTORS] = "descriptors",
        [LOCAL_MEMORY] = "memory",       [LOCAL_FORBIDDEN] = "forbidden",
        [LOCAL_OTHER] = "other",
    };

    return words[cause];
}

enum local_cause local_cause_of(int error, enum origin_step step)
{
    switch (abs(error)) {
    case EADDRNOTAVAIL:
    case EADDRINUSE:
        return step == ORIGIN_SOURCE ? LOCAL_SOURCE : LOCAL_PORTS;
    case EINVAL:
        return LOCAL_SOURCE;
    case ENODEV:
        return LOCAL_INTERFACE;
    case EMFILE:
    case ENFILE:
        return LOCAL_DESCRIPTORS;
    case ENOBUFS:
    case ENOMEM:
    case ENOSPC:
        return LOCAL_MEMORY;
    case EACCES:
    case EPERM:
        return LOCAL_FORBIDDEN;
    default:
        return LOCAL_OTHER;
    }
}

void stats_add_local(const struct stats_local *from, struct stats_local_sum *sum)
{
    for (size_t i = 0; i < LOCAL_CAUSES; i++)
        sum->errors[i] += stats_read(&from->errors[i]);
}

void stats_carry_local(struct stats_local_sum *to, const struct stats_local_sum *from)
{
    for (size_t i = 0; i < LOCAL_CAUSES; i++)
        to->errors[i] += from->errors[i];
}

bool local_say_is_due(struct local_say *say, uint64_t now_ns)
{
    uint64_t said_ns = atomic_load_explicit(&say->said_ns, memory_order_relaxed);

    /* Another worker's clock may be ahead. */
    if (said_ns != 0 && (now_ns < said_ns || now_ns - said_ns < LOCAL_SAY_NS))
        return false;
    return atomic_compare_exchange_strong_explicit(&say->said_ns, &said_ns, now_ns,
                                                   memory_order_relaxed, memory_order_relaxed);
}
