#include "lb4/shared/origins.h"

#include <errno.h>
#include <stdlib.h>

#include "lb4/conf/origins.h"
#include "lb4/shared/plan.h"

static void find_needs(const struct service_seat *seats, size_t n_seats, size_t *ret_n,
                       size_t *ret_places)
{
    *ret_n = 0;
    *ret_places = 0;
    for (size_t i = 0; i < n_seats; i++) {
        *ret_n += seats[i].origin || seats[i].source;
        if (seats[i].backend->index >= *ret_places)
            *ret_places = seats[i].backend->index + 1;
    }
}

static void add(struct origins *origins, const struct service_seat *seat)
{
    struct origin origin;

    conf_origin(seat->source, seat->origin, &origin);
    if (origin_is_none(&origin))
        return;
    if (origins->n == 0 || !origin_equal(&origins->list[origins->n - 1], &origin))
        origins->list[origins->n++] = origin;
    origins->at[seat->backend->index] = (uint16_t)origins->n;
}

int origins_init(struct origins *origins, const struct service_seat *seats, size_t n_seats)
{
    size_t n;
    size_t n_places;
    struct origin *fitting;

    *origins = (struct origins){0};
    find_needs(seats, n_seats, &n, &n_places);
    if (n == 0)
        return 0;
    origins->list = calloc(n, sizeof(*origins->list));
    origins->at = calloc(n_places, sizeof(*origins->at));
    if (!origins->list || !origins->at) {
        origins_fini(origins);
        return -ENOMEM;
    }
    origins->n_places = n_places;
    for (size_t i = 0; i < n_seats; i++)
        add(origins, &seats[i]);
    fitting = realloc(origins->list, (origins->n + 1) * sizeof(*fitting));
    origins->list = fitting ? fitting : origins->list;
    return 0;
}

void origins_fini(struct origins *origins)
{
    free(origins->list);
    free(origins->at);
    *origins = (struct origins){0};
}
