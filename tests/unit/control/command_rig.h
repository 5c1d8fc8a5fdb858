/* For tests of operators' commands: what they look at, without a thread, and a call of one. */
#ifndef TEST_COMMAND_RIG_H
#define TEST_COMMAND_RIG_H

#include "lb4/control/command.h"
#include "lb4/control/reload.h"
#include "lb4/shared/backend_write.h"

#include <stdlib.h>
#include <unistd.h>

#include "lb4/base/clock.h"
#include "lb4/shared/service_table.h"

#include "../conf/conf_text.h"

static const char RIG_CONF[] = "service db {\n"
                               "    listen tcp :5432\n"
                               "    listen both 127.0.0.1:53-54\n"
                               "    server a 10.0.0.1:5432\n"
                               "    server b 10.0.0.2 weight 2 backup\n"
                               "}\n"
                               "service one {\n"
                               "    listen tcp 127.0.0.1:80\n"
                               "    balance roundrobin\n"
                               "    server a [2001:db8::1]:80\n"
                               "}\n";

enum { RIG_LINE_MAX = 200, RIG_REPLY_MAX = 256 * 1024 };

static struct rig {
    struct conf conf;
    struct service_table services;
    struct stats_block stats;
    struct worker_group group;
    struct prober prober;
    struct limits_budget budget;
    struct reload reload; /* of which only what is told of it counts */
    struct snapshot_from from;
    struct reply reply;
    struct command_call call;
    enum command_result result;
    int weight_error; /* of reload_set_weight() */
    char text[65536]; /* of the reply */
} rig;

/* A change of tables needs threads; see control/reload's own tests. */
int __wrap_reload_set_weight(struct reload *reload, struct service *service,
                             const struct backend *backend, uint32_t weight);
int __wrap_reload_set_weight(struct reload *reload, struct service *service,
                             const struct backend *backend, uint32_t weight)
{
    uint32_t backup = backend_standing(backend) & PICK_BACKUP;

    (void)reload;
    if (rig.weight_error)
        return rig.weight_error;
    backend_configure(&service->backends[backend->index], weight | backup);
    return 0;
}

static inline int rig_prepare(void **state)
{
    (void)state;
    memset(&rig, 0, sizeof(rig));
    conf_text_accept(RIG_CONF, &rig.conf);
    assert_int_equal(service_table_init(&rig.services, &rig.conf), 0);
    assert_int_equal(stats_block_init(&rig.stats, 2, 3), 0);
    assert_int_equal(prober_init(&rig.prober, &rig.services, 1), 0);
    rig.group = (struct worker_group){.stats = &rig.stats, .n_workers = 1};
    rig.budget = (struct limits_budget){.descriptors = 1000, .maxconn = 400, .udp_sessions = 50};
    rig.from = (struct snapshot_from){.conf = &rig.conf,
                                      .config_name = "test.conf",
                                      .services = &rig.services,
                                      .group = &rig.group,
                                      .prober = &rig.prober,
                                      .budget = &rig.budget,
                                      .reload = &rig.reload,
                                      .started_ns = clock_now_ns(),
                                      .state = "running",
                                      .is_ready = true};
    reply_init(&rig.reply, RIG_REPLY_MAX);
    rig.call = (struct command_call){.from = &rig.from, .reply = &rig.reply, .uid = 1000};
    return 0;
}

static inline int rig_finish(void **state)
{
    (void)state;
    reply_fini(&rig.reply);
    prober_fini(&rig.prober);
    stats_block_fini(&rig.stats);
    service_table_fini(&rig.services);
    conf_free(&rig.conf);
    return 0;
}

#define RIGGED(test) cmocka_unit_test_setup_teardown(test, rig_prepare, rig_finish)

static inline struct backend *rig_server(size_t service, size_t server)
{
    return &rig.services.services[service].backends[server];
}

static inline const char *rig_take(void)
{
    memcpy(rig.text, rig.reply.bytes ? rig.reply.bytes : "", rig.reply.n_bytes);
    rig.text[rig.reply.n_bytes] = '\0';
    if (rig.result != COMMAND_WAITS) /* the form is that of the question */
        reply_clear(&rig.reply);
    return rig.text;
}

/* Its reply; "" if it waits. */
static inline const char *rig_ask(const char *line)
{
    char *copy = strdup(line);

    rig.result = command_run(&rig.call, copy);
    free(copy);
    return rig_take();
}

static inline const char *rig_ask_again(void)
{
    rig.result = command_check(&rig.call);
    return rig_take();
}

static inline void rig_expect(const char *line, const char *reply)
{
    assert_string_equal(rig_ask(line), reply);
}

#endif
