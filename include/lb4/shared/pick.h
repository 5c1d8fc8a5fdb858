/* The arithmetic of choice: pure functions over readings, no atomics, no clocks.
 *
 * Readings are taken without a lock, so two workers that choose at the same instant may choose the
 * same server: least connections is exact to within the number of workers. */
#ifndef LB4_SHARED_PICK_H
#define LB4_SHARED_PICK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The load of one server: (active + 1) / weight, smaller is better. */
struct pick_load {
    uint32_t active;
    uint32_t weight; /* 1..CONF_WEIGHT_MAX */
};

/* Is `a` less loaded than `b`? Exact, by cross multiplication. */
bool pick_is_less(struct pick_load a, struct pick_load b);

/* Smooth weighted round robin as a sequence: each server stands in it as often as its weight
 * (divided by the greatest common divisor of all) says, spread as evenly as possible. A shared
 * counter walks it, so that the order holds over all workers. Returns the sequence (malloc) of
 * *ret_length server indices, NULL when there is no memory. */
uint16_t *pick_sequence(const uint32_t *weights, size_t n_servers, size_t *ret_length);

/* A set of servers that one client has tried already. Empty = all zero, holds no memory. */
struct pick_set {
    uint64_t *bits; /* malloc at the first add, n_servers bits */
};

bool pick_set_has(const struct pick_set *set, size_t index);
/* Returns 0 or -ENOMEM. n_servers is the same in every call. */
int pick_set_add(struct pick_set *set, size_t index, size_t n_servers);
void pick_set_free(struct pick_set *set);

#endif
