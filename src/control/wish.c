#include "lb4/control/wish.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"
#include "lb4/base/number.h"
#include "lb4/control/reload.h"
#include "lb4/control/table.h"
#include "lb4/shared/state_event.h"

/* --- how long --------------------------------------------------------------------------------- */

/* "--wait TIME" behind the target, or nothing: 0. */
static bool read_wait(struct command_call *call, uint64_t *ret_ms)
{
    *ret_ms = 0;
    if (call->n_words == 2)
        return true;
    if (strcmp(call->words[2], "--wait") != 0)
        command_fail(call, "%s: '%.64s' is not accepted here: --wait TIME", call->words[0],
                     call->words[2]);
    else if (call->n_words == 3)
        command_fail(call, "%s: --wait needs a time, as in --wait 60s", call->words[0]);
    else if (number_parse_duration(call->words[3], 1, CONF_DURATION_MAX_MS, ret_ms) < 0)
        command_fail(call, "%s: '%.64s' is no time to wait: 1ms..365d, as in 60s", call->words[0],
                     call->words[3]);
    else
        return true;
    return false;
}

/* --- the answer ------------------------------------------------------------------------------- */

static enum command_result answer(struct command_call *call, const struct command_target *target)
{
    static const char *const columns[] = {"service", "server",     "state",   "weight",
                                          "active",  "servers_up", "servers", NULL};
    uint32_t standing = backend_standing(target->backend);
    struct table table;

    table_begin(&table, call->reply, columns);
    table_row(&table);
    table_text(&table, target->service->name);
    table_text(&table, target->backend->name);
    table_text(&table, snapshot_state(standing));
    table_number(&table, standing & PICK_WEIGHT_MASK);
    table_number(&table, backend_active(target->backend));
    table_number(&table, snapshot_n_usable(target->service));
    table_number(&table, snapshot_n_servers(target->service));
    table_end(&table);
    return COMMAND_DONE;
}

static void wait_for(struct command_call *call, const struct command_target *target,
                     enum command_wait_kind kind)
{
    struct command_wait *wait = &call->wait;

    *wait = (struct command_wait){.kind = kind};
    snprintf(wait->service, sizeof(wait->service), "%s", target->service->name);
    snprintf(wait->server, sizeof(wait->server), "%s", target->backend->name);
}

static enum command_result begin_wait(struct command_call *call,
                                      const struct command_target *target,
                                      enum command_wait_kind kind, uint64_t wait_ms)
{
    wait_for(call, target, kind);
    call->wait.wait_ms = wait_ms;
    call->wait.until_ns = call->now_ns + wait_ms * CLOCK_NS_PER_MS;
    return wish_check(call);
}

static bool has_come(const struct command_wait *wait, const struct backend *backend)
{
    switch (wait->kind) {
    case COMMAND_WAIT_EMPTY:
        return backend_active(backend) == 0;
    case COMMAND_WAIT_USABLE:
        return !(backend_standing(backend) & PICK_UNUSABLE);
    case COMMAND_WAIT_LIST:
    case COMMAND_WAIT_BUSIEST:
    case COMMAND_WAIT_KILL:
    case COMMAND_WAIT_RELOAD:
    case COMMAND_WAIT_WEIGHT:
    case COMMAND_WAIT_WHY:
        break; /* others' */
    }
    return true;
}

/* Somebody else wished otherwise meanwhile. */
static bool is_overtaken(const struct command_wait *wait, uint32_t standing)
{
    bool is_away = standing & (PICK_DRAIN | PICK_MAINT);

    return is_away != (wait->kind == COMMAND_WAIT_EMPTY);
}

static enum command_result fail_late(struct command_call *call, const struct command_target *target)
{
    const struct command_wait *wait = &call->wait;
    char waited[NUMBER_TEXT_MAX];
    char why[NOTE_TEXT_MAX];

    number_format_duration(wait->wait_ms, waited);
    if (wait->kind == COMMAND_WAIT_EMPTY)
        return command_fail(call, "%s/%s still holds %u connections after %s; it stays in %s",
                            wait->service, wait->server, backend_active(target->backend), waited,
                            snapshot_state(backend_standing(target->backend)));
    note_read(&target->backend->health, why);
    return command_fail(call, "%s/%s takes no clients after %s: it is %s: %s", wait->service,
                        wait->server, waited, snapshot_state(backend_standing(target->backend)),
                        why);
}

static enum command_result set_weight(struct command_call *call,
                                      const struct command_target *target);

enum command_result wish_check(struct command_call *call)
{
    const struct command_wait *wait = &call->wait;
    struct command_target target;

    if (!command_find_server(call, wait->service, wait->server, &target, false))
        return COMMAND_FAILED;
    if (wait->kind == COMMAND_WAIT_WEIGHT)
        return set_weight(call, &target);
    if (is_overtaken(wait, backend_standing(target.backend)))
        return command_fail(call, "%s/%s: somebody else has changed its state to %s", wait->service,
                            wait->server, snapshot_state(backend_standing(target.backend)));
    if (has_come(wait, target.backend))
        return answer(call, &target);
    return call->now_ns < wait->until_ns ? COMMAND_WAITS : fail_late(call, &target);
}

/* --- drain, maint, ready ---------------------------------------------------------------------- */

enum wish { WISH_READY, WISH_DRAIN, WISH_MAINT };

static const char *const wish_words[] = {
    [WISH_READY] = "ready", [WISH_DRAIN] = "drain", [WISH_MAINT] = "maint"};

static enum wish wish_of(uint32_t standing)
{
    if (standing & PICK_MAINT)
        return WISH_MAINT;
    return standing & PICK_DRAIN ? WISH_DRAIN : WISH_READY;
}

/* Flags are set before others are cleared: at no instant is it usable in between. */
static void store(const struct command_target *target, enum wish before, enum wish wish)
{
    struct backend *backend = target->backend;

    if (before == WISH_MAINT && service_plan(target->service)->check->is_probed)
        backend_set(backend, PICK_NEW);
    switch (wish) {
    case WISH_READY:
        backend_clear(backend, PICK_DRAIN | PICK_MAINT);
        break;
    case WISH_DRAIN:
        backend_set(backend, PICK_DRAIN);
        backend_clear(backend, PICK_MAINT);
        break;
    case WISH_MAINT:
        backend_set(backend, PICK_MAINT);
        backend_clear(backend, PICK_DRAIN | PICK_NEW);
        break;
    }
}

static void tell(struct command_call *call, const struct command_target *target, enum wish before,
                 enum wish wish)
{
    size_t n_usable = snapshot_n_usable(target->service);
    char text[NOTE_TEXT_MAX];
    const struct state_event event = {target->service->name, target->backend->name,
                                      wish_words[wish], text, 0};

    snprintf(text, sizeof(text), "%s, by uid %u", wish_words[wish], call->uid);
    note_write(&target->backend->wish, clock_now_ns(), text);
    mailbox_post(&call->from->prober->mailbox, MAILBOX_WISH);
    state_event_tell(
        LOG_LEVEL_INFO, &event,
        "admin: uid %u: server %s/%s: %s (it was %s); it holds %u connections; %zu of %zu "
        "servers of %s are up",
        call->uid, target->service->name, target->backend->name, wish_words[wish],
        wish_words[before], backend_active(target->backend), n_usable,
        snapshot_n_servers(target->service), target->service->name);
    if (n_usable == 0 && wish != WISH_READY)
        log_warn("service %s: no server takes new clients now", target->service->name);
}

static void record(struct command_call *call, const struct command_target *target,
                   struct history_entry *entry)
{
    if (!call->from->wishes)
        return;
    snprintf(entry->service, sizeof(entry->service), "%s", target->service->name);
    snprintf(entry->server, sizeof(entry->server), "%s", target->backend->name);
    note_read(&target->backend->wish, entry->why);
    history_append(call->from->wishes, entry);
}

/* What history gets is taken before the prober hears of it, which may have an answer at once. */
static void set_wish(struct command_call *call, const struct command_target *target,
                     enum wish before, enum wish wish)
{
    struct snapshot_server snapshot;
    struct history_entry entry;

    snapshot_take_server(call->from, target->service, target->backend, &snapshot);
    store(target, before, wish);
    waiting_wake_all(target->service);
    entry = (struct history_entry){.at_ns = clock_now_ns(),
                                   .lasted_ns = snapshot.since_s * CLOCK_NS_PER_S,
                                   .standing = backend_standing(target->backend)};
    tell(call, target, before, wish);
    record(call, target, &entry);
}

static enum command_result change(struct command_call *call, enum wish wish)
{
    struct command_target target;
    enum wish before;
    uint64_t wait_ms;

    if (!read_wait(call, &wait_ms) || !command_find_target(call, &target, false))
        return COMMAND_FAILED;
    before = wish_of(backend_standing(target.backend));
    if (before != wish)
        set_wish(call, &target, before, wish);
    if (wait_ms == 0)
        return answer(call, &target);
    return begin_wait(call, &target, wish == WISH_READY ? COMMAND_WAIT_USABLE : COMMAND_WAIT_EMPTY,
                      wait_ms);
}

enum command_result wish_drain(struct command_call *call)
{
    return change(call, WISH_DRAIN);
}

enum command_result wish_maint(struct command_call *call)
{
    return change(call, WISH_MAINT);
}

enum command_result wish_ready(struct command_call *call)
{
    return change(call, WISH_READY);
}

/* --- weight ----------------------------------------------------------------------------------- */

/* Others change something, which takes milliseconds. */
static const uint64_t WEIGHT_PATIENCE_NS = 10 * 1000000000ull; /* chosen: with a busy machine */

static enum command_result set_weight(struct command_call *call,
                                      const struct command_target *target)
{
    uint32_t weight = (uint32_t)call->wait.number;
    uint32_t before = backend_weight(target->backend);
    int error = -EBUSY;

    if (before == weight)
        return answer(call, target);
    if (call->from->reload)
        error = reload_set_weight(call->from->reload, target->service, target->backend, weight);
    if (error == -EBUSY)
        return call->now_ns < call->wait.until_ns
                   ? COMMAND_WAITS
                   : command_fail(call, "weight: another change is under way; try again");
    if (error)
        return command_fail(call, "weight: %s", strerror(-error));
    log_info("admin: uid %u: server %s/%s: weight %u -> %u", call->uid, target->service->name,
             target->backend->name, before, weight);
    return answer(call, target);
}

enum command_result wish_weight(struct command_call *call)
{
    struct command_target target;
    uint64_t weight;

    if (number_parse(call->words[2], 1, CONF_WEIGHT_MAX, &weight) < 0)
        return command_fail(call, "weight: '%.64s' is not accepted: 1..%d", call->words[2],
                            CONF_WEIGHT_MAX);
    if (!command_find_target(call, &target, false))
        return COMMAND_FAILED;
    wait_for(call, &target, COMMAND_WAIT_WEIGHT);
    call->wait.number = weight;
    call->wait.until_ns = call->now_ns + WEIGHT_PATIENCE_NS;
    return set_weight(call, &target);
}
