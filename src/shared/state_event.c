#include "lb4/shared/state_event.h"

static const struct log_key keys[STATE_EVENT_VALUES] = {
    {"service", LOG_TEXT}, {"server", LOG_TEXT},     {"state", LOG_TEXT},
    {"why", LOG_TEXT},     {"lasted_s", LOG_NUMBER},
};

const struct log_form state_event_form = {"state", keys, STATE_EVENT_VALUES};

void state_event_values(const struct state_event *event,
                        union log_value values[static STATE_EVENT_VALUES])
{
    values[0].text = event->service;
    values[1].text = event->server;
    values[2].text = event->state;
    values[3].text = event->why;
    values[4].number = event->lasted_ns / CLOCK_NS_PER_S;
}
