/* Numbers that the kernel tells in /proc: the one reader of them. Thread: any. */
#ifndef LB4_BASE_PROC_H
#define LB4_BASE_PROC_H

#include <stddef.h>
#include <stdint.h>

/* The numbers of the first line of a file, with blanks or tabs between; at most n of them. Returns
 * how many: 0 if the file is not there, or something else stands there first. */
size_t proc_numbers(const char *path, uint64_t *ret, size_t n);

/* The first number, or `fallback` if there is none. */
uint64_t proc_number(const char *path, uint64_t fallback);

/* Local ports for connections, ip(7): ip_local_port_range without ip_local_reserved_ports. */
struct proc_ports {
    uint32_t first;
    uint32_t last;
    uint32_t n_reserved; /* of that range */
};

void proc_ports_read(struct proc_ports *ret);

static inline uint32_t proc_ports_count(const struct proc_ports *ports)
{
    return ports->last - ports->first + 1 - ports->n_reserved;
}

/* How many ports of first..last a list as "8080,9148,30000-40000" names. A word that is none of
 * those ends it. Pure. */
uint32_t proc_ports_listed(const char *list, uint32_t first, uint32_t last);

#endif
