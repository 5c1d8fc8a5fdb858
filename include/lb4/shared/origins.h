/* From where the servers of a plan are reached (base/origin.h), by their places. Built by control
 * with the plan, constant, freed with it. Most plans have none. */
#ifndef LB4_SHARED_ORIGINS_H
#define LB4_SHARED_ORIGINS_H

#include <stddef.h>
#include <stdint.h>

#include "lb4/base/origin.h"

struct service_seat;

struct origins {
    struct origin *list; /* neighbours that are equal share one */
    size_t n;
    uint16_t *at; /* by place: 1 + index in list; 0 = as the kernel likes. NULL: all are so */
    size_t n_places;
};

/* Of the seats' `origin` and `source`. Returns 0 or -ENOMEM. */
int origins_init(struct origins *origins, const struct service_seat *seats, size_t n_seats);
void origins_fini(struct origins *origins);

/* NULL: as the kernel likes. */
static inline const struct origin *origins_of(const struct origins *origins, size_t place)
{
    if (!origins->at || place >= origins->n_places || origins->at[place] == 0)
        return NULL;
    return &origins->list[origins->at[place] - 1];
}

#endif
