/* How many there were within a time, by so many parts of that time. Pure.
 *
 * What is counted is never further apart than the time; what lies between 15/16 of it and all of it
 * may be forgotten already. */
#ifndef LB4_PROBE_TALLY_H
#define LB4_PROBE_TALLY_H

#include <stdint.h>

enum { TALLY_PARTS = 16 }; /* chosen */

/* Empty = all zero. */
struct tally {
    uint32_t n[TALLY_PARTS];
    uint64_t part; /* the last one that was added to, counted from time 0 */
};

/* Add `n` at now_ns, which does not go back. Returns how many there were within the time. */
uint64_t tally_add(struct tally *tally, uint64_t within_ns, uint32_t n, uint64_t now_ns);

#endif
