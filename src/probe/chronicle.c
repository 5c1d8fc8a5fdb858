#include "lb4/probe/chronicle.h"

#include <stdio.h>

static uint32_t health_of(const struct probe *probe)
{
    uint32_t standing = backend_standing(probe->backend);

    if (standing & PICK_NEW)
        return PICK_NEW;
    return standing & PICK_DOWN ? PICK_DOWN : standing & PICK_SUSPECT;
}

void chronicle_begin(struct probe *probe, uint64_t now_ns)
{
    probe->told_health = health_of(probe);
    probe->told_ns = now_ns;
}

void chronicle_note(struct history *history, struct probe *probe, uint64_t now_ns)
{
    struct history_entry entry = {
        .at_ns = now_ns, .lasted_ns = now_ns - probe->told_ns, .standing = health_of(probe)};

    if (entry.standing == probe->told_health)
        return;
    snprintf(entry.service, sizeof(entry.service), "%s", probe->service->name);
    snprintf(entry.server, sizeof(entry.server), "%s", probe->backend->name);
    note_read(&probe->backend->health, entry.why);
    history_append(history, &entry);
    chronicle_begin(probe, now_ns);
}
