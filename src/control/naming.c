/* In each turn: names that came or went with a configuration, answers that came, look-ups that are
 * due, and, if an answer was another one than before, the change. */
#include "lb4/control/naming.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"
#include "lb4/conf/written.h"
#include "lb4/control/privileges.h"
#include "lb4/control/readdress.h"
#include "lb4/shared/service_table.h"

enum {
    LATE_S = 10,     /* then a look-up that is under way has failed, until it answers; chosen */
    HURT_MS = 5000,  /* between look-ups of a name of which a server is down; chosen */
    AGAIN_MS = 1000, /* after a first failure; doubled with each further one; chosen */
    OFF_MS = 30000,  /* at most, of a name that was never found, with `resolve off`; chosen */
    SCAN_MS = 1000,
    RETRY_MS = 5000, /* after a change that failed; chosen */
    KEPT_MS = 50,    /* between looks whether others can serve by now; chosen */
    KEPT_TOLD_S = 5
};

int naming_init(struct naming *naming, struct reload *reload)
{
    *naming = (struct naming){.reload = reload, .due_ns = 0};
    if (getrandom(&naming->random, sizeof(naming->random), 0) < 0)
        naming->random = clock_now_ns();
    naming->lookups = lookups_new(reload->control, privileges_thread_none);
    return naming->lookups ? 0 : -ENOMEM;
}

void naming_fini(struct naming *naming)
{
    lookups_leave(naming->lookups);
    naming->lookups = NULL;
}

/* splitmix64; 0..n-1 */
static uint64_t draw(struct naming *naming, uint64_t n)
{
    uint64_t z = naming->random += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return n > 0 ? (z ^ (z >> 31)) % n : 0;
}

/* --- when ----------------------------------------------------------------------------------------
 */

static uint64_t min_of(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Milliseconds until a name is looked up again; UINT64_MAX: never. */
static uint64_t wait_ms(const struct name_set *set)
{
    bool is_off = set->resolve_ms == CONF_RESOLVE_OFF;
    uint32_t n = set->n_in_a_row > 16 ? 16 : set->n_in_a_row;
    uint64_t ms = set->resolve_ms;

    if (is_off && set->good.n_addrs > 0)
        return UINT64_MAX;
    if (is_off)
        ms = OFF_MS;
    if (n > 0)
        ms = min_of(ms, (uint64_t)AGAIN_MS << (n - 1));
    return set->is_hurt ? min_of(ms, HURT_MS) : ms;
}

/* Up to a tenth earlier, or names that were once asked for at the same time would be for ever. */
static uint64_t next_ns(struct naming *naming, const struct name_set *set, uint64_t now_ns)
{
    uint64_t ms = wait_ms(set);

    if (ms == UINT64_MAX)
        return UINT64_MAX;
    return now_ns + (ms - draw(naming, ms / 10 + 1)) * CLOCK_NS_PER_MS;
}

/* --- the log -------------------------------------------------------------------------------------
 */

static void tell_failing(struct name_set *set, uint64_t now_ns)
{
    char name[NAME_TEXT_MAX];
    const char *cause = lookup_error_text(set->error);

    if (set->told_failing_ns)
        return;
    set->told_failing_ns = set->failing_ns;
    name_set_format(set, name);
    if (set->good.n_addrs == 0)
        log_warn("name %s not resolved: %s; it has no server until it is", name, cause);
    else
        log_warn("name %s: %s; what was found %llu s ago stays", name, cause,
                 (unsigned long long)((now_ns - set->good_ns) / CLOCK_NS_PER_S));
}

/* By a look-up of ours, or by that of a reload. */
static void tell_found(struct name_set *set, uint64_t now_ns)
{
    char name[NAME_TEXT_MAX];

    if (!set->told_failing_ns || set->failing_ns)
        return;
    log_info("name %s: found after %llu s", name_set_format(set, name),
             (unsigned long long)((now_ns - set->told_failing_ns) / CLOCK_NS_PER_S));
    set->told_failing_ns = 0;
}

static void tell_problems(const struct name_sets *sets)
{
    char name[NAME_TEXT_MAX];

    for (size_t i = 0; i < sets->n; i++) {
        struct name_set *set = sets->sets[i];

        if (!set->is_used || strcmp(set->problem, set->told) == 0)
            continue;
        memcpy(set->told, set->problem, sizeof(set->told));
        if (set->problem[0])
            log_warn("name %s: %s", name_set_format(set, name), set->problem);
    }
}

/* --- names of a configuration ------------------------------------------------------------------
 */

static void use_service(struct name_sets *sets, const struct conf_service *service)
{
    size_t n;
    const struct conf_server *servers = conf_written(service, &n);

    for (size_t i = 0; i < n; i++) {
        struct name_set *set =
            servers[i].host ? name_sets_add(sets, servers[i].host, servers[i].is_srv) : NULL;

        if (!set)
            continue;
        set->is_used = true;
        set->resolve_ms = min_of(set->resolve_ms, service->resolve_ms);
    }
}

static void use_conf(struct name_sets *sets, const struct conf *conf)
{
    for (size_t i = 0; conf && i < conf->n_services; i++)
        use_service(sets, &conf->services[i]);
}

/* Begin, or go on with another interval. */
static void plan_set(struct naming *naming, struct name_set *set, uint64_t now_ns)
{
    uint64_t due_ns = next_ns(naming, set, now_ns);

    if (set->due_ns == 0) {
        memcpy(set->told, set->problem, sizeof(set->told));
        set->due_ns = due_ns;
        if (set->failing_ns)
            tell_failing(set, now_ns);
        else if (due_ns != UINT64_MAX)
            set->due_ns = now_ns + draw(naming, due_ns - now_ns);
    } else if (due_ns < set->due_ns || due_ns == UINT64_MAX) {
        set->due_ns = due_ns;
    }
}

static void refresh(struct naming *naming, uint64_t now_ns)
{
    const struct reload *reload = naming->reload;
    struct name_sets *sets = &naming->reload->names;

    if (naming->seen == reload->conf && naming->seen_before == reload->before &&
        naming->seen_ns == reload->changed_ns && naming->seen_end_ns == reload->result.ended_ns)
        return;
    naming->seen = reload->conf;
    naming->seen_before = reload->before;
    naming->seen_ns = reload->changed_ns;
    /* What a run that has changed nothing has said of the sets is not about the present one. */
    naming->is_dirty |= naming->seen_end_ns != reload->result.ended_ns && sets->n > 0;
    naming->seen_end_ns = reload->result.ended_ns;
    for (size_t i = 0; i < sets->n; i++) {
        sets->sets[i]->is_used = false;
        sets->sets[i]->resolve_ms = CONF_RESOLVE_OFF;
    }
    use_conf(sets, reload->conf);
    use_conf(sets, reload->before);
    name_sets_tidy(sets);
    for (size_t i = 0; i < sets->n; i++)
        plan_set(naming, sets->sets[i], now_ns);
}

/* --- look-ups ------------------------------------------------------------------------------------
 */

static void take_answer(struct naming *naming, const struct resolver_name *answer, uint64_t now_ns)
{
    struct name_set *set = name_sets_find(&naming->reload->names, answer->host, answer->is_srv);

    if (!set)
        return;
    set->is_under_way = set->is_late = false;
    name_set_take(set, answer, now_ns);
    if (set->error)
        tell_failing(set, now_ns);
    set->due_ns = next_ns(naming, set, now_ns);
}

static void take_answers(struct naming *naming, uint64_t now_ns)
{
    struct resolver_name answer;

    while (lookups_take(naming->lookups, &answer)) {
        take_answer(naming, &answer, now_ns);
        free((char *)(uintptr_t)answer.host);
    }
}

static void note_failed(struct name_set *set, int error, uint64_t now_ns)
{
    const struct resolver_name nothing = {.error = error};

    name_set_take(set, &nothing, now_ns);
    tell_failing(set, now_ns);
}

static bool is_overdue(const struct name_set *set, uint64_t now_ns)
{
    return now_ns >= set->started_ns + LATE_S * CLOCK_NS_PER_S;
}

/* It goes on, and its answer counts whenever it comes. */
static void note_late(struct name_set *set, uint64_t now_ns)
{
    set->is_late = true;
    note_failed(set, EAI_INPROGRESS, now_ns);
}

static void start(struct naming *naming, struct name_set *set, uint64_t now_ns)
{
    bool has_begun = lookups_start(naming->lookups, set->host, set->is_srv);

    if (has_begun || !set->is_put_off)
        set->started_ns = now_ns;
    set->is_under_way = has_begun;
    set->is_put_off = !has_begun;
    if (has_begun)
        return;
    set->due_ns = now_ns + AGAIN_MS * CLOCK_NS_PER_MS;
    if (is_overdue(set, now_ns) && !set->failing_ns)
        note_failed(set, LOOKUP_NO_THREAD, now_ns);
}

static void step_sets(struct naming *naming, uint64_t now_ns, bool may_begin)
{
    struct name_sets *sets = &naming->reload->names;

    for (size_t i = 0; i < sets->n; i++) {
        struct name_set *set = sets->sets[i];

        naming->is_dirty |= set->is_other;
        set->is_other = false;
        tell_found(set, now_ns);
        if (set->is_under_way && !set->is_late && is_overdue(set, now_ns))
            note_late(set, now_ns);
        else if (!set->is_under_way && set->is_used && may_begin && now_ns >= set->due_ns)
            start(naming, set, now_ns);
    }
}

/* --- servers that are down -----------------------------------------------------------------------
 */

static void hurt(struct naming *naming, struct name_set *set, uint64_t now_ns)
{
    if (!set->was_hurt && set->resolve_ms != CONF_RESOLVE_OFF)
        set->due_ns = min_of(set->due_ns, now_ns + draw(naming, AGAIN_MS * CLOCK_NS_PER_MS));
    set->is_hurt = true;
}

static void scan_service(struct naming *naming, const struct conf_service *service,
                         const struct service *serving, uint64_t now_ns)
{
    for (size_t i = 0; i < serving->n_places; i++) {
        const struct backend *backend = &serving->backends[i];
        const struct conf_server *server =
            backend->state == BACKEND_SERVING &&
                    backend_standing(backend) & (PICK_DOWN | PICK_SUSPECT)
                ? readdress_written(service, backend->name)
                : NULL;
        struct name_set *set =
            server ? name_sets_find(&naming->reload->names, server->host, server->is_srv) : NULL;

        if (set)
            hurt(naming, set, now_ns);
    }
}

static void scan(struct naming *naming, uint64_t now_ns)
{
    const struct conf *conf = naming->reload->conf;
    struct name_sets *sets = &naming->reload->names;

    if (sets->n == 0 || now_ns < naming->scan_ns)
        return;
    naming->scan_ns = now_ns + SCAN_MS * CLOCK_NS_PER_MS;
    for (size_t i = 0; i < sets->n; i++) {
        sets->sets[i]->was_hurt = sets->sets[i]->is_hurt;
        sets->sets[i]->is_hurt = false;
    }
    for (size_t i = 0; i < conf->n_services; i++) {
        const struct service *serving =
            conf->services[i].written
                ? service_table_find(&naming->reload->runtime->services, conf->services[i].name)
                : NULL;

        if (serving)
            scan_service(naming, &conf->services[i], serving, now_ns);
    }
}

/* --- other addresses -----------------------------------------------------------------------------
 */

static void change(struct naming *naming, uint64_t now_ns)
{
    char text[CHANGE_ERROR_MAX];
    int error;

    if (!naming->is_dirty || now_ns < naming->try_ns || !readdress_may(naming->reload))
        return;
    error = readdress(naming->reload, now_ns, text);
    tell_problems(&naming->reload->names);
    if (error < 0) {
        naming->try_ns = now_ns + RETRY_MS * CLOCK_NS_PER_MS;
        if (strcmp(naming->told, text) != 0)
            log_error("names: new addresses cannot be used yet: %s", text);
        snprintf(naming->told, sizeof(naming->told), "%s", text);
        return;
    }
    naming->is_dirty = false;
    naming->told[0] = '\0';
    if (error > 0) {
        naming->keeps = true;
        naming->is_told_kept = false;
        naming->kept_ns = now_ns;
    }
}

/* Those that were kept go once others can serve. */
static void release(struct naming *naming, uint64_t now_ns)
{
    if (!naming->keeps || reload_is_changing(naming->reload))
        return;
    naming->keeps = readdress_release(naming->reload);
    if (naming->keeps && !naming->is_told_kept &&
        now_ns >= naming->kept_ns + KEPT_TOLD_S * CLOCK_NS_PER_S) {
        naming->is_told_kept = true;
        log_warn("names: no new address has answered a check; those they replace serve on");
    }
}

/* --- a turn --------------------------------------------------------------------------------------
 */

static uint64_t set_due_ns(const struct name_set *set)
{
    if (!set->is_under_way)
        return set->is_used ? set->due_ns : UINT64_MAX;
    return set->is_late ? UINT64_MAX : set->started_ns + LATE_S * CLOCK_NS_PER_S;
}

static void plan_turn(struct naming *naming, uint64_t now_ns)
{
    const struct name_sets *sets = &naming->reload->names;

    naming->due_ns = sets->n > 0 ? naming->scan_ns : UINT64_MAX;
    for (size_t i = 0; i < sets->n; i++)
        naming->due_ns = min_of(naming->due_ns, set_due_ns(sets->sets[i]));
    if (naming->is_dirty && readdress_may(naming->reload))
        naming->due_ns = min_of(naming->due_ns, naming->try_ns);
    if (naming->keeps && !reload_is_changing(naming->reload))
        naming->due_ns = min_of(naming->due_ns, now_ns + KEPT_MS * CLOCK_NS_PER_MS);
}

void naming_step(struct naming *naming, uint64_t now_ns, bool may_begin)
{
    if (!naming->lookups)
        return;
    refresh(naming, now_ns);
    take_answers(naming, now_ns);
    step_sets(naming, now_ns, may_begin);
    if (may_begin) {
        scan(naming, now_ns);
        change(naming, now_ns);
        release(naming, now_ns);
    }
    plan_turn(naming, now_ns);
}

uint64_t naming_due_ns(const struct naming *naming)
{
    return naming->due_ns;
}
