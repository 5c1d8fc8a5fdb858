/* A change of a server's state, or of a service's, as an event of the log (base/log.h): always
 * told, as a sentence in text; in JSON with event=state, service, server, state, why and lasted_s
 * beside the sentence.
 *
 *    const struct state_event event = {service, server, "down", reason, 120 * CLOCK_NS_PER_S};
 *    state_event_tell(LOG_LEVEL_WARN, &event, "server %s/%s is DOWN: ...", ...);
 */
#ifndef LB4_SHARED_STATE_EVENT_H
#define LB4_SHARED_STATE_EVENT_H

#include <stdint.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"

struct state_event {
    const char *service;
    const char *server; /* NULL: the service as a whole */
    const char *state;  /* a word: up down suspect new drain maint ready flapping unknown;
                           of a service also holding released */
    const char *why;    /* NULL: the state and the sentence say it all */
    uint64_t lasted_ns; /* the state before; 0 = not known, or none */
};

extern const struct log_form state_event_form;

enum { STATE_EVENT_VALUES = 5 };

void state_event_values(const struct state_event *event,
                        union log_value values[static STATE_EVENT_VALUES]);

#define state_event_tell(level, event, ...)                                \
    do {                                                                   \
        union log_value state_event_told[STATE_EVENT_VALUES];              \
                                                                           \
        state_event_values(event, state_event_told);                       \
        log_told(level, &state_event_form, state_event_told, __VA_ARGS__); \
    } while (0)

#endif
