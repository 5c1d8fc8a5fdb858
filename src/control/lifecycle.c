/* States of the process, and what leads from one to the next:
 *
 *    starting --ready--> running --TERM, QUIT--> draining --drained--> leaving
 *                           |                      |  |
 *                           |              deadline  TERM, QUIT, INT
 *                           |                      v  v
 *                           +-------INT--------> stopping --drained--> leaving
 *
 * draining: no new connections, live ones finish. stopping: live ones are reset. leaving: the
 * workers are told to exit and joined. */
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
#include "lb4/control/admin.h"
#include "lb4/control/limits.h"
#include "lb4/control/pid_file.h"
#include "lb4/control/privileges.h"
#include "lb4/control/process.h"
#include "lb4/control/report.h"
#include "lb4/control/state.h"
#include "lb4/control/threads.h"
#include "lb4/loop/deadline.h"
#include "lb4/loop/loop.h"
#include "lb4/probe/prober.h"
#include "lb4/worker/listener.h"
#include "lb4/worker/worker.h"

enum { PREPARED_PIPES = 8 }; /* of each worker, made before privileges are dropped; chosen */

struct lifecycle {
    const struct conf *conf;
    const struct lifecycle_options *options;
    enum lifecycle_state state;
    uint64_t drain_by_ns; /* draining: then the rest is reset */
    size_t n_workers;
    bool is_started; /* all threads */
    struct threads threads;
    struct limits_budget budget;
    struct privileges_ids ids;
    struct pid_file pid_file;
    struct service_table services;
    struct listener_table listeners;
    struct worker_group group;
    struct prober prober;
    struct mailbox mailbox; /* workers tell of their draining */
    struct loop loop;
    struct source mailbox_source;
    struct source signal_source;
    struct snapshot_from snapshot; /* what operators' commands look at */
    struct admin admin;
};

/* --- start ---------------------------------------------------------------------------------------
 */

static size_t choose_workers(const struct conf *conf)
{
    size_t n = conf->workers ? conf->workers : process_count_cpus();

    return n < CONF_WORKERS_MAX ? n : CONF_WORKERS_MAX;
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
    fd = process_open_signals();
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
    int error = service_table_init(&self->services, self->conf);

    return error ? fail("services", error) : 0;
}

/* No more descriptors are set aside than all services together may use. */
static uint64_t count_udp_sessions(const struct service_table *services)
{
    uint64_t n = 0;

    for (size_t i = 0; i < services->n_services; i++)
        if (services->services[i].transports & CONF_UDP)
            n += services->services[i].udp_sessions.limit;
    return n;
}

static int share_descriptors(struct lifecycle *self)
{
    struct limits_wish wish = {.n_workers = (uint32_t)self->n_workers,
                               .n_listeners = listener_count(self->conf) * self->n_workers,
                               .udp_sessions = count_udp_sessions(&self->services),
                               .n_probed = prober_count(&self->services),
                               .n_admin = self->conf->admin[0] ? ADMIN_DESCRIPTORS : 0,
                               .maxconn = self->conf->maxconn,
                               .pipes = self->conf->splice ? self->conf->pipes : 0,
                               .pipes_auto = self->conf->splice && self->conf->pipes_auto};
    struct limits_kernel kernel;
    char text[LIMITS_TEXT_MAX];
    int error = limits_raise_descriptors(&wish.descriptors);

    if (error)
        return fail("RLIMIT_NOFILE", error);
    limits_read_kernel(&kernel);
    error = limits_compute(&wish, &kernel, &self->budget, text);
    if (error)
        log_error("%s", text);
    return error;
}

static int bind_listeners(struct lifecycle *self)
{
    char text[LISTENER_ERROR_MAX];
    int error =
        listener_table_open(&self->listeners, self->conf, &self->services, self->n_workers, text);

    if (error)
        log_error("%s", text);
    return error;
}

static int build_prober(struct lifecycle *self)
{
    int error = prober_init(&self->prober, &self->services, self->budget.probes);

    return error ? fail("prober", error) : 0;
}

static int build_workers(struct lifecycle *self)
{
    struct worker_group_options options = {
        .services = &self->services,
        .listeners = &self->listeners,
        .control = &self->mailbox,
        .prober = &self->prober.mailbox,
        .maxconn = self->budget.maxconn,
        .udp_sessions = self->budget.udp_sessions,
        .relay = {.max_pipes = self->budget.pipes_per_worker, .n_prepared_pipes = PREPARED_PIPES}};
    int error = worker_group_init(&self->group, self->n_workers, &options);

    return error ? fail("workers", error) : 0;
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

/* Before privileges are dropped, for the sake of /run; it will belong to who lb4 will be. */
static int open_admin(struct lifecycle *self)
{
    char text[ADMIN_SOCKET_ERROR_MAX];
    int error;

    if (!self->conf->admin[0])
        return 0;
    error = admin_open(&self->admin, self->conf->admin, &self->ids, text);
    if (error)
        log_error("%s", text);
    return error;
}

static int serve_admin(struct lifecycle *self)
{
    int error;

    self->snapshot = (struct snapshot_from){.conf = self->conf,
                                            .config_name = self->options->config_name,
                                            .services = &self->services,
                                            .group = &self->group,
                                            .prober = &self->prober,
                                            .budget = &self->budget,
                                            .started_ns = clock_now_ns()};
    if (self->admin.socket.fd < 0)
        return 0;
    error = admin_start(&self->admin, &self->loop, &self->snapshot);
    return error ? fail("admin", error) : 0;
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

static int start_threads(struct lifecycle *self)
{
    int error = log_start(STDERR_FILENO, privileges_thread_none);

    if (!error)
        error = log_register_thread("control");
    if (error)
        return fail("log", error);
    error = threads_start(&self->threads, &self->group, &self->prober);
    self->is_started = error == 0;
    return error ? fail("threads", error) : 0;
}

static void say_ready(const struct lifecycle *self)
{
    char text[LIMITS_TEXT_MAX];

    log_info("%s", limits_explain(&self->budget, text));
    if (prober_count(&self->services) > self->budget.probes)
        log_warn("%u of %zu servers can be probed at a time, others wait: raise RLIMIT_NOFILE",
                 self->budget.probes, prober_count(&self->services));
    log_info("ready: %s, %zu service%s on %zu address%s, %zu worker%s", self->options->config_name,
             self->services.n_services, self->services.n_services == 1 ? "" : "s",
             self->listeners.n_listeners, self->listeners.n_listeners == 1 ? "" : "es",
             self->n_workers, self->n_workers == 1 ? "" : "s");
}

static int resolve_user(struct lifecycle *self)
{
    char text[PRIVILEGES_ERROR_MAX];
    int error = privileges_resolve(self->conf->user, self->conf->group, &self->ids, text);

    if (error)
        log_error("%s", text);
    return error;
}

static int start(struct lifecycle *self)
{
    static int (*const steps[])(struct lifecycle *) = {
        resolve_user,   open_control, build_services, share_descriptors,
        bind_listeners, build_prober, build_workers,  write_pid_file,
        open_admin,     become_user,  start_threads,  serve_admin,
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

/* --- run -----------------------------------------------------------------------------------------
 */

static void report_totals(const struct lifecycle *self)
{
    report_log_totals(&(struct report_sources){
        .services = &self->services, .group = &self->group, .prober = &self->prober});
}

enum { LIVE_TEXT_MAX = 64 };

static const char *format_live(const struct lifecycle *self, char text[static LIVE_TEXT_MAX])
{
    int n = snprintf(text, LIVE_TEXT_MAX, "%u connections", capacity_used(&self->group.capacity));

    if (self->budget.udp_sessions > 0)
        snprintf(text + n, LIVE_TEXT_MAX - (size_t)n, ", %u UDP sessions",
                 capacity_used(&self->group.udp_sessions));
    return text;
}

static void start_draining(struct lifecycle *self, const char *signal_name)
{
    char text[LIVE_TEXT_MAX];

    log_info("%s: draining, at most %llu ms for %s", signal_name,
             (unsigned long long)self->conf->drain_ms, format_live(self, text));
    self->state = LIFECYCLE_DRAINING;
    self->drain_by_ns = self->loop.now_ns + self->conf->drain_ms * CLOCK_NS_PER_MS;
    worker_group_post(&self->group, MAILBOX_DRAIN);
}

static void stop_now(struct lifecycle *self, const char *why)
{
    char text[LIVE_TEXT_MAX];

    log_info("%s: stopping now, %s are reset", why, format_live(self, text));
    self->state = LIFECYCLE_STOPPING;
    worker_group_post(&self->group, MAILBOX_RESET | MAILBOX_DRAIN);
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
    case LIFECYCLE_STARTING:
    case LIFECYCLE_STOPPING:
    case LIFECYCLE_LEAVING:
        break;
    }
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
        log_warn("SIGHUP: reload is not in this version; the configuration stays as it is");
        break;
    case SIGUSR2:
        log_warn("SIGUSR2: upgrade is not in this version");
        break;
    default: /* SIGUSR1: no log file to reopen, the log is stderr; an occasion for the counters */
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
        admin_on_listener(&self->admin);
        break;
    case SOURCE_ADMIN_CLIENT:
        admin_on_client(&self->admin, event->source, event->bits);
        break;
    case SOURCE_LISTENER:
    case SOURCE_CLIENT:
    case SOURCE_SERVER:
    case SOURCE_UDP_LISTENER:
    case SOURCE_UDP_SERVER:
    case SOURCE_PROBE:
        abort(); /* workers' and the prober's own */
    }
}

static void check_drained(struct lifecycle *self)
{
    if (self->state == LIFECYCLE_RUNNING)
        return;
    if (worker_group_is_drained(&self->group))
        self->state = LIFECYCLE_LEAVING;
    else if (self->state == LIFECYCLE_DRAINING && self->loop.now_ns >= self->drain_by_ns)
        stop_now(self, "drain time is over");
}

static uint64_t due_ns(const struct lifecycle *self)
{
    uint64_t admin_ns = admin_due_ns(&self->admin);

    return self->state == LIFECYCLE_DRAINING && self->drain_by_ns < admin_ns ? self->drain_by_ns
                                                                             : admin_ns;
}

static void run(struct lifecycle *self)
{
    while (self->state != LIFECYCLE_LEAVING) {
        size_t n = loop_wait(&self->loop, deadline_wait_ms(due_ns(self), clock_now_ns()));

        self->snapshot.state = lifecycle_state_word(self->state);
        self->snapshot.is_ready = self->state == LIFECYCLE_RUNNING;
        for (size_t i = 0; i < n; i++) {
            if (!self->loop.batch[i].source->is_closed)
                dispatch(self, &self->loop.batch[i]);
        }
        admin_end_turn(&self->admin);
        check_drained(self);
    }
}

/* --- stop ----------------------------------------------------------------------------------------
 */

static void stop(struct lifecycle *self)
{
    admin_close(&self->admin);
    threads_stop(&self->threads);
    if (self->is_started)
        report_totals(self);
    worker_group_fini(&self->group);
    prober_fini(&self->prober);
    listener_table_close(&self->listeners);
    service_table_fini(&self->services);
    pid_file_close(&self->pid_file);
    loop_close(&self->signal_source);
    mailbox_fini(&self->mailbox);
    loop_fini(&self->loop);
    log_stop();
}

int lifecycle_run(const struct conf *conf, const struct lifecycle_options *options)
{
    struct lifecycle *self = aligned_alloc(alignof(struct lifecycle), sizeof(*self));
    int error;

    if (!self)
        return 1;
    memset(self, 0, sizeof(*self));
    self->conf = conf;
    self->options = options;
    self->n_workers = choose_workers(conf);
    self->pid_file.fd = -1;
    admin_clear(&self->admin);
    loop_clear(&self->loop);
    prober_clear(&self->prober);
    self->mailbox.event_fd = -1;
    source_init(&self->signal_source, SOURCE_SIGNAL, -1);
    error = start(self);
    if (!error)
        run(self);
    stop(self);
    free(self);
    return error ? 1 : 0;
}
