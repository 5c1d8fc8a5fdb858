/* Memory for arrays that may grow but never move, as other threads hold pointers into them: address
 * space for the largest number is set aside at once, pages come with their first use.
 *
 * Source: mmap(2), MAP_NORESERVE. */
#ifndef LB4_SHARED_RESERVE_H
#define LB4_SHARED_RESERVE_H

#include <stddef.h>

/* `n` objects of `size` bytes, all zero, page-aligned; 1.. of each. NULL: no address space. */
void *reserve_memory(size_t n, size_t size);

/* With the same numbers. NULL is fine. */
void reserve_release(void *memory, size_t n, size_t size);

#endif
