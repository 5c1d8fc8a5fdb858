#include "lb4/relay/largest.h"

#include <stdbool.h>

void largest_init(struct largest *largest, size_t cap)
{
    largest->cap = cap;
    largest->n = 0;
}

static bool is_smaller(const struct largest_entry *a, const struct largest_entry *b)
{
    return a->size != b->size ? a->size < b->size : a->tie < b->tie;
}

static void swap(struct largest_entry *a, struct largest_entry *b)
{
    struct largest_entry kept = *a;

    *a = *b;
    *b = kept;
}

static void sift_up(struct largest *largest, size_t at)
{
    struct largest_entry *entries = largest->entries;

    while (at > 0 && is_smaller(&entries[at], &entries[(at - 1) / 2])) {
        swap(&entries[at], &entries[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
}

static void sift_down(struct largest *largest)
{
    struct largest_entry *entries = largest->entries;
    size_t at = 0;

    for (;;) {
        size_t child = 2 * at + 1;

        if (child + 1 < largest->n && is_smaller(&entries[child + 1], &entries[child]))
            child++;
        if (child >= largest->n || !is_smaller(&entries[child], &entries[at]))
            return;
        swap(&entries[child], &entries[at]);
        at = child;
    }
}

long largest_offer(struct largest *largest, uint64_t size, uint64_t tie)
{
    struct largest_entry entry = {.size = size, .tie = tie, .place = largest->n};

    if (largest->n < largest->cap) {
        largest->entries[largest->n++] = entry;
        sift_up(largest, entry.place);
        return (long)entry.place;
    }
    if (!is_smaller(&largest->entries[0], &entry))
        return LARGEST_NONE;
    entry.place = largest->entries[0].place;
    largest->entries[0] = entry;
    sift_down(largest);
    return (long)entry.place;
}
