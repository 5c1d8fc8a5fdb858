/* Any bytes from an operator's client: into lines, and each line into a command, as the admin
 * socket does it. Whatever came, the reply ends in its one last line. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/base/log.h"
#include "lb4/conf/check.h"
#include "lb4/conf/memory.h"
#include "lb4/conf/read.h"
#include "lb4/control/command.h"
#include "lb4/shared/service_table.h"

static const char conf_text[] = "service db {\n"
                                "    listen tcp :5432\n"
                                "    server a 10.0.0.1:5432\n"
                                "    server b 10.0.0.2:5432 weight 2\n"
                                "}\n";

static struct desk {
    struct conf conf;
    struct service_table services;
    struct stats_block stats;
    struct worker_group group;
    struct prober prober;
    struct limits_budget budget;
    struct snapshot_from from;
    struct reply reply;
} desk;

/* What the tables hold is out of LeakSanitizer's sight. */
static void drop(void)
{
    prober_fini(&desk.prober);
    stats_block_fini(&desk.stats);
    service_table_fini(&desk.services);
    conf_free(&desk.conf);
    reply_fini(&desk.reply);
}

static void build(void)
{
    static struct conf_report report;

    log_set_level(LOG_LEVEL_ERROR);
    conf_init(&desk.conf);
    conf_report_init(&report);
    conf_read_text("t", conf_text, strlen(conf_text), &desk.conf, &report);
    if (conf_check(&desk.conf, &report) || service_table_init(&desk.services, &desk.conf) ||
        stats_block_init(&desk.stats, 1, 2) || prober_init(&desk.prober, &desk.services, 1))
        abort();
    desk.group = (struct worker_group){.stats = &desk.stats, .n_workers = 1};
    desk.from = (struct snapshot_from){.conf = &desk.conf,
                                       .config_name = "t",
                                       .services = &desk.services,
                                       .group = &desk.group,
                                       .prober = &desk.prober,
                                       .budget = &desk.budget,
                                       .state = "running"};
    reply_init(&desk.reply, 1 << 20);
    atexit(drop);
}

static void check_last_line(enum command_result result)
{
    const struct reply *reply = &desk.reply;
    const char *last = reply->bytes + reply->n_bytes - 1;

    if (reply->n_bytes < 3 || *last != '\n' || memchr(reply->bytes, '\0', reply->n_bytes))
        abort();
    while (last > reply->bytes && last[-1] != '\n')
        last--;
    if (strncmp(last, result == COMMAND_DONE ? "ok\n" : "error ", result == COMMAND_DONE ? 3 : 6) !=
        0)
        abort();
}

static void carry_out(char *line)
{
    struct command_call call = {.from = &desk.from, .reply = &desk.reply};
    enum command_result result = command_run(&call, line);

    if (result == COMMAND_WAITS) {
        call.now_ns = call.wait.until_ns;
        result = command_check(&call);
    }
    if (result == COMMAND_WAITS)
        abort();
    check_last_line(result);
    reply_clear(&desk.reply);
}

/* False: the client would be closed. */
static bool take_lines(struct line_reader *reader, bool is_end)
{
    char line[LINE_MAX_BYTES + 1];
    enum line_result result;

    while ((result = line_take(reader, line)) == LINE_READY)
        carry_out(line);
    if (result == LINE_NONE && is_end && line_take_rest(reader, line) == LINE_READY)
        carry_out(line);
    return result == LINE_NONE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static struct line_reader reader;
    bool is_open = true;

    if (!desk.from.conf)
        build();
    line_reader_init(&reader);
    while (is_open && n_bytes > 0) {
        size_t room;
        char *to = line_room(&reader, &room);
        size_t n = n_bytes < room ? n_bytes : room;

        if (room == 0)
            abort();
        memcpy(to, data, n);
        line_came(&reader, n);
        data += n;
        n_bytes -= n;
        is_open = take_lines(&reader, n_bytes == 0);
    }
    return 0;
}
