#include "lb4/control/reloading.h"

#include <stdio.h>
#include <string.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"
#include "lb4/base/number.h"
#include "lb4/control/reload.h"

static bool read_options(struct command_call *call, struct reload_wish *wish)
{
    *wish = (struct reload_wish){.is_wanted = true};
    for (size_t i = 1; i < call->n_words; i++) {
        uint64_t ms;

        if (strcmp(call->words[i], "--dry-run") == 0) {
            wish->is_dry = true;
        } else if (strcmp(call->words[i], "--confirm") != 0 || i + 1 == call->n_words) {
            command_fail(call, "usage: reload [--dry-run] [--confirm TIME]");
            return false;
        } else if (number_parse_duration(call->words[++i], 1000, CONF_DURATION_MAX_MS, &ms) < 0) {
            command_fail(call, "reload: '%.64s' is no time to confirm: 1s..365d, as in 60s",
                         call->words[i]);
            return false;
        } else {
            wish->confirm_ns = ms * CLOCK_NS_PER_MS;
        }
    }
    return true;
}

enum command_result reloading_reload(struct command_call *call)
{
    struct reload_wish wish;

    if (!read_options(call, &wish))
        return COMMAND_FAILED;
    if (!call->from->is_ready || !call->from->reload)
        return command_fail(call, "reload: not while lb4 is %s", call->from->state);
    if (!wish.is_dry)
        log_info("admin: uid %u: reload", call->uid);
    call->wait = (struct command_wait){.kind = COMMAND_WAIT_RELOAD,
                                       .number = reload_ask(call->from->reload, &wish)};
    return COMMAND_WAITS;
}

/* Each line of a text as a JSON string. */
static void append_lines(struct reply *reply, const char *text)
{
    const char *comma = "";

    while (text && *text) {
        size_t n = strcspn(text, "\n");
        char line[1024];

        snprintf(line, sizeof(line), "%.*s", (int)n, text);
        reply_text(reply, comma);
        reply_json_string(reply, line);
        comma = ",";
        text += n + (text[n] == '\n');
    }
}

static void append_json(struct command_call *call, const struct reload_result *result)
{
    const struct reload *reload = call->from->reload;

    reply_format(call->reply, "{\"dry_run\":%s,\"to_confirm\":%s,\"changes\":[",
                 result->was_dry ? "true" : "false", reload->before ? "true" : "false");
    append_lines(call->reply, result->text);
    reply_text(call->reply, "]}\n");
}

static void append_errors(struct reply *reply, const char *text)
{
    if (!reply->is_json) {
        reply_text(reply, text ? text : "");
        return;
    }
    reply_text(reply, "{\"errors\":[");
    append_lines(reply, text);
    reply_text(reply, "]}\n");
}

static void append_text(struct command_call *call, const struct reload_result *result)
{
    const struct reload *reload = call->from->reload;
    uint64_t left_ns = reload->undo_ns > call->now_ns ? reload->undo_ns - call->now_ns : 0;

    if (result->text)
        reply_text(call->reply, result->text);
    if (result->n_changes == 0)
        reply_text(call->reply, "no difference\n");
    if (reload->before && !result->was_dry)
        reply_format(call->reply, "undone in %llu s unless confirmed: lb4ctl confirm\n",
                     (unsigned long long)((left_ns + CLOCK_NS_PER_S - 1) / CLOCK_NS_PER_S));
}

enum command_result reloading_check(struct command_call *call)
{
    const struct reload_result *result = reload_result(call->from->reload, call->wait.number);

    if (!result)
        return call->from->is_ready || reload_is_changing(call->from->reload)
                   ? COMMAND_WAITS
                   : command_fail(call, "reload: lb4 is %s; nothing has changed",
                                  call->from->state);
    if (result->has_failed) {
        append_errors(call->reply, result->text);
        call->keeps_body = true;
        return command_fail(call, "reload: it failed; nothing has changed");
    }
    if (call->reply->is_json)
        append_json(call, result);
    else
        append_text(call, result);
    return COMMAND_DONE;
}

enum command_result reloading_confirm(struct command_call *call)
{
    if (!call->from->reload || !reload_confirm(call->from->reload))
        return command_fail(call, "confirm: no reload waits to be confirmed");
    log_info("admin: uid %u: the reload is confirmed", call->uid);
    return COMMAND_DONE;
}
