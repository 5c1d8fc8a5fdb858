/* A place on a server for a TCP client: the choice (choose.h), and the limit that a server may have
 * (`maxconn`), exact over all workers: a place is taken by compare-and-swap against it.
 *
 * What counts against the limit is struct backend_slot.active: connections, and also UDP sessions,
 * which are never refused by it. PICK_FULL keeps choices away from a server whose places are taken:
 * it may be missing for an instant, then the compare-and-swap fails; it never stays once a place is
 * free. Where no server of the service has a limit all this is one branch. */
#ifndef LB4_SHARED_PLACE_H
#define LB4_SHARED_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "lb4/shared/choose.h"

struct choice;

enum place_result {
    PLACE_TAKEN,
    PLACE_FULL,  /* those it would be sent to have no place: it may wait for one */
    PLACE_NOBODY /* no server is usable, or all usable ones were tried */
};

static inline uint32_t backend_limit(const struct backend *backend)
{
    return atomic_load_explicit(&backend->maxconn, memory_order_relaxed);
}

/* Choose a server and take a place on it: the caller owes a place_give_back(). A full server is
 * passed over. Not for one that is only second best: a client does not go to a backup or a suspect
 * since those before it are full; under `source` it waits for its own server. Thread: any worker.
 */
enum place_result place_take(struct service *service, const struct service_client *client,
                             struct backend **ret);

/* A place on this server; false: it has none. */
bool place_take_at(struct service *service, struct backend *backend);

/* The one way to end what backend_acquire() or place_take() began. Wakes who waits for a place. */
void place_give_back(struct service *service, struct backend *backend);

/* Of this plan: are full servers passed over, or found and waited for? */
bool place_minds_full(const struct service_plan *plan);
/* Must a client wait for whom this was chosen (NULL: nobody)? */
bool place_must_wait(const struct choice *choice, const struct backend *chosen);

/* Control, 0 = no limit. Connections above a lower one go on. */
void place_set_limit(struct service *service, struct backend *backend, uint32_t maxconn);
/* ... and when every thread has seen the limit: PICK_FULL is right again. */
void place_review(struct service *service, struct backend *backend);

#endif
