/* For tests of probe/prober: a prober in a thread, services whose servers are sockets of the test,
 * and the log in memory. */
#ifndef TEST_STAGE_H
#define TEST_STAGE_H

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "lb4/base/log.h"
#include "lb4/probe/prober.h"
#include "lb4/shared/service_table.h"

#include "../relay/sockets.h"

enum { STAGE_SERVICES = 2, STAGE_SERVERS = 200, STAGE_LOG_MAX = 1 << 20 };

static struct stage {
    struct service services[STAGE_SERVICES];
    struct backend backends[STAGE_SERVICES][STAGE_SERVERS];
    struct backend_slot slots[STAGE_SERVICES][STAGE_SERVERS];
    struct service_plan plans[STAGE_SERVICES];
    struct service_check checks[STAGE_SERVICES];
    struct service_table table;
    struct prober prober;
    pthread_t thread;
    bool is_running;
    size_t n_fds;
} stage;

static struct {
    int fd;
    off_t from; /* where this test's part begins */
    char text[STAGE_LOG_MAX];
} stage_log;

static inline uint64_t stage_ms(uint64_t n)
{
    return n * CLOCK_NS_PER_MS;
}

/* An interval that no test lives to see: a probe after the first was sent for a reason. */
static inline struct service_check stage_check(void)
{
    return (struct service_check){.is_probed = true,
                                  .fall = 3,
                                  .rise = 2,
                                  .interval_ns = stage_ms(3600000),
                                  .timeout_ns = stage_ms(5000),
                                  .fast_ns = stage_ms(20)};
}

/* ... not even that it is down while no other is up. */
static inline struct service_check stage_slow_check(void)
{
    struct service_check check = stage_check();

    check.fast_ns = check.interval_ns;
    return check;
}

static inline int stage_prepare(void **state)
{
    (void)state;
    stage = (struct stage){.n_fds = sockets_count_fds()};
    stage.table.services = stage.services;
    stage_log.from = lseek(stage_log.fd, 0, SEEK_END);
    return 0;
}

static inline struct service *stage_add_service(const char *name, struct service_check check)
{
    size_t index = stage.table.n_services++;
    struct service *service = &stage.services[index];

    service->backends = stage.backends[index];
    service->slots = stage.slots[index];
    service->index = (uint32_t)index;
    stage.checks[index] = check;
    stage.plans[index].check = &stage.checks[index];
    stage.plans[index].transports = check.is_udp ? CONF_UDP : CONF_TCP;
    service->plan = &stage.plans[index];
    service->is_used = true;
    strcpy(service->name, name);
    return service;
}

/* Services one after the other. */
static inline struct backend *stage_add_server(struct service *service, const struct addr *at)
{
    size_t index = service->n_places++;
    struct backend *backend = &service->backends[index];

    backend->slot = &service->slots[index];
    backend->index = (uint32_t)index;
    backend->stats_index = (uint32_t)stage.table.n_backends++;
    backend->is_local = true;
    backend->state = BACKEND_SERVING;
    stage.plans[service->index].n_backends = service->n_places;
    backend->addr = *at;
    backend_set(backend, 1);
    snprintf(backend->name, sizeof(backend->name), "s%zu", index + 1);
    return backend;
}

static inline void *stage_body(void *unused)
{
    (void)unused;
    prober_run(&stage.prober);
    return NULL;
}

static inline void stage_run(void)
{
    assert_int_equal(pthread_create(&stage.thread, NULL, stage_body, NULL), 0);
    stage.is_running = true;
}

static inline void stage_start(uint32_t max_open)
{
    assert_int_equal(prober_init(&stage.prober, &stage.table, max_open), 0);
    stage_run();
}

static inline void stage_join(void)
{
    mailbox_post(&stage.prober.mailbox, MAILBOX_EXIT);
    stage.is_running = false;
    assert_int_equal(pthread_join(stage.thread, NULL), 0);
}

static inline void stage_stop(void)
{
    stage_join();
    assert_int_equal(stage.prober.n_open, 0);
    prober_fini(&stage.prober);
    prober_fini(&stage.prober);
}

/* The test has closed its own. A test that failed has left its thread behind, which would live on
 * in the stage of the next one, and take what is posted to that one's prober. */
static inline int stage_check_descriptors(void **state)
{
    (void)state;
    if (stage.is_running) {
        stage_join();
        prober_fini(&stage.prober);
        return -1;
    }
    assert_int_equal(sockets_count_fds(), stage.n_fds);
    return 0;
}

/* What workers do. */
static inline void stage_suspect(struct backend *backend)
{
    if (!(backend_set(backend, PICK_SUSPECT) & PICK_SUSPECT))
        mailbox_post(&stage.prober.mailbox, MAILBOX_SUSPECT);
}

static inline void stage_prove(struct backend *backend)
{
    if (!(backend_set(backend, PICK_PROVEN) & PICK_PROVEN))
        mailbox_post(&stage.prober.mailbox, MAILBOX_SUSPECT);
}

static inline const struct stats_checks *stage_checks(const struct backend *backend)
{
    return &stage.prober.checks[backend->stats_index];
}

static inline bool stage_has(const struct backend *backend, uint32_t flag)
{
    return backend_standing(backend) & flag;
}

static inline void stage_until(const struct backend *backend, uint32_t flag, bool is_set)
{
    struct patience patience = patience_new();

    while (stage_has(backend, flag) != is_set && patience_holds(&patience))
        usleep(200);
}

static inline void stage_until_count(const stats_counter *counter, uint64_t n)
{
    struct patience patience = patience_new();

    while (stats_read(counter) < n && patience_holds(&patience))
        usleep(200);
}

static inline bool stage_has_logged(const char *text)
{
    ssize_t n = pread(stage_log.fd, stage_log.text, STAGE_LOG_MAX - 1, stage_log.from);

    assert_true(n >= 0);
    stage_log.text[n] = '\0';
    return strstr(stage_log.text, text);
}

static inline void stage_until_logged(const char *text)
{
    struct patience patience = patience_new();

    while (!stage_has_logged(text) && patience_holds(&patience))
        usleep(200);
}

/* A listener whose queue is full: the kernel drops what comes. */
struct hole {
    int listener;
    int filler;
};

static inline struct hole hole_open(struct addr *ret_at)
{
    struct hole hole = {.listener = sockets_listen(ret_at)};

    assert_int_equal(listen(hole.listener, 0), 0);
    hole.filler = sockets_connect(ret_at);
    sockets_wait(hole.filler, POLLOUT);
    return hole;
}

/* The next one gets in. */
static inline void hole_make_room(struct hole *hole)
{
    close(sockets_accept(hole->listener));
}

/* Wait until somebody's SYN was sent there: state 02 in proc(5), /proc/net/tcp. */
static inline void hole_until_knocked(const struct addr *at)
{
    struct patience patience = patience_new();
    bool has_knocked = false;

    while (!has_knocked && patience_holds(&patience)) {
        FILE *file = fopen("/proc/net/tcp", "re");
        char line[512];

        assert_non_null(file);
        while (fgets(line, sizeof(line), file)) {
            unsigned port;
            unsigned state;

            if (sscanf(line, "%*d: %*[^ ] %*[^:]:%x %x", &port, &state) == 2)
                has_knocked = has_knocked || (state == 2 && port == addr_port(at));
        }
        fclose(file);
    }
}

static inline void hole_close(struct hole *hole)
{
    close(hole->filler);
    close(hole->listener);
}

static inline int stage_open_log(void **state)
{
    (void)state;
    stage_log.fd = memfd_create("log", MFD_CLOEXEC);
    log_set_level(LOG_LEVEL_DEBUG);
    return stage_log.fd < 0 ? -1 : log_start(stage_log.fd, NULL);
}

static inline int stage_close_log(void **state)
{
    (void)state;
    log_stop();
    close(stage_log.fd);
    return 0;
}

#endif
