/* For tests of worker/worker: a group of two workers in threads, one service with two listeners and
 * one server, which is the test itself. */
#ifndef TEST_CREW_H
#define TEST_CREW_H

#include <pthread.h>

#include "lb4/shared/service_table.h"
#include "lb4/worker/worker.h"

#include "../relay/sockets.h"

/* Small sends of a batch leave together, where the kernel lets us. */
static bool crew_io_uring;

enum { N_WORKERS = 2, N_LISTENERS = 2, MAXCONN = 1000 };

static struct crew {
    struct service_table services;
    struct listener_table listeners;
    struct mailbox control;
    struct mailbox prober;
    struct worker_group group;
    struct worker_group_options options;
    struct addr fronts[N_LISTENERS];
    int server_fd; /* where the test listens as the server */
    pthread_t threads[N_WORKERS];
    size_t n_started;
    size_t n_fds;
} crew;

static inline void build_tables(void)
{
    struct conf_server server = {.weight = 1};
    struct conf_listen listens[N_LISTENERS] = {0};
    struct conf_service service = {
        .name = "crew",
        .servers = &server,
        .n_servers = 1,
        .listens = listens,
        .n_listens = N_LISTENERS,
        .tries = 1,
        .timeouts = {.connect_ms = 3000, .idle_ms = 60000, .half_close_ms = 60000},
    };
    const struct conf conf = {.services = &service, .n_services = 1};
    const struct listener_table_options options = {.n_workers = N_WORKERS};
    char text[LISTENER_ERROR_MAX];

    crew.server_fd = sockets_listen(&server.addr);
    for (size_t i = 0; i < N_LISTENERS; i++) {
        crew.fronts[i] = sockets_closed_port();
        listens[i].transport = CONF_TCP;
        listens[i].addr = crew.fronts[i];
        listens[i].last_port = addr_port(&crew.fronts[i]);
    }
    assert_int_equal(service_table_init(&crew.services, &conf), 0);
    assert_int_equal(listener_table_open(&crew.listeners, &conf, &crew.services, &options, text),
                     0);
}

static inline void crew_prepare(uint32_t maxconn)
{
    crew = (struct crew){.n_fds = sockets_count_fds()};
    build_tables();
    assert_int_equal(mailbox_init(&crew.control), 0);
    assert_int_equal(mailbox_init(&crew.prober), 0);
    crew.options = (struct worker_group_options){
        .services = &crew.services,
        .listeners = &crew.listeners,
        .control = &crew.control,
        .prober = &crew.prober,
        .maxconn = maxconn,
        .relay = {.max_pipes = 4, .io_uring = crew_io_uring},
    };
}

static inline void *run(void *worker)
{
    worker_run(worker);
    return NULL;
}

static inline void crew_start(size_t n)
{
    for (; crew.n_started < n; crew.n_started++)
        assert_int_equal(pthread_create(&crew.threads[crew.n_started], NULL, run,
                                        &crew.group.workers[crew.n_started]),
                         0);
}

static inline void crew_init(uint32_t maxconn)
{
    crew_prepare(maxconn);
    assert_int_equal(worker_group_init(&crew.group, N_WORKERS, &crew.options), 0);
}

static inline void crew_open(uint32_t maxconn)
{
    crew_init(maxconn);
    crew_start(N_WORKERS);
}

/* The second worker gets no client from the kernel: its sockets move to other ports. */
static inline void crew_open_uneven(size_t n_started)
{
    crew_prepare(MAXCONN);
    for (size_t i = 0; i < N_LISTENERS; i++) {
        struct addr elsewhere;

        close(listener_table_take(&crew.listeners, 1, i));
        crew.listeners.fds[i * N_WORKERS + 1] = sockets_listen(&elsewhere);
    }
    assert_int_equal(worker_group_init(&crew.group, N_WORKERS, &crew.options), 0);
    crew_start(n_started);
}

/* As control does it: told by its mailbox, then asking. */
static inline void crew_wait_drained(void)
{
    while (!worker_group_is_drained(&crew.group)) {
        sockets_wait(crew.control.event_fd, POLLIN);
        assert_int_equal(mailbox_take(&crew.control), MAILBOX_PROGRESS);
    }
}

static inline void crew_tables_close(void)
{
    listener_table_close(&crew.listeners);
    service_table_fini(&crew.services);
    mailbox_fini(&crew.control);
    mailbox_fini(&crew.prober);
    close(crew.server_fd);
    assert_int_equal(sockets_count_fds(), crew.n_fds);
}

static inline void crew_close(void)
{
    crew_start(N_WORKERS);
    worker_group_post(&crew.group, MAILBOX_DRAIN | MAILBOX_RESET);
    crew_wait_drained();
    worker_group_post(&crew.group, MAILBOX_EXIT);
    for (size_t i = 0; i < N_WORKERS; i++)
        pthread_join(crew.threads[i], NULL);
    assert_int_equal(backend_active(&crew.services.services->backends[0]), 0);
    worker_group_fini(&crew.group);
    crew_tables_close();
}

/* A client and the server's end of its connection. */
struct guest {
    int client_fd;
    int server_fd;
};

static inline struct guest guest_open(size_t listener)
{
    struct guest guest;

    guest.client_fd = sockets_connect(&crew.fronts[listener]);
    guest.server_fd = sockets_accept(crew.server_fd);
    return guest;
}

static inline void guest_close(const struct guest *guest)
{
    close(guest->client_fd);
    close(guest->server_fd);
}

static inline void check_echo(const struct guest *guest)
{
    assert_int_equal(sockets_send(guest->client_fd, 0, 100), 100);
    sockets_wait(guest->server_fd, POLLIN);
    assert_int_equal(sockets_read(guest->server_fd, 0, 100), 100);
    assert_int_equal(sockets_send(guest->server_fd, 7, 50), 50);
    sockets_wait(guest->client_fd, POLLIN);
    assert_int_equal(sockets_read(guest->client_fd, 7, 50), 50);
}

static inline uint64_t served(size_t worker)
{
    return stats_read(&crew.group.stats[worker].worker.connections);
}

static inline uint64_t handed_over(size_t worker)
{
    return stats_read(&crew.group.stats[worker].worker.handed_over);
}

static inline uint64_t pauses(void)
{
    return stats_read(&crew.group.stats[0].worker.accept_pauses) +
           stats_read(&crew.group.stats[1].worker.accept_pauses);
}

static inline uint64_t closed_for(enum close_reason reason)
{
    struct stats_service_sum sum;

    stats_sum_service(crew.group.stats, N_WORKERS, 0, &sum);
    return sum.closed[reason];
}

#endif
