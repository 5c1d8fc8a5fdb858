#include "lb4/control/command.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lb4/control/connections.h"
#include "lb4/control/doctor.h"
#include "lb4/control/name_report.h"
#include "lb4/control/reloading.h"
#include "lb4/control/show.h"
#include "lb4/control/show_affinity.h"
#include "lb4/control/show_sources.h"
#include "lb4/control/table.h"
#include "lb4/control/unban.h"
#include "lb4/control/why.h"
#include "lb4/control/wish.h"

typedef enum command_result command_handler(struct command_call *call);

/* Everything an operator can ask for. The words that name a command come first; then its arguments,
 * so many at least and at most. */
struct command {
    const char *words[2];
    size_t n_least;
    size_t n_most;
    command_handler *run;
    const char *usage;
    const char *help;
};

static command_handler run_help;

static const struct command commands[] = {
    {{"show", "services"}, 0, 0, show_services, "show services", "each service with its totals"},
    {{"show", "servers"},
     0,
     1,
     show_servers,
     "show servers [SERVICE[/SERVER]]",
     "each server: its state, since how many seconds, why, and its totals"},
    {{"show", "connections"},
     0,
     3,
     connections_show,
     "show connections [--busiest N] [SERVICE[/SERVER]]",
     "each live connection and UDP session; --busiest: those that move most, with their rates"},
    {{"show", "names"},
     0,
     0,
     name_report_show,
     "show names",
     "each name of servers: its addresses, their age, and why it is not found"},
    {{"show", "sources"},
     1,
     3,
     show_sources,
     "show sources [--busiest N] SERVICE",
     "where most of its clients come from: their limits, rates and bans"},
    {{"show", "bans"},
     0,
     1,
     show_bans,
     "show bans [SERVICE]",
     "who is banned, for how many seconds more, and for what; the latest 1000"},
    {{"show", "affinity"},
     1,
     3,
     show_affinity,
     "show affinity [--busiest N] SERVICE",
     "which clients a server holds, and for how many seconds more"},
    {{"show", "info"}, 0, 0, show_info, "show info", "the process, its limits and its state"},
    {{"show", "config"}, 0, 0, show_config, "show config", "the effective configuration"},
    {{"drain", NULL},
     1,
     3,
     wish_drain,
     "drain SERVICE/SERVER [--wait TIME]",
     "no new connections; live ones finish; --wait: until the last has"},
    {{"maint", NULL},
     1,
     3,
     wish_maint,
     "maint SERVICE/SERVER [--wait TIME]",
     "the same, and no probes"},
    {{"ready", NULL},
     1,
     3,
     wish_ready,
     "ready SERVICE/SERVER [--wait TIME]",
     "back into service, after a probe if it was in maint; --wait: until it takes clients"},
    {{"weight", NULL}, 2, 2, wish_weight, "weight SERVICE/SERVER N", "another weight, 1..256"},
    {{"kill", NULL},
     1,
     1,
     connections_kill,
     "kill SERVICE/SERVER",
     "reset all connections on it, now; it stays in service"},
    {{"rebalance", NULL},
     1,
     3,
     connections_rebalance,
     "rebalance SERVICE [--over TIME]",
     "end what overloaded servers have too much, the idlest first, within 5m"},
    {{"unban", NULL},
     2,
     2,
     unban_run,
     "unban SERVICE ADDRESS|all",
     "end a ban, or all of them, and what counts towards the next"},
    {{"reload", NULL},
     0,
     3,
     reloading_reload,
     "reload [--dry-run] [--confirm TIME]",
     "read the configuration anew; --confirm: undone after TIME without `confirm`"},
    {{"confirm", NULL}, 0, 0, reloading_confirm, "confirm", "keep what the last reload changed"},
    {{"why", NULL},
     2,
     2,
     why_run,
     "why SERVICE CLIENT-ADDRESS",
     "which server that client would get now, and what speaks for and against each"},
    {{"doctor", NULL}, 0, 0, doctor_run, "doctor", "what limits this lb4, and what lifts it"},
    {{"help", NULL}, 0, 0, run_help, "help", "this list"},
};

enum { N_COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static enum command_result run_help(struct command_call *call)
{
    static const char *const columns[] = {"command", "what it does", NULL};
    struct table table;

    table_begin(&table, call->reply, columns);
    for (size_t i = 0; i < N_COMMANDS; i++) {
        table_row(&table);
        table_text(&table, commands[i].usage);
        table_text(&table, commands[i].help);
    }
    table_end(&table);
    return COMMAND_DONE;
}

/* A server of that name that has left, but not ended; the first of several. */
static struct backend *find_removed(const struct snapshot_from *from, const char *service,
                                    const char *server, struct service **ret_service)
{
    for (size_t i = 0; i < from->services->n_services; i++) {
        struct service *candidate = &from->services->services[i];

        if (!candidate->is_used || strcmp(candidate->name, service) != 0)
            continue;
        for (size_t k = 0; k < candidate->n_places; k++) {
            struct backend *backend = &candidate->backends[k];

            *ret_service = candidate;
            if (backend->state == BACKEND_GONE && strcmp(backend->name, server) == 0)
                return backend;
        }
    }
    return NULL;
}

static bool find_server(struct command_call *call, const char *service, const char *server,
                        struct command_target *ret)
{
    ret->service = snapshot_find_service(call->from, service);
    if (!ret->service) {
        command_fail(call, "no service '%s'", service);
        return false;
    }
    ret->backend = snapshot_find_server(ret->service, server);
    if (!ret->backend)
        command_fail(call, "no server '%s' in service %s", server, service);
    return ret->backend;
}

bool command_find_server(struct command_call *call, const char *service, const char *server,
                         struct command_target *ret, bool even_removed)
{
    if (find_server(call, service, server, ret))
        return true;
    if (!even_removed)
        return false;
    ret->backend = find_removed(call->from, service, server, &ret->service);
    return ret->backend;
}

bool command_find_target(struct command_call *call, struct command_target *ret, bool even_removed)
{
    const char *word = call->words[1];
    const char *slash = strchr(word, '/');
    char service[CONF_NAME_MAX + 1];
    char server[CONF_NAME_MAX + 1];

    if (!slash || slash == word || !slash[1] || slash - word > CONF_NAME_MAX ||
        strlen(slash + 1) > CONF_NAME_MAX) {
        command_fail(call, "%s: '%.64s' is not SERVICE/SERVER", call->words[0], word);
        return false;
    }
    snprintf(service, sizeof(service), "%.*s", (int)(slash - word), word);
    snprintf(server, sizeof(server), "%s", slash + 1);
    return command_find_server(call, service, server, ret, even_removed);
}

enum command_result command_fail(struct command_call *call, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(call->error, sizeof(call->error), format, args);
    va_end(args);
    return COMMAND_FAILED;
}

/* --- which one -------------------------------------------------------------------------------- */

/* False: more words than any command has. */
static bool split(struct command_call *call, char *line)
{
    char *rest = line;
    char *word;

    call->n_words = 0;
    while ((word = strsep(&rest, " \t"))) {
        if (!*word)
            continue;
        if (call->n_words == COMMAND_WORDS_MAX)
            return false;
        call->words[call->n_words++] = word;
    }
    call->reply->is_json = call->n_words > 0 && !strcmp(call->words[call->n_words - 1], "--json");
    call->n_words -= call->reply->is_json;
    return true;
}

static size_t count_names(const struct command *command)
{
    return command->words[1] ? 2 : 1;
}

static bool is_named(const struct command *command, const struct command_call *call)
{
    size_t n = count_names(command);

    for (size_t i = 0; i < n; i++) {
        if (i >= call->n_words || strcmp(command->words[i], call->words[i]) != 0)
            return false;
    }
    return true;
}

static const struct command *find(const struct command_call *call)
{
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (is_named(&commands[i], call))
            return &commands[i];
    }
    return NULL;
}

/* The first word may be right, as in "show" alone. */
static enum command_result fail_unknown(struct command_call *call)
{
    char accepted[COMMAND_ERROR_MAX / 2] = "";
    size_t at = 0;

    if (call->n_words == 0)
        return command_fail(call, "no command; help lists them");
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (commands[i].words[1] && strcmp(commands[i].words[0], call->words[0]) == 0)
            at += (size_t)snprintf(accepted + at, sizeof(accepted) - at, "%s%s", at ? "|" : "",
                                   commands[i].words[1]);
    }
    if (at > 0)
        return command_fail(call, "usage: %s %s", call->words[0], accepted);
    return command_fail(call, "unknown command '%.64s'; help lists them", call->words[0]);
}

static enum command_result run_words(struct command_call *call)
{
    const struct command *command = find(call);
    size_t n_names;

    if (!command)
        return fail_unknown(call);
    n_names = count_names(command);
    if (call->n_words - n_names < command->n_least || call->n_words - n_names > command->n_most)
        return command_fail(call, "usage: %s", command->usage);
    return command->run(call);
}

/* --- the last line ---------------------------------------------------------------------------- */

/* A reply that failed half-way has no use. */
static enum command_result finish(struct command_call *call, enum command_result result)
{
    struct reply *reply = call->reply;

    if (result == COMMAND_WAITS)
        return result;
    if (reply->is_over)
        result = command_fail(call,
                              "the reply would be longer than %zu bytes, or there is no "
                              "memory for it",
                              reply->most);
    if (result == COMMAND_DONE) {
        reply_text(reply, "ok\n");
        if (!reply->is_over)
            return result;
        result = command_fail(call, "the reply would be too long");
    }
    if (!call->keeps_body || reply->is_over)
        reply_clear(reply);
    reply_format(reply, "error %s\n", call->error);
    return result;
}

enum command_result command_run(struct command_call *call, char *line)
{
    call->error[0] = '\0';
    call->keeps_body = false;
    if (!split(call, line))
        return finish(call, command_fail(call, "more than %d words", COMMAND_WORDS_MAX));
    return finish(call, run_words(call));
}

enum command_result command_check(struct command_call *call)
{
    switch (call->wait.kind) {
    case COMMAND_WAIT_EMPTY:
    case COMMAND_WAIT_USABLE:
    case COMMAND_WAIT_WEIGHT:
        return finish(call, wish_check(call));
    case COMMAND_WAIT_LIST:
    case COMMAND_WAIT_BUSIEST:
    case COMMAND_WAIT_KILL:
        return finish(call, connections_check(call));
    case COMMAND_WAIT_RELOAD:
        return finish(call, reloading_check(call));
    case COMMAND_WAIT_WHY:
        return finish(call, why_check(call));
    }
    return COMMAND_FAILED;
}
