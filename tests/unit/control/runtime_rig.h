/* For tests of control/: two workers and the prober in threads, built from a text, and control's
 * turns as lifecycle.c does them. */
#ifndef TEST_RUNTIME_RIG_H
#define TEST_RUNTIME_RIG_H

#include <stdio.h>
#include <stdlib.h>

#include "lb4/conf/memory.h"
#include "lb4/control/change.h"
#include "lb4/control/retire.h"
#include "lb4/control/runtime.h"
#include "lb4/control/threads.h"
#include "lb4/shared/service_table.h"

#include "../conf/conf_text.h"
#include "../relay/sockets.h"

enum { RIG_WORKERS = 2, RIG_TEXT_MAX = 4096 };

static struct runtime_rig {
    struct runtime runtime;
    struct mailbox control;
    struct activation activation;
    struct threads threads;
    struct retire retire;
    struct conf *conf; /* the present one */
    size_t n_fds;
} rig;

static inline struct conf *rig_conf(const char *text)
{
    struct conf *conf = malloc(sizeof(*conf));

    assert_non_null(conf);
    conf_text_accept(text, conf);
    return conf;
}

static inline void rig_conf_drop(struct conf *conf)
{
    if (conf)
        conf_free(conf);
    free(conf);
}

static inline void rig_open(const char *text)
{
    rig = (struct runtime_rig){.n_fds = sockets_count_fds(), .conf = rig_conf(text)};
    runtime_clear(&rig.runtime, RIG_WORKERS);
    retire_init(&rig.retire);
    assert_int_equal(mailbox_init(&rig.control), 0);
    assert_int_equal(runtime_build_services(&rig.runtime, rig.conf), 0);
    assert_int_equal(runtime_share_descriptors(&rig.runtime, rig.conf), 0);
    assert_int_equal(runtime_bind_listeners(&rig.runtime, rig.conf, &rig.activation,
                                            &(struct privileges_ids){geteuid(), getegid(), 0, ""}),
                     0);
    assert_int_equal(runtime_build_threads(&rig.runtime, rig.conf, &rig.control), 0);
    assert_int_equal(threads_start(&rig.threads, &rig.runtime.group, &rig.runtime.prober,
                                   &(struct conf){.workers = 0}),
                     0);
}

/* The test has closed its own descriptors. */
static inline void rig_close(void)
{
    threads_stop(&rig.threads);
    retire_fini(&rig.retire);
    runtime_fini(&rig.runtime);
    mailbox_fini(&rig.control);
    rig_conf_drop(rig.conf);
    assert_int_equal(sockets_count_fds(), rig.n_fds);
}

/* Sleep until a thread has answered, or a moment has passed. */
static inline void rig_wait(void)
{
    struct pollfd told = {.fd = rig.control.event_fd, .events = POLLIN};

    poll(&told, 1, 5);
    mailbox_take(&rig.control);
}

static inline void rig_run_change(struct change *change)
{
    struct patience patience = patience_new();

    while (!change_step(change) && patience_holds(&patience))
        rig_wait();
    assert_int_equal(change->phase, CHANGE_NONE);
    retire_wake(&rig.retire, clock_now_ns());
}

/* To another configuration. */
static inline void rig_change(const char *text)
{
    struct conf *after = rig_conf(text);
    char error[CHANGE_ERROR_MAX];
    struct change change;

    if (change_prepare(&change, &rig.runtime, rig.conf, after, error))
        fail_msg("%s", error);
    change_commit(&change, clock_now_ns());
    rig_run_change(&change);
    rig_conf_drop(rig.conf);
    rig.conf = after;
}

/* A try that fails, with this in its sentence. */
static inline void rig_refuse(const char *text, int error, const char *fragment)
{
    struct conf *after = rig_conf(text);
    char sentence[CHANGE_ERROR_MAX];
    struct change change;

    assert_int_equal(change_prepare(&change, &rig.runtime, rig.conf, after, sentence), error);
    assert_non_null(strstr(sentence, fragment));
    assert_int_equal(change.phase, CHANGE_NONE);
    rig_conf_drop(after);
}

static inline void rig_retire_once(void)
{
    rig.retire.due_ns = rig.retire.due_ns == UINT64_MAX ? UINT64_MAX : 0;
    retire_step(&rig.retire, &rig.runtime, clock_now_ns());
    if (retire_is_busy(&rig.retire))
        rig_wait();
}

static inline struct service *rig_service(const char *name)
{
    return service_table_find(&rig.runtime.services, name);
}

static inline struct backend *rig_backend(const char *service, const char *name,
                                          enum backend_state state)
{
    const struct service *found = rig_service(service);

    for (size_t i = 0; found && i < found->n_places; i++)
        if (found->backends[i].state == state && strcmp(found->backends[i].name, name) == 0)
            return &found->backends[i];
    return NULL;
}

/* The server that is configured. */
static inline struct backend *rig_server(const char *service, const char *name)
{
    return rig_backend(service, name, BACKEND_SERVING);
}

static inline size_t rig_count(enum backend_state state)
{
    size_t n = 0;

    for (size_t i = 0; i < rig.runtime.services.n_services; i++) {
        const struct service *service = &rig.runtime.services.services[i];

        for (size_t k = 0; service->is_used && k < service->n_places; k++)
            n += service->backends[k].state == state;
    }
    return n;
}

static inline void rig_until_standing(const struct backend *backend, uint32_t flag, bool is_set)
{
    struct patience patience = patience_new();

    while (!!(backend_standing(backend) & flag) != is_set && patience_holds(&patience))
        usleep(200);
}

static inline void rig_until_active(const struct backend *backend, uint32_t n)
{
    struct patience patience = patience_new();

    while (backend_active(backend) != n && patience_holds(&patience))
        usleep(200);
}

/* The servers that are gone are over, all of them. */
static inline void rig_until_retired(void)
{
    struct patience patience = patience_new();

    while ((rig_count(BACKEND_GONE) > 0 || retire_is_busy(&rig.retire)) &&
           patience_holds(&patience))
        rig_retire_once();
}

#endif
