#include "lb4/shared/reserve.h"

#include <sys/mman.h>

void *reserve_memory(size_t n, size_t size)
{
    void *memory = mmap(NULL, n * size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

void reserve_release(void *memory, size_t n, size_t size)
{
    if (memory)
        munmap(memory, n * size);
}
