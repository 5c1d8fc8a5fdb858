/* For tests of names under running threads: a service "a" whose one server "db" is an address of
 * db.example, and a reload that has it. */
#ifndef TEST_NAMED_RIG_H
#define TEST_NAMED_RIG_H

#include "lb4/control/reload.h"

#include "runtime_rig.h"

static struct named_rig {
    struct reload reload;
    struct flags flags;
    int server;     /* listens on all of 127.0.0.0/8 */
    uint16_t port;  /* of it */
    uint16_t front; /* of the service */
} named;

/* The name is found with this address, or with both. */
static inline struct resolver_name named_answer(const char *addr, const char *more)
{
    struct resolver_name answer = {.host = "db.example", .n_addrs = more ? 2 : 1};

    assert_int_equal(addr_parse(addr, &answer.addrs[0]), 0);
    if (more)
        assert_int_equal(addr_parse(more, &answer.addrs[1]), 0);
    return answer;
}

static inline void named_put(const char *addr, const char *more)
{
    const struct resolver_name answer = named_answer(addr, more);

    name_set_take(name_sets_add(&named.reload.names, "db.example", false), &answer, 1);
}

static inline int named_listen(uint16_t *ret_port)
{
    struct sockaddr_in any = {.sin_family = AF_INET};
    socklen_t n = sizeof(any);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&any, n), 0);
    assert_int_equal(listen(fd, 100), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&any, &n), 0);
    *ret_port = ntohs(any.sin_port);
    return fd;
}

static inline void named_open(const char *directives)
{
    struct addr front = sockets_closed_port();
    struct conf_service *service;
    char text[RIG_TEXT_MAX];

    named = (struct named_rig){.front = addr_port(&front)};
    named.server = named_listen(&named.port);
    snprintf(text, sizeof(text),
             "service a {\n listen tcp 127.0.0.1:%u\n%s\n server db 127.0.0.2:%u\n}\n", named.front,
             directives, named.port);
    rig_open(text);
    service = &rig.conf->services[0];
    service->written = calloc(1, sizeof(*service->written));
    assert_non_null(service->written);
    service->written[0] = service->servers[0];
    service->written[0].host = strdup("db.example");
    service->n_written = 1;
    service->servers[0].of = 1;
    assert_int_equal(reload_init(&named.reload, &rig.runtime, &rig.control, &named.flags, rig.conf),
                     0);
    rig.conf = NULL;
    named_put("127.0.0.2", NULL);
}

static inline void named_close(void)
{
    threads_stop(&rig.threads);
    reload_fini(&named.reload);
    rig_close();
    close(named.server);
}

static inline void named_turn(void)
{
    reload_step(&named.reload, clock_now_ns(), true);
    rig_wait();
}

static inline void named_finish_change(void)
{
    struct patience patience = patience_new();

    while (reload_is_changing(&named.reload) && patience_holds(&patience))
        named_turn();
    assert_false(reload_is_changing(&named.reload));
}

#endif
