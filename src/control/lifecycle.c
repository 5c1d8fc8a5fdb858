/* States of the process, and what leads from one to the next:
 *
 *    starting --ready--> running --TERM, QUIT--> draining --drained--> leaving
 *                           |                      |  |
 *                           |              deadline  TERM, QUIT, INT
 *                           |                      v  v
 *                           +-------INT--------> stopping --drained--> leaving
 *
 * draining: no new connections, live ones finish. stopping: live ones are reset. leaving: the
 * workers are told to exit and joined. Signals are blocked in every thread and read from a signalfd
 * here, so there is no instant at which one could be lost or interrupt a system call. */
#include "lb4/control/lifecycle.h"

#include <errno.h>
#include <signal.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"
#include "lb4/conf/memory.h"
#include "lb4/control/doctor.h"
#include "lb4/control/limits.h"
#include "lb4/control/logging.h"
#include "lb4/control/naming.h"
#include "lb4/control/operator.h"
#include "lb4/control/pid_file.h"
#include "lb4/control/privileges.h"
#include "lb4/control/reload.h"
#include "lb4/control/report.h"
#include "lb4/control/runtime.h"
#include "lb4/control/signals.h"
#include "lb4/control/state.h"
#include "lb4/control/threads.h"
#include "lb4/control/watchdog.h"
#include "lb4/loop/deadline.h"
#include "lb4/loop/loop.h"

enum { SERVING_TEXT_MAX = 128 };

struct lifecycle {
    struct lifecycle_options *options;
    enum lifecycle_state state;
    uint64_t drain_by_ns; /* draining: then the rest is reset */
    bool is_started;      /* all threads */
    bool is_told_reloading;
    struct threads threads;
    struct privileges_ids ids;
    struct pid_file pid_file;
    struct runtime runtime;
    struct reload reload; /* with the configuration */
    struct naming naming;
    struct operator operator;
    struct watchdog watchdog;
    struct mailbox mailbox; /* workers tell of their draining */
    struct loop loop;
    struct source mailbox_source;
    struct source signal_source;
};

/* --- start ----------------------------------------------------------------------------------- */

void lifecycle_prepare(struct lifecycle_options *options)
{
    signals_prepare();
    activation_read(&options->activation);
    notify_open(&options->notify);
    spawner_start(&options->spawner);
}

static int fail(const char *what, int error)
{
    log_error("%s: %s", what, strerror(-error));
    return error;
}

static int open_control(struct lifecycle *self)
{
    int fd;
    int error = loop_init(&self->loop);

    if (!error)
        error = mailbox_init(&self->mailbox);
    if (error)
        return fail("control", error);
    fd = signals_open();
    if (fd < 0)
        return fail("signalfd", fd);
    source_init(&self->signal_source, SOURCE_SIGNAL, fd);
    source_init(&self->mailbox_source, SOURCE_MAILBOX, self->mailbox.event_fd);
    error = loop_add(&self->loop, &self->signal_source, LOOP_LEVEL);
    if (!error)
        error = loop_add(&self->loop, &self->mailbox_source, LOOP_LEVEL);
    return error ? fail("epoll", error) : 0;
}

static int build_services(struct lifecycle *self)
{
    return runtime_build_services(&self->runtime, self->reload.conf);
}

static int share_descriptors(struct lifecycle *self)
{
    return runtime_share_descriptors(&self->runtime, self->reload.conf);
}

static int bind_listeners(struct lifecycle *self)
{
    return runtime_bind_listeners(&self->runtime, self->reload.conf, &self->options->activation,
                                  &self->ids);
}

static int build_threads(struct lifecycle *self)
{
    return runtime_build_threads(&self->runtime, self->reload.conf, &self->mailbox);
}

static int write_pid_file(struct lifecycle *self)
{
    char text[PID_FILE_ERROR_MAX];
    int error;

    if (!self->options->pid_file)
        return 0;
    error = pid_file_open(&self->pid_file, self->options->pid_file, text);
    if (error)
        log_error("%s", text);
    return error;
}

static int open_admin(struct lifecycle *self)
{
    return operator_open(&self->operator, & self->ids);
}

static int serve_admin(struct lifecycle *self)
{
    return operator_start(&self->operator, & self->loop, self->options->config_name);
}

static int open_log(struct lifecycle *self)
{
    return logging_prepare(&self->reload.conf->log, &self->ids);
}

static int become_user(struct lifecycle *self)
{
    char text[PRIVILEGES_ERROR_MAX];
    int error = privileges_drop(&self->ids, text);

    if (error)
        log_error("%s", text);
    else if (geteuid() == 0)
        log_warn("running as root: give up privileges with -u USER or `user USER`");
    return error;
}

static int link_programs(struct lifecycle *self)
{
    return runtime_link_programs(&self->runtime, self->reload.conf, &self->options->spawner,
                                 &self->ids);
}

static int start_threads(struct lifecycle *self)
{
    int error = log_start(STDERR_FILENO, privileges_thread_none);

    if (!error)
        error = log_register_thread("control");
    if (error)
        return fail("log", error);
    logging_start(&self->reload.conf->log);
    error = threads_start(&self->threads, &self->runtime.group, &self->runtime.prober,
                          self->reload.conf);
    self->is_started = error == 0;
    return error ? fail("threads", error) : 0;
}

static int watch_threads(struct lifecycle *self)
{
    int error = watchdog_init(&self->watchdog, self->options->notify.watchdog_ns,
                              self->runtime.n_workers + 1);

    if (error)
        return fail("watchdog", error);
    threads_watch(&self->threads, &self->watchdog);
    watchdog_start(&self->watchdog, clock_now_ns());
    return 0;
}

static const char *format_serving(const struct lifecycle *self, char text[static SERVING_TEXT_MAX])
{
    size_t n_services = runtime_count_services(&self->runtime);
    size_t n_listeners = runtime_count_listeners(&self->runtime);
    size_t n_workers = self->runtime.n_workers;

    snprintf(text, SERVING_TEXT_MAX, "%zu service%s on %zu address%s, %zu worker%s", n_services,
             n_services == 1 ? "" : "s", n_listeners, n_listeners == 1 ? "" : "es", n_workers,
             n_workers == 1 ? "" : "s");
    return text;
}

static void say_ready(const struct lifecycle *self)
{
    char text[LIMITS_TEXT_MAX];
    char serving[SERVING_TEXT_MAX];

    log_info("%s", limits_explain(&self->runtime.budget, text));
    doctor_log(&self->operator.snapshot);
    log_info("ready: %s, %s", self->options->config_name, format_serving(self, serving));
    notify_ready(&self->options->notify, serving);
}

static int resolve_user(struct lifecycle *self)
{
    char text[PRIVILEGES_ERROR_MAX];
    int error =
        privileges_resolve(self->reload.conf->user, self->reload.conf->group, &self->ids, text);

    if (error)
        log_error("%s", text);
    return error;
}

static int start(struct lifecycle *self)
{
    static int (*const steps[])(struct lifecycle *) = {
        resolve_user,  open_control,   build_services, share_descriptors, bind_listeners,
        build_threads, write_pid_file, open_admin,     open_log,          become_user,
        link_programs, start_threads,  watch_threads,  serve_admin,
    };

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        int error = steps[i](self);

        if (error)
            return error;
    }
    self->state = LIFECYCLE_RUNNING;
    say_ready(self);
    return 0;
}

/* --- run ------------------------------------------------------------------------------------- */

static void report_totals(const struct lifecycle *self)
{
    report_log_totals(&(struct report_sources){.services = &self->runtime.services,
                                               .group = &self->runtime.group,
                                               .prober = &self->runtime.prober});
}

static void say_stopping(const struct lifecycle *self, const char *how, const char *live,
                         uint64_t drain_ms)
{
    char text[REPORT_LIVE_MAX + 16];

    snprintf(text, sizeof(text), "%s %s", how, live);
    notify_stopping(&self->options->notify, text, drain_ms);
}

static void start_draining(struct lifecycle *self, const char *signal_name)
{
    char text[REPORT_LIVE_MAX];

    report_format_live(&self->runtime.group, text);
    log_info("%s: draining, at most %llu ms for %s", signal_name,
             (unsigned long long)self->reload.conf->drain_ms, text);
    say_stopping(self, "draining", text, self->reload.conf->drain_ms);
    self->state = LIFECYCLE_DRAINING;
    self->drain_by_ns = self->loop.now_ns + self->reload.conf->drain_ms * CLOCK_NS_PER_MS;
    worker_group_post(&self->runtime.group, MAILBOX_DRAIN);
}

static void stop_now(struct lifecycle *self, const char *why)
{
    char text[REPORT_LIVE_MAX];

    log_info("%s: stopping now, %s are reset", why, report_format_live(&self->runtime.group, text));
    say_stopping(self, "resetting", text, 0);
    self->state = LIFECYCLE_STOPPING;
    worker_group_post(&self->runtime.group, MAILBOX_RESET | MAILBOX_DRAIN);
}

static void on_end_signal(struct lifecycle *self, const char *name, bool is_now)
{
    switch (self->state) {
    case LIFECYCLE_RUNNING:
        if (is_now)
            stop_now(self, name);
        else
            start_draining(self, name);
        break;
    case LIFECYCLE_DRAINING:
        stop_now(self, name);
        break;
    case LIFECYCLE_STARTING: /* signals are read from then on */
    case LIFECYCLE_STOPPING:
    case LIFECYCLE_LEAVING:
        break;
    }
}

static void on_reload_signal(struct lifecycle *self)
{
    const struct reload_wish wish = {.is_wanted = true};

    if (self->state == LIFECYCLE_RUNNING)
        reload_ask(&self->reload, &wish);
    else
        log_warn("SIGHUP: no reload on the way out");
}

static void on_signal(struct lifecycle *self, uint32_t number)
{
    switch (number) {
    case SIGTERM:
        on_end_signal(self, "SIGTERM", false);
        break;
    case SIGQUIT:
        on_end_signal(self, "SIGQUIT", false);
        break;
    case SIGINT:
        on_end_signal(self, "SIGINT", true);
        break;
    case SIGHUP:
        on_reload_signal(self);
        break;
    case SIGUSR2:
        log_warn("SIGUSR2: upgrade is not in this version");
        break;
    default: /* SIGUSR1 */
        logging_reopen(&self->reload.conf->log);
        report_totals(self);
        break;
    }
}

static void read_signals(struct lifecycle *self)
{
    struct signalfd_siginfo info;

    while (read(self->signal_source.fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        on_signal(self, info.ssi_signo);
}

static void dispatch(struct lifecycle *self, const struct loop_event *event)
{
    switch (event->source->kind) {
    case SOURCE_SIGNAL:
        read_signals(self);
        break;
    case SOURCE_MAILBOX:
        mailbox_take(&self->mailbox);
        break;
    case SOURCE_ADMIN_LISTENER:
    case SOURCE_ADMIN_CLIENT:
    case SOURCE_HTTP_LISTENER:
    case SOURCE_HTTP_CLIENT:
        operator_on_event(&self->operator, event);
        break;
    case SOURCE_LISTENER:
    case SOURCE_CLIENT:
    case SOURCE_SERVER:
    case SOURCE_UDP_LISTENER:
    case SOURCE_UDP_SERVER:
    case SOURCE_PROBE:
    case SOURCE_PROGRAMS:
        abort(); /* workers' and the prober's own */
    }
}

static void check_drained(struct lifecycle *self)
{
    if (self->state == LIFECYCLE_RUNNING)
        return;
    if (worker_group_is_drained(&self->runtime.group))
        self->state = LIFECYCLE_LEAVING;
    else if (self->state == LIFECYCLE_DRAINING && self->loop.now_ns >= self->drain_by_ns)
        stop_now(self, "drain time is over");
}

static void feed_watchdog(struct lifecycle *self)
{
    if (watchdog_is_hungry(&self->watchdog, self->loop.now_ns) &&
        notify_alive(&self->options->notify))
        watchdog_fed(&self->watchdog, self->loop.now_ns);
}

/* The service manager hears of the begin and of the end. */
static void tell_reloading(struct lifecycle *self)
{
    char serving[SERVING_TEXT_MAX];
    bool is_reloading = self->reload.is_reading && !self->reload.now.is_dry;

    if (is_reloading && !self->is_told_reloading)
        notify_reloading(&self->options->notify);
    else if (!reload_is_busy(&self->reload) && self->is_told_reloading)
        notify_ready(&self->options->notify, format_serving(self, serving));
    else
        return;
    self->is_told_reloading = is_reloading;
}

static void step_reload(struct lifecycle *self)
{
    reload_step(&self->reload, self->loop.now_ns, self->state == LIFECYCLE_RUNNING);
    naming_step(&self->naming, self->loop.now_ns, self->state == LIFECYCLE_RUNNING);
    if (self->state == LIFECYCLE_RUNNING)
        tell_reloading(self);
}

static uint64_t earlier(uint64_t a_ns, uint64_t b_ns)
{
    return a_ns < b_ns ? a_ns : b_ns;
}

static uint64_t next_due_ns(const struct lifecycle *self)
{
    uint64_t due_ns = earlier(watchdog_due_ns(&self->watchdog), operator_due_ns(&self->operator));

    if (self->state == LIFECYCLE_RUNNING)
        due_ns =
            earlier(earlier(due_ns, reload_due_ns(&self->reload)), naming_due_ns(&self->naming));
    return self->state == LIFECYCLE_DRAINING ? earlier(due_ns, self->drain_by_ns) : due_ns;
}

static void run(struct lifecycle *self)
{
    while (self->state != LIFECYCLE_LEAVING) {
        uint64_t due_ns = next_due_ns(self);
        size_t n = loop_wait(&self->loop, deadline_wait_ms(due_ns, clock_now_ns()));

        operator_begin_turn(&self->operator, self->state);
        for (size_t i = 0; i < n; i++)
            if (!self->loop.batch[i].source->is_closed)
                dispatch(self, &self->loop.batch[i]);
        step_reload(self);
        operator_end_turn(&self->operator, self->loop.now_ns);
        check_drained(self);
        feed_watchdog(self);
    }
}

/* --- stop ------------------------------------------------------------------------------------ */

static void stop(struct lifecycle *self)
{
    threads_stop(&self->threads);
    if (self->is_started)
        report_totals(self);
    operator_close(&self->operator);
    naming_fini(&self->naming);
    reload_fini(&self->reload);
    runtime_fini(&self->runtime);
    pid_file_close(&self->pid_file);
    logging_end();
    loop_close(&self->signal_source);
    mailbox_fini(&self->mailbox);
    loop_fini(&self->loop);
    watchdog_fini(&self->watchdog);
    log_stop();
    activation_close(&self->options->activation);
    notify_close(&self->options->notify);
}

int lifecycle_run(struct conf *conf, struct lifecycle_options *options)
{
    struct lifecycle *self = aligned_alloc(alignof(struct lifecycle), sizeof(*self));
    int error;

    if (!self) {
        conf_free(conf);
        free(conf);
        return 1;
    }
    *self = (struct lifecycle){.options = options};
    runtime_clear(&self->runtime, threads_choose_workers(conf->workers));
    error = reload_init(&self->reload, &self->runtime, &self->mailbox, options->flags, conf);
    self->reload.names = options->names;
    if (!error)
        error = naming_init(&self->naming, &self->reload);
    operator_init(&self->operator, & self->runtime, &self->reload);
    self->state = LIFECYCLE_STARTING;
    self->pid_file.fd = -1;
    loop_clear(&self->loop);
    self->mailbox.event_fd = -1;
    source_init(&self->signal_source, SOURCE_SIGNAL, -1);
    if (!error)
        error = start(self);
    if (!error)
        run(self);
    stop(self);
    free(self);
    return error ? 1 : 0;
}
