#include "lb4/shared/pick.h"

#include <errno.h>
#include <stdlib.h>

static uint32_t gcd(uint32_t a, uint32_t b)
{
    while (b) {
        uint32_t rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

/* Earliest deadline first: a server's k-th place of `count` must lie in [k * length / count,
 * (k + 1) * length / count). Of those whose window has opened the one whose window closes first is
 * next; as the windows are exactly full, nobody is ever a whole place off its share. */
struct turn {
    uint64_t key;
    uint32_t count;
    uint32_t done;
    uint16_t index;
};

struct heap {
    struct turn *turns;
    size_t n;
};

static bool turn_is_before(const struct turn *a, const struct turn *b)
{
    return a->key != b->key ? a->key < b->key : a->index < b->index;
}

static void heap_push(struct heap *heap, struct turn turn)
{
    size_t at = heap->n++;

    while (at > 0 && turn_is_before(&turn, &heap->turns[(at - 1) / 2])) {
        heap->turns[at] = heap->turns[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap->turns[at] = turn;
}

static struct turn heap_pop(struct heap *heap)
{
    struct turn first = heap->turns[0];
    struct turn moved = heap->turns[--heap->n];
    size_t at = 0;

    for (;;) {
        size_t child = 2 * at + 1;

        if (child + 1 < heap->n && turn_is_before(&heap->turns[child + 1], &heap->turns[child]))
            child++;
        if (child >= heap->n || !turn_is_before(&heap->turns[child], &moved))
            break;
        heap->turns[at] = heap->turns[child];
        at = child;
    }
    heap->turns[at] = moved;
    return first;
}

static void fill(uint16_t *sequence, size_t length, struct heap *closed, struct heap *open)
{
    for (size_t at = 0; at < length; at++) {
        struct turn turn;

        while (closed->n > 0 && closed->turns[0].key <= at) {
            turn = heap_pop(closed);
            turn.key = ((turn.done + 1ull) * length + turn.count - 1) / turn.count;
            heap_push(open, turn);
        }
        turn = heap_pop(open);
        sequence[at] = turn.index;
        turn.done++;
        turn.key = (uint64_t)turn.done * length / turn.count;
        if (turn.done < turn.count)
            heap_push(closed, turn);
    }
}

uint16_t *pick_sequence(const uint32_t *weights, size_t n_servers, size_t *ret_length)
{
    struct turn *turns = calloc(2 * n_servers, sizeof(*turns));
    struct heap closed = {turns, 0};
    struct heap open = {turns ? turns + n_servers : NULL, 0};
    uint16_t *sequence = NULL;
    uint32_t divisor = 0;
    size_t length = 0;

    for (size_t i = 0; i < n_servers; i++)
        divisor = gcd(weights[i], divisor);
    for (size_t i = 0; turns && i < n_servers; i++) {
        heap_push(&closed, (struct turn){.count = weights[i] / divisor, .index = (uint16_t)i});
        length += weights[i] / divisor;
    }
    if (turns)
        sequence = calloc(length, sizeof(*sequence));
    if (sequence)
        fill(sequence, length, &closed, &open);
    free(turns);
    *ret_length = length;
    return sequence;
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

void pick_set_remove(struct pick_set *set, size_t index)
{
    if (set->bits)
        set->bits[index / 64] &= ~(1ull << (index % 64));
}

void pick_set_free(struct pick_set *set)
{
    free(set->bits);
    set->bits = NULL;
}
