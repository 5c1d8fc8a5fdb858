#include "lb4/control/unban.h"

#include <stdio.h>
#include <string.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"
#include "lb4/base/number.h"
#include "lb4/control/table.h"

static const struct guard_plan *guard_of(const struct service *service)
{
    return &service_plan(service)->guard;
}

static enum command_result answer(struct command_call *call, const struct service *service,
                                  const char *source, size_t n_unbanned)
{
    static const char *const columns[] = {"service", "source", "unbanned", NULL};
    struct table table;

    log_info("admin: uid %u: service %s: unban %s, bans that ended: %zu", call->uid, service->name,
             source, n_unbanned);
    table_begin(&table, call->reply, columns);
    table_row(&table);
    table_text(&table, service->name);
    table_text(&table, source);
    table_number(&table, n_unbanned);
    table_end(&table);
    return COMMAND_DONE;
}

/* "10.0.0.9", or a source as the tables tell it: "2001:db8::/64". */
static bool read_source(struct command_call *call, const struct service *service, struct addr *ret)
{
    const struct guard_plan *plan = guard_of(service);
    const char *word = call->words[2];
    const char *slash = strchrnul(word, '/');
    char host[ADDR_TEXT_MAX];
    uint64_t n_bits;

    snprintf(host, sizeof(host), "%.*s", (int)(slash - word), word);
    if (slash - word >= ADDR_TEXT_MAX || addr_parse(host, ret) < 0) {
        command_fail(call, "unban: '%.64s' is no address: 10.0.0.9, 2001:db8::9, or all", word);
        return false;
    }
    if (!*slash)
        return true;
    if (number_parse(slash + 1, 1, 128, &n_bits) == 0 &&
        n_bits == (ret->sa.sa_family == AF_INET ? plan->prefix4 : plan->prefix6))
        return true;
    command_fail(call,
                 "unban: '%.64s' is no source of service %s: they have prefixes of /%u and /%u",
                 word, service->name, plan->prefix4, plan->prefix6);
    return false;
}

static enum command_result unban_one(struct command_call *call, struct service *service)
{
    const struct guard_plan *plan = guard_of(service);
    char source[SOURCE_TEXT_MAX];
    struct source_key key;
    struct addr client;

    if (!read_source(call, service, &client))
        return COMMAND_FAILED;
    key = source_key_of(&client, plan->prefix4, plan->prefix6);
    source_format(&key, source);
    if (!guard_pardon(service, &client, clock_now_ns()))
        return command_fail(call, "%s is not banned in service %s; those that are: show bans %s",
                            source, service->name, service->name);
    return answer(call, service, source, 1);
}

enum command_result unban_run(struct command_call *call)
{
    struct service *service = snapshot_find_service(call->from, call->words[1]);

    if (!service)
        return command_fail(call, "no service '%.64s'", call->words[1]);
    if (guard_of(service)->ban_after == 0)
        return command_fail(call,
                            "service %s bans nobody: it has no line such as: ban after 20 refused "
                            "in 1m for 10m",
                            service->name);
    if (strcmp(call->words[2], "all") != 0)
        return unban_one(call, service);
    return answer(call, service, "all", guard_pardon_all(service, clock_now_ns()));
}
