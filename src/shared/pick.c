#include "lb4/shared/pick.h"

#include <errno.h>
#include <stdlib.h>

bool pick_is_less(struct pick_load a, struct pick_load b)
{
    return ((uint64_t)a.active + 1) * b.weight < ((uint64_t)b.active + 1) * a.weight;
}

static uint32_t gcd(uint32_t a, uint32_t b)
{
    while (b) {
        uint32_t rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

/* A server's k-th place of `count` in a sequence of `length` lies ideally at (2k + 1) * length /
 * (2 * count). Filling the sequence in the order of these ideal places spreads every server evenly;
 * a binary heap finds the next one in log n. */
struct turn {
    uint64_t done;  /* places given so far */
    uint32_t count; /* places in all */
    uint16_t index;
};

static bool turn_is_before(const struct turn *a, const struct turn *b)
{
    uint64_t left = (2 * a->done + 1) * b->count;
    uint64_t right = (2 * b->done + 1) * a->count;

    return left != right ? left < right : a->index < b->index;
}

static void sift_down(struct turn *heap, size_t n, size_t at)
{
    for (;;) {
        size_t first = at;
        size_t left = 2 * at + 1;
        struct turn moved;

        if (left < n && turn_is_before(&heap[left], &heap[first]))
            first = left;
        if (left + 1 < n && turn_is_before(&heap[left + 1], &heap[first]))
            first = left + 1;
        if (first == at)
            return;
        moved = heap[at];
        heap[at] = heap[first];
        heap[first] = moved;
        at = first;
    }
}

static struct turn *make_heap(const uint32_t *weights, size_t n, size_t *ret_length)
{
    struct turn *heap = calloc(n ? n : 1, sizeof(*heap));
    uint32_t divisor = 0;

    if (!heap)
        return NULL;
    for (size_t i = 0; i < n; i++)
        divisor = gcd(weights[i], divisor);
    *ret_length = 0;
    for (size_t i = 0; i < n; i++) {
        heap[i].count = weights[i] / divisor;
        heap[i].index = (uint16_t)i;
        *ret_length += heap[i].count;
    }
    for (size_t i = n / 2; i-- > 0;)
        sift_down(heap, n, i);
    return heap;
}

uint16_t *pick_sequence(const uint32_t *weights, size_t n_servers, size_t *ret_length)
{
    size_t length;
    struct turn *heap = make_heap(weights, n_servers, &length);
    uint16_t *sequence = heap ? calloc(length ? length : 1, sizeof(*sequence)) : NULL;

    for (size_t i = 0; sequence && i < length; i++) {
        sequence[i] = heap[0].index;
        heap[0].done++;
        sift_down(heap, n_servers, 0);
    }
    free(heap);
    if (sequence)
        *ret_length = length;
    return sequence;
}

bool pick_set_has(const struct pick_set *set, size_t index)
{
    return set->bits && (set->bits[index / 64] >> (index % 64) & 1);
}

int pick_set_add(struct pick_set *set, size_t index, size_t n_servers)
{
    if (!set->bits)
        set->bits = calloc((n_servers + 63) / 64, sizeof(*set->bits));
    if (!set->bits)
        return -ENOMEM;
    set->bits[index / 64] |= 1ull << (index % 64);
    return 0;
}

void pick_set_free(struct pick_set *set)
{
    free(set->bits);
    set->bits = NULL;
}
