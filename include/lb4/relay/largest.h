/* The N largest of a stream of things that are looked at one after the other, in a bounded heap:
 * most of a long stream cost one comparison. Pure. */
#ifndef LB4_RELAY_LARGEST_H
#define LB4_RELAY_LARGEST_H

#include <stddef.h>
#include <stdint.h>

enum { LARGEST_MAX = 200 };

struct largest_entry {
    uint64_t size;
    uint64_t tie; /* of equal sizes, the larger one of these */
    size_t place; /* the caller's, 0..cap-1 */
};

struct largest {
    size_t cap; /* 1..LARGEST_MAX */
    size_t n;
    struct largest_entry entries[LARGEST_MAX]; /* the smallest first: a heap */
};

enum { LARGEST_NONE = -1 };

void largest_init(struct largest *largest, size_t cap);

/* Is it among the largest so far? Then the place that is its own from now on, perhaps that of the
 * one it supersedes; else LARGEST_NONE. */
long largest_offer(struct largest *largest, uint64_t size, uint64_t tie);

#endif
