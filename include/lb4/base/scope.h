/* Ownership that is visible in the text: a variable that closes or frees itself at the end of its
 * scope, and the verb that hands it on. For set-up code; in the loop each object has exactly one
 * close function instead. */
#ifndef LB4_BASE_SCOPE_H
#define LB4_BASE_SCOPE_H

#include <stdlib.h>
#include <unistd.h>

#define scope_close __attribute__((cleanup(scope_close_fd))) /* on an int; -1 = owns nothing */
#define scope_free __attribute__((cleanup(scope_free_ptr)))  /* on a pointer from malloc */

static inline void scope_close_fd(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void scope_free_ptr(void *ptr)
{
    free(*(void **)ptr);
}

/* Hand a descriptor over: returns it and leaves -1 behind. */
static inline int take_fd(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

#endif
