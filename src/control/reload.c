/*           wish                 read, prepared, commited        all threads have it
 *    idle ---------> reading ---------------------------> changing -----------------> idle
 *                       |                                                              ^
 *                       +--- errors, no difference, or a dry run ----------------------+
 *
 * A small change (a weight, listeners whose time is over) may be made while the file is read; what
 * was read then waits until it is over. */
#include "lb4/control/reload.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"
#include "lb4/conf/diff.h"
#include "lb4/conf/memory.h"
#include "lb4/control/expand.h"
#include "lb4/control/logging.h"
#include "lb4/control/privileges.h"

static const long SETTLE_NS = 100 * 1000000L; /* a file that was written to less long ago may not be
                                                 complete; chosen */
enum {
    SETTLE_LOOKS = 100,
    SETTLE_LOOK_NS = 20 * 1000000
}; /* 2 s, then it counts as being written */

enum { UNDO_AGAIN_S = 5 }; /* after an undoing that failed; chosen */

/* --- the reader ------------------------------------------------------------------------------- */

static bool is_settled(const char *path)
{
    struct timespec now;
    struct stat status;

    if (stat(path, &status) < 0)
        return true; /* who reads it says what is wrong */
    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec - status.st_mtim.tv_sec > 1 || now.tv_sec < status.st_mtim.tv_sec)
        return true;
    return (now.tv_sec - status.st_mtim.tv_sec) * 1000000000L + now.tv_nsec -
               status.st_mtim.tv_nsec >=
           SETTLE_NS;
}

static bool is_told_to_end(void)
{
    sigset_t pending;

    return sigpending(&pending) == 0 && sigismember(&pending, SIGQUIT) == 1;
}

static int wait_settled(const struct reload *reload)
{
    const struct timespec look = {.tv_nsec = SETTLE_LOOK_NS};
    const struct conf_place nowhere = {.file = reload->flags->config_file};

    if (!reload->flags->config_file)
        return 0;
    for (int i = 0; i < SETTLE_LOOKS; i++) {
        if (is_settled(reload->flags->config_file) || is_told_to_end())
            return 0;
        nanosleep(&look, NULL);
    }
    conf_report_error(reload->report, &nowhere, "the file is being written to; try again");
    return -EAGAIN;
}

static void *reader_body(void *arg)
{
    struct reload *reload = arg;
    int error;

    privileges_thread_none();
    error = wait_settled(reload);
    if (!error)
        error = flags_read_conf(reload->flags, reload->read, reload->report);
    if (!error)
        error = names_look_up(reload->read, NAMES_BY_THREADS, &reload->found, reload->report);
    reload->read_error = error;
    mailbox_mark_done(&reload->done, MAILBOX_EXIT);
    mailbox_post(reload->control, MAILBOX_PROGRESS);
    return NULL;
}

static struct conf *conf_new(void)
{
    struct conf *conf = malloc(sizeof(*conf));

    if (conf)
        conf_init(conf);
    return conf;
}

static void conf_drop(struct conf **conf)
{
    if (*conf) {
        conf_free(*conf);
        free(*conf);
    }
    *conf = NULL;
}

static int start_reader(struct reload *reload)
{
    int error;

    reload->read = conf_new();
    if (!reload->read)
        return -ENOMEM;
    conf_report_init(reload->report);
    error = mailbox_init(&reload->done);
    if (!error)
        error = -pthread_create(&reload->reader, NULL, reader_body, reload);
    if (error) {
        mailbox_fini(&reload->done);
        conf_drop(&reload->read);
    }
    return error;
}

static void join_reader(struct reload *reload)
{
    pthread_join(reload->reader, NULL);
    mailbox_fini(&reload->done);
}

/* --- results ---------------------------------------------------------------------------------- */

/* Each line of a text to the log. */
static void log_lines(enum log_level level, const char *text)
{
    while (text && *text) {
        int n = (int)strcspn(text, "\n");

        if (level == LOG_LEVEL_ERROR)
            log_error("reload: %.*s", n, text);
        else
            log_info("reload: %.*s", n, text);
        text += n + (text[n] == '\n');
    }
}

static void log_done(long n_changes)
{
    log_info("reload: done, %ld change%s", n_changes, n_changes == 1 ? "" : "s");
}

/* `text` is the reload's from now on. */
static void conclude(struct reload *reload, bool has_failed, long n_changes, char *text)
{
    free(reload->result.text);
    reload->result = (struct reload_result){
        .number = reload->n_runs,
        .has_failed = has_failed,
        .was_dry = reload->now.is_dry,
        .n_changes = n_changes,
        .ended_ns = clock_now_ns(),
        .text = text,
    };
    if (reload->now.is_dry)
        return;
    reload->n_failed += has_failed;
    reload->n_good += !has_failed;
}

static void conclude_failed(struct reload *reload, char *text)
{
    log_lines(LOG_LEVEL_ERROR, text);
    if (!reload->now.is_dry)
        log_error("reload: nothing has changed");
    conclude(reload, true, 0, text);
}

static void conclude_with(struct reload *reload, const char *sentence)
{
    char *text = NULL;

    if (asprintf(&text, "%s\n", sentence) < 0)
        text = NULL;
    conclude_failed(reload, text);
}

static void conclude_report(struct reload *reload)
{
    char *text = NULL;
    size_t n_bytes;
    FILE *stream = open_memstream(&text, &n_bytes);

    if (stream) {
        conf_report_write(reload->report, stream);
        fclose(stream);
    }
    conclude_failed(reload, text);
}

/* The difference, in new memory; NULL: no memory. */
static char *compare(const struct reload *reload, const struct conf *after, long *ret_n)
{
    char *text = NULL;
    size_t n_bytes;
    FILE *stream = open_memstream(&text, &n_bytes);

    *ret_n = -ENOMEM;
    if (!stream)
        return NULL;
    *ret_n = change_diff(reload->runtime, reload->conf, after, stream);
    if (fclose(stream) != 0 || *ret_n < 0) {
        free(text);
        return NULL;
    }
    return text;
}

static bool is_changing(const struct reload *reload)
{
    return reload->change.phase != CHANGE_NONE;
}

/* --- a run ------------------------------------------------------------------------------------ */

/* `after` takes the place of the present configuration, which waits for its comeback if that was
 * wished. */
static void put_conf(struct reload *reload, struct conf *after, uint64_t now_ns)
{
    if (reload->now.confirm_ns > 0)
        reload->undo_ns = now_ns + reload->now.confirm_ns;
    if (reload->now.confirm_ns > 0 && !reload->before)
        reload->before = reload->conf;
    else
        conf_drop(&reload->conf);
    reload->conf = after;
    reload->changed_ns = now_ns;
}

static void commit(struct reload *reload, struct conf *after, uint64_t now_ns)
{
    change_commit(&reload->change, now_ns);
    put_conf(reload, after, now_ns);
}

/* All that may fail. The log is opened first, as a change is not undone once it is prepared. */
static int prepare(struct reload *reload, const struct conf *after, struct log_sink **ret_log)
{
    char log_text[LOGGING_ERROR_MAX];
    char text[CHANGE_ERROR_MAX];
    int error = logging_open_changed(&reload->conf->log, &after->log, ret_log, log_text);

    if (error) {
        conclude_with(reload, log_text);
        return error;
    }
    error = change_prepare(&reload->change, reload->runtime, reload->conf, after, text);
    if (error) {
        conclude_with(reload, text);
        log_sink_free(*ret_log);
    }
    return error;
}

/* From the present configuration to `after`, which is the reload's. false: that failed, and `after`
 * is still the caller's. */
static bool change_to(struct reload *reload, struct conf *after, uint64_t now_ns)
{
    struct log_sink *log;
    long n_changes;
    char *difference = compare(reload, after, &n_changes);

    if (!difference) {
        conclude_with(reload, "out of memory");
        return false;
    }
    if (reload->now.is_dry || n_changes == 0) {
        if (!reload->now.is_dry)
            log_done(n_changes);
        conclude(reload, false, n_changes, difference);
        conf_drop(&after);
        return true;
    }
    if (prepare(reload, after, &log)) {
        free(difference);
        return false;
    }
    commit(reload, after, now_ns);
    logging_use(&after->log, log);
    free(reload->difference);
    reload->difference = difference;
    reload->n_changes = n_changes;
    return true;
}

static void take_read(struct reload *reload, uint64_t now_ns)
{
    struct conf *read = reload->read;

    join_reader(reload);
    reload->is_reading = false;
    reload->read = NULL;
    if (!reload->read_error)
        reload->read_error =
            names_settle(read, reload->conf, &reload->found, &reload->names, reload->report);
    names_found_fini(&reload->found);
    if (reload->read_error)
        conclude_report(reload);
    if (reload->read_error || !change_to(reload, read, now_ns))
        conf_drop(&read);
}

static void begin(struct reload *reload)
{
    int error;

    reload->now = reload->next;
    reload->next = (struct reload_wish){0};
    reload->n_runs++;
    error = start_reader(reload);
    if (error)
        conclude_with(reload, strerror(-error));
    else
        reload->is_reading = true;
}

static void finish_change(struct reload *reload, uint64_t now_ns)
{
    if (!change_step(&reload->change))
        return;
    retire_wake(&reload->retire, now_ns);
    if (!reload->is_small) {
        log_lines(LOG_LEVEL_INFO, reload->difference);
        log_done(reload->n_changes);
        conclude(reload, false, reload->n_changes, reload->difference);
        reload->difference = NULL;
    }
    reload->is_small = false;
}

/* No run of its own: the next number is promised to who has asked already. What keeps it from
 * coming back (an address that somebody took meanwhile) may pass, and nobody is there to ask again.
 */
static void undo(struct reload *reload, uint64_t now_ns)
{
    struct conf *before = reload->before;

    log_warn("reload: it was not confirmed in time, the configuration before comes back");
    reload->before = NULL;
    reload->undo_ns = UINT64_MAX;
    reload->now = (struct reload_wish){0};
    expand_conf(before, reload->conf, &reload->names, NULL);
    if (change_to(reload, before, now_ns))
        return;
    log_error("reload: the configuration before is tried again in %d s", UNDO_AGAIN_S);
    reload->before = before;
    reload->undo_ns = now_ns + UNDO_AGAIN_S * CLOCK_NS_PER_S;
}

/* UDP listeners whose time to leave is over. */
static void close_leaving(struct reload *reload, uint64_t now_ns)
{
    if (listener_table_due_ns(&reload->runtime->listeners) > now_ns ||
        change_prepare_close(&reload->change, reload->runtime, now_ns))
        return;
    change_commit(&reload->change, now_ns);
    reload->is_small = true;
}

static void begin_next(struct reload *reload, uint64_t now_ns)
{
    if (reload->undo_ns <= now_ns)
        undo(reload, now_ns);
    else if (reload->next.is_wanted)
        begin(reload);
    else
        close_leaving(reload, now_ns);
}

/* What an operator wished of a server stays with it: while a run may be undone nobody is retired.
 */
void reload_step(struct reload *reload, uint64_t now_ns, bool may_begin)
{
    if (is_changing(reload))
        finish_change(reload, now_ns);
    if (is_changing(reload))
        return;
    if ((may_begin && !reload->before) || retire_is_busy(&reload->retire))
        retire_step(&reload->retire, reload->runtime, now_ns);
    if (!may_begin || retire_is_busy(&reload->retire))
        return;
    if (!reload->is_reading)
        begin_next(reload, now_ns);
    else if (mailbox_is_done(&reload->done, MAILBOX_EXIT))
        take_read(reload, now_ns);
}

/* --- from outside ----------------------------------------------------------------------------- */

int reload_init(struct reload *reload, struct runtime *runtime, struct mailbox *control,
                const struct flags *flags, struct conf *conf)
{
    *reload = (struct reload){.runtime = runtime,
                              .control = control,
                              .flags = flags,
                              .conf = conf,
                              .undo_ns = UINT64_MAX};
    reload->done.event_fd = -1;
    retire_init(&reload->retire);
    reload->report = malloc(sizeof(*reload->report));
    return reload->report ? 0 : -ENOMEM;
}

/* A reader that waits for a file or for names looks for a signal to end that is pending, as it does
 * at the start of the process; all such signals are blocked. */
void reload_fini(struct reload *reload)
{
    if (reload->is_reading) {
        pthread_kill(reload->reader, SIGQUIT);
        join_reader(reload);
    }
    conf_drop(&reload->read);
    names_found_fini(&reload->found);
    name_sets_fini(&reload->names);
    if (reload->runtime)
        change_abandon(&reload->change);
    retire_fini(&reload->retire);
    conf_drop(&reload->before);
    conf_drop(&reload->conf);
    free(reload->report);
    free(reload->difference);
    free(reload->result.text);
    *reload = (struct reload){0};
}

uint64_t reload_ask(struct reload *reload, const struct reload_wish *wish)
{
    if (!reload->next.is_wanted || reload->next.is_dry)
        reload->next = *wish;
    else if (!wish->is_dry && wish->confirm_ns > 0)
        reload->next.confirm_ns = wish->confirm_ns;
    reload->next.is_wanted = true;
    return reload->n_runs + 1;
}

const struct reload_result *reload_result(const struct reload *reload, uint64_t number)
{
    return reload->result.number >= number ? &reload->result : NULL;
}

bool reload_confirm(struct reload *reload)
{
    if (!reload->before)
        return false;
    conf_drop(&reload->before);
    reload->undo_ns = UINT64_MAX;
    return true;
}

int reload_set_weight(struct reload *reload, struct service *service, const struct backend *backend,
                      uint32_t weight)
{
    int error;

    if (is_changing(reload) || retire_is_busy(&reload->retire))
        return -EBUSY;
    error = change_prepare_weight(&reload->change, reload->runtime, service, backend, weight);
    if (error)
        return error;
    change_commit(&reload->change, clock_now_ns());
    reload->is_small = true;
    return 0;
}

uint64_t reload_due_ns(const struct reload *reload)
{
    uint64_t due_ns = reload->undo_ns;
    uint64_t leave_ns = listener_table_due_ns(&reload->runtime->listeners);

    if (reload_is_busy(reload) || retire_is_busy(&reload->retire))
        return UINT64_MAX; /* the mailbox tells */
    if (reload->next.is_wanted)
        return 0;
    if (!reload->before && reload->retire.due_ns < due_ns)
        due_ns = reload->retire.due_ns;
    return leave_ns < due_ns ? leave_ns : due_ns;
}

bool reload_is_changing(const struct reload *reload)
{
    return is_changing(reload);
}

bool reload_is_busy(const struct reload *reload)
{
    return reload->is_reading || is_changing(reload);
}
