#include "plan.h"

#include <stdlib.h>
#include <string.h>

#include "tag.h"

static const uint64_t header_magic = 0x316d726f74733462u; /* "b4storm1", little-endian */

static uint64_t draw(uint64_t *random, uint64_t n_values)
{
    return tag_random(random) % n_values;
}

static unsigned bit_length(uint64_t value)
{
    return value == 0 ? 0 : 64 - (unsigned)__builtin_clzll(value);
}

/* Log-uniform by powers of two: nothing at all is as likely as 1 byte, 2..3, 4..7 and so on to the
 * maximum; the mean is about a sixteenth of it. */
static uint64_t draw_size(const struct plan_limits *limits, uint64_t *random)
{
    if (limits->max_bytes == 0)
        return 0;
    if (limits->is_uniform)
        return draw(random, limits->max_bytes + 1);
    uint64_t n_bits = draw(random, bit_length(limits->max_bytes) + 1);
    if (n_bits == 0)
        return 0;
    uint64_t base = (uint64_t)1 << (n_bits - 1);
    uint64_t size = base + draw(random, base);
    return size < limits->max_bytes ? size : limits->max_bytes;
}

static int compare_stalls(const void *a, const void *b)
{
    const struct plan_stall *left = a, *right = b;

    return (left->at_bytes > right->at_bytes) - (left->at_bytes < right->at_bytes);
}

static void draw_stalls(const struct plan_limits *limits, uint64_t *random, struct plan_end *end)
{
    if (limits->pause_max_ms == 0)
        return;
    end->n_stalls = (unsigned)draw(random, PLAN_CAP_STALLS + 1);
    for (unsigned i = 0; i < end->n_stalls; i++) {
        end->stalls[i].at_bytes = draw(random, end->receive_bytes + 1);
        end->stalls[i].pause_ms = (uint32_t)draw(random, limits->pause_max_ms) + 1;
    }
    qsort(end->stalls, end->n_stalls, sizeof(end->stalls[0]), compare_stalls);
}

static void draw_end(const struct plan_limits *limits, uint64_t *random, struct plan_end *end)
{
    end->pace = draw(random, 100) < 15 ? PLAN_TINY_CHUNKS : PLAN_BIG_CHUNKS;
    end->fin_delay_ms = draw(random, 100) < 25 ? (uint32_t)draw(random, 50) + 1 : 0;
    draw_stalls(limits, random, end);
}

static void draw_reset(const struct plan_limits *limits, uint64_t *random, struct plan *plan)
{
    plan->resetter = PLAN_NOBODY;
    if (draw(random, 100) >= limits->reset_percent)
        return;
    plan->resetter = draw(random, 2) == 0 ? PLAN_CLIENT : PLAN_SERVER;
    plan->reset_at_bytes = draw(random, plan->ends[plan->resetter].send_bytes + 1);
    if (plan->resetter == PLAN_SERVER)
        return;
    plan->is_early_reset = draw(random, 100) < 20;
    if (!plan->is_early_reset && plan->reset_at_bytes < PLAN_HEADER_BYTES)
        plan->reset_at_bytes = PLAN_HEADER_BYTES;
}

void plan_draw(const struct plan_limits *limits, uint32_t id, struct plan *ret_plan)
{
    uint64_t random = limits->seed * 0x2545f4914f6cdd1du + id;

    memset(ret_plan, 0, sizeof(*ret_plan));
    uint64_t up_bytes = PLAN_HEADER_BYTES + draw_size(limits, &random);
    uint64_t down_bytes = draw_size(limits, &random);
    struct plan_end *client = &ret_plan->ends[PLAN_CLIENT], *server = &ret_plan->ends[PLAN_SERVER];
    client->send_bytes = server->receive_bytes = up_bytes;
    server->send_bytes = client->receive_bytes = down_bytes;
    ret_plan->order =
        draw(&random, 2) == 0 ? PLAN_FREE : (enum plan_order)draw(&random, PLAN_N_ORDERS);
    draw_end(limits, &random, client);
    draw_end(limits, &random, server);
    draw_reset(limits, &random, ret_plan);
}

void plan_write_header(const struct plan *plan, uint32_t id, uint8_t header[PLAN_HEADER_BYTES])
{
    uint64_t words[4] = {
        header_magic,
        (uint64_t)id << 32 | plan->order << 8 | plan->resetter,
        plan->ends[PLAN_CLIENT].send_bytes << 32 | plan->ends[PLAN_SERVER].send_bytes,
        plan->reset_at_bytes,
    };

    memcpy(header, words, sizeof(words));
}

int64_t plan_read_id(const uint8_t header[PLAN_HEADER_BYTES])
{
    uint64_t words[2];

    memcpy(words, header, sizeof(words));
    return words[0] == header_magic ? (int64_t)(words[1] >> 32) : -1;
}
