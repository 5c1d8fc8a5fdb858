#include "lb4/lb4ctl/top_reader.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lb4/base/clock.h"
#include "lb4/base/number.h"
#include "lb4/lb4ctl/columns.h"

/* In this order: the process first, then the parts. */
enum { ANSWER_INFO, ANSWER_PARTS, ANSWERS = ANSWER_PARTS + TOP_PARTS };

static const uint64_t RETRY_NS = 1000 * 1000000ull;
static const uint64_t PATIENCE_NS = 10000 * 1000000ull; /* chosen: as that of other commands */
static const uint64_t KEEP_NS = 5000 * 1000000ull;      /* lb4 closes who says nothing for 10 s */

void top_reader_init(struct top_reader *reader, const char *path, const struct top_options *options,
                     struct top_view *view)
{
    *reader =
        (struct top_reader){.path = path, .options = options, .view = view, .result = CLIENT_OK};
    top_link_clear(&reader->link);
    snprintf(view->head, sizeof(view->head), "lb4: asking at %s", path);
}

void top_reader_fini(struct top_reader *reader)
{
    top_link_close(&reader->link);
}

/* What lb4 says may end on standard error: printable ASCII, as its sentences are. */
static void say(struct top_reader *reader, const char *text)
{
    char *message = reader->view->message;

    snprintf(message, sizeof(reader->view->message), "%s", text);
    for (; *message; message++)
        if (*message < ' ' || *message > '~')
            *message = '?';
}

enum { CLOCK_MAX = 16 };

/* The time of day, for people. */
static const char *write_clock(char text[static CLOCK_MAX])
{
    time_t now = time(NULL);
    struct tm local;

    text[0] = '\0';
    if (localtime_r(&now, &local))
        strftime(text, CLOCK_MAX, "%H:%M:%S", &local);
    return text;
}

/* --- trouble ---------------------------------------------------------------------------------- */

/* Before anything was shown it is the end: somebody has mistyped something. */
static void give_up(struct top_reader *reader, enum client_result result, const char *text,
                    uint64_t now_ns)
{
    bool was_lost = reader->is_lost;
    char clock[CLOCK_MAX];

    top_link_close(&reader->link);
    reader->is_asking = false;
    reader->is_lost = true;
    reader->due_ns = now_ns + RETRY_NS;
    say(reader, text);
    if (!reader->has_shown)
        reader->result = result;
    else if (!was_lost)
        snprintf(reader->view->head, sizeof(reader->view->head),
                 "NO LB4 since %s: below is what it said last; asked again each second",
                 write_clock(clock));
    /* The counters of the next one begin anew. */
    for (size_t i = 0; i < TOP_PARTS; i++)
        reader->view->tables[i].read_ns = 0;
}

static void go(struct top_reader *reader, uint64_t now_ns)
{
    char text[CLIENT_MESSAGE_MAX];

    snprintf(text, sizeof(text), "lb4 has ended the connection at %.300s", reader->path);
    give_up(reader, CLIENT_NO_ANSWER, text, now_ns);
}

/* --- questions -------------------------------------------------------------------------------- */

static bool connect_if_needed(struct top_reader *reader, uint64_t now_ns)
{
    char message[CLIENT_MESSAGE_MAX];
    enum client_result result;

    if (reader->link.fd >= 0)
        return true;
    result = top_link_open(&reader->link, reader->path, message);
    if (result != CLIENT_OK)
        give_up(reader, result, message, now_ns);
    return result == CLIENT_OK;
}

static void ask(struct top_reader *reader, size_t n_connections, uint64_t now_ns)
{
    const char *service = reader->options->service;
    char lines[512];

    snprintf(lines, sizeof(lines),
             "show info\nshow services\nshow servers %s\nshow connections --busiest %zu %s\n",
             service, n_connections, service);
    if (!connect_if_needed(reader, now_ns))
        return;
    reader->is_asking = true;
    reader->has_trouble = false;
    reader->n_answers = 0;
    reader->asked_ns = now_ns;
    reader->due_ns = now_ns + PATIENCE_NS;
    if (!top_link_ask(&reader->link, lines))
        go(reader, now_ns);
}

void top_reader_step(struct top_reader *reader, size_t n_connections, uint64_t now_ns)
{
    if (now_ns < reader->due_ns)
        return;
    if (reader->is_asking)
        give_up(reader, CLIENT_NO_ANSWER, "lb4 has not answered for 10 s: it hangs, or is stopped",
                now_ns);
    else
        ask(reader, n_connections, now_ns);
}

/* --- answers ---------------------------------------------------------------------------------- */

static void write_head(struct top_reader *reader, const struct sheet *info)
{
    char uptime[COLUMNS_DURATION_MAX] = "?";
    char clock[CLOCK_MAX];
    uint64_t seconds;

    if (number_parse(sheet_value(info, "uptime"), 0, UINT64_MAX, &seconds) == 0)
        columns_duration(seconds, uptime);
    snprintf(reader->view->head, sizeof(reader->view->head),
             "%s lb4 %.40s %.20s, up %s, %.20s of %.20s connections, %.20s UDP sessions",
             write_clock(clock), sheet_value(info, "version"), sheet_value(info, "state"), uptime,
             sheet_value(info, "connections"), sheet_value(info, "maxconn"),
             sheet_value(info, "udp_sessions"));
}

/* The text is taken over. */
static void fill(struct top_reader *reader, size_t index, char *text, uint64_t now_ns)
{
    struct top_table table;
    struct sheet rows;

    if (sheet_init(&rows, text) < 0)
        return;
    if (index == ANSWER_INFO) {
        write_head(reader, &rows);
        sheet_fini(&rows);
        return;
    }
    if (top_table_init(&table, (enum top_part)(index - ANSWER_PARTS), &rows,
                       reader->options->service) < 0)
        return;
    table.read_ns = now_ns;
    top_view_take(reader->view, (enum top_part)(index - ANSWER_PARTS), &table);
}

static void end_reading(struct top_reader *reader, uint64_t now_ns)
{
    uint64_t next_ns = reader->asked_ns + reader->options->interval_ms * CLOCK_NS_PER_MS;

    reader->is_asking = false;
    reader->is_lost = false;
    reader->n_readings++;
    reader->due_ns = next_ns > now_ns ? next_ns : now_ns;
    if (!reader->has_trouble)
        say(reader, "");
    if (reader->due_ns - now_ns > KEEP_NS)
        top_link_close(&reader->link);
}

/* The text is taken over. The first that fails is told of. What has failed once, as of a service
 * that a reload took away, may go well the next time. */
static void take_answer(struct top_reader *reader, char *text, uint64_t now_ns)
{
    char message[CLIENT_MESSAGE_MAX];
    enum client_result result = client_judge(text, message);

    if (result != CLIENT_OK) {
        free(text);
        if (!reader->has_trouble)
            say(reader, message);
        reader->has_trouble = true;
        if (reader->n_readings == 0)
            reader->result = result;
    } else {
        reader->has_shown = true;
        fill(reader, reader->n_answers, text, now_ns);
    }
    if (++reader->n_answers == ANSWERS)
        end_reading(reader, now_ns);
}

void top_reader_take(struct top_reader *reader, uint64_t now_ns)
{
    bool is_there = top_link_read(&reader->link);
    char *text;

    while (reader->is_asking && (text = top_link_take(&reader->link)))
        take_answer(reader, text, now_ns);
    if (is_there || reader->link.fd < 0)
        return;
    if (reader->has_trouble && reader->is_asking) {
        char kept[sizeof(reader->view->message)];

        snprintf(kept, sizeof(kept), "%s", reader->view->message);
        give_up(reader, reader->result, kept, now_ns);
        return;
    }
    go(reader, now_ns);
}

/* --- pauses ----------------------------------------------------------------------------------- */

void top_reader_pause(struct top_reader *reader)
{
    top_link_close(&reader->link);
    reader->is_asking = false;
    reader->due_ns = UINT64_MAX;
}

void top_reader_resume(struct top_reader *reader, uint64_t now_ns)
{
    top_reader_pause(reader);
    reader->due_ns = now_ns;
}
