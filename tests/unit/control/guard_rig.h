/* For tests of commands about limits: the first service of a command rig, `db`, has them, and
 * clients of it that come, stay, and are refused. */
#ifndef TEST_GUARD_RIG_H
#define TEST_GUARD_RIG_H

#include "command_rig.h"

#include "lb4/shared/guard.h"
#include "lb4/shared/service_change.h"

enum { GUARD_PLACES_MAX = 64 };

static struct guard_places guard_places[GUARD_PLACES_MAX];
static size_t guard_n_places;

static inline struct service *guarded(void)
{
    return &rig.services.services[0];
}

/* As by a reload. */
static inline void guard_give(const struct conf_guard *guard)
{
    struct service_change change;

    rig.conf.services[0].guard = *guard;
    assert_int_equal(service_prepare(&rig.services, guarded(), &rig.conf.services[0], &change), 0);
    service_commit(&change);
    service_activate(&change);
    service_change_fini(&rig.services, &change);
    guard_n_places = 0;
}

static inline struct addr guard_host(const char *text)
{
    struct addr addr;

    assert_int_equal(addr_parse(text, &addr), 0);
    return addr;
}

/* As relay/admit does it. */
static inline enum refusal guard_come(const char *client)
{
    struct addr addr = guard_host(client);
    uint64_t now_ns = clock_now_ns();
    enum refusal refusal =
        guard_ask(guarded(), &addr, false, now_ns, &guard_places[guard_n_places]);

    if (refusal == REFUSAL_NONE)
        guard_n_places++;
    else
        guard_note_refusal(guarded(), &addr, refusal, now_ns);
    return refusal;
}

static inline void guard_all_leave(void)
{
    while (guard_n_places > 0)
        guard_leave(guarded(), &guard_places[--guard_n_places]);
}

#endif
