#include "lb4/probe/chronicle.h"

#include <stdio.h>

static uint32_t health_of(uint32_t standing)
{
    if (standing & PICK_NEW)
        return PICK_NEW;
    return standing & PICK_DOWN ? PICK_DOWN : standing & PICK_SUSPECT;
}

static void tell(struct probe *probe, uint32_t health, uint64_t now_ns)
{
    probe->told_health = health;
    probe->told_ns = now_ns;
}

void chronicle_begin(struct probe *probe, uint64_t now_ns)
{
    tell(probe, health_of(backend_standing(probe->backend)), now_ns);
}

/* Maintenance, and that one comes from it, is control's to tell: what is in between its word and
 * the prober's hearing of it is no change. A server that drains and is well again still drains. */
void chronicle_note(struct history *history, struct probe *probe, uint64_t now_ns)
{
    uint32_t standing = backend_standing(probe->backend);
    uint32_t health = health_of(standing);
    struct history_entry entry = {.at_ns = now_ns,
                                  .lasted_ns =
                                      now_ns > probe->told_ns ? now_ns - probe->told_ns : 0,
                                  .standing = health ? health : standing & PICK_DRAIN};

    if (health == probe->told_health)
        return;
    if (standing & (PICK_MAINT | PICK_NEW)) {
        tell(probe, health, now_ns);
        return;
    }
    snprintf(entry.service, sizeof(entry.service), "%s", probe->service->name);
    snprintf(entry.server, sizeof(entry.server), "%s", probe->backend->name);
    note_read(&probe->backend->health, entry.why);
    history_append(history, &entry);
    tell(probe, health, now_ns);
}
