/* worker/udp_side in a group of workers that run: clients, an echo server, a drain. */
#include "lb4/worker/udp_side.h"

#include <poll.h>
#include <pthread.h>

#include "lb4/base/sock_udp.h"
#include "lb4/worker/listener_parts.h"
#include "lb4/worker/worker.h"

#include "../relay/sockets.h"

enum { N_WORKERS = 3, N_CLIENTS = 30, N_SESSIONS = 200 };

static struct rig {
    struct service_table services;
    struct listener_table listeners;
    struct mailbox control;
    struct mailbox prober;
    struct worker_group group;
    struct addr front;
    int server_fd;
    int clients[N_CLIENTS];
    pthread_t threads[N_WORKERS];
    size_t n_fds;
} rig;

static int bound_udp(struct addr *ret)
{
    const struct sock_udp_options plain = {0};
    socklen_t length = sizeof(*ret);
    int fd;

    *ret = sockets_loopback(0);
    fd = sock_udp_listen(ret, &plain);
    assert_true(fd >= 0);
    assert_int_equal(getsockname(fd, &ret->sa, &length), 0);
    return fd;
}

static void *run(void *worker)
{
    worker_run(worker);
    return NULL;
}

static void build_tables(void)
{
    struct conf_server server = {.weight = 1};
    struct conf_listen listen = {.transport = CONF_UDP};
    struct conf_service service = {
        .name = "udp",
        .servers = &server,
        .n_servers = 1,
        .listens = &listen,
        .n_listens = 1,
        .tries = 1,
        .timeouts = {3000, 60000, 60000, 60000},
        .udp = {.responses = CONF_UDP_ANY_RESPONSES},
    };
    const struct conf conf = {.services = &service, .n_services = 1};
    const struct listener_table_options options = {.n_workers = N_WORKERS};
    char text[LISTENER_ERROR_MAX];

    rig.server_fd = bound_udp(&server.addr);
    close(bound_udp(&rig.front));
    listen.addr = rig.front;
    listen.last_port = addr_port(&rig.front);
    assert_int_equal(service_table_init(&rig.services, &conf), 0);
    assert_int_equal(listener_table_open(&rig.listeners, &conf, &rig.services, &options, text), 0);
}

static void rig_open_for(uint32_t n_sessions)
{
    struct worker_group_options options = {
        .services = &rig.services,
        .listeners = &rig.listeners,
        .control = &rig.control,
        .prober = &rig.prober,
        .maxconn = 1,
        .udp_sessions = n_sessions,
    };

    rig = (struct rig){.n_fds = sockets_count_fds()};
    build_tables();
    assert_int_equal(mailbox_init(&rig.control), 0);
    assert_int_equal(mailbox_init(&rig.prober), 0);
    assert_int_equal(worker_group_init(&rig.group, N_WORKERS, &options), 0);
    for (size_t i = 0; i < N_WORKERS; i++)
        assert_int_equal(pthread_create(&rig.threads[i], NULL, run, &rig.group.workers[i]), 0);
    for (size_t i = 0; i < N_CLIENTS; i++) {
        rig.clients[i] = sock_udp_connect(&rig.front);
        assert_true(rig.clients[i] >= 0);
    }
}

static void rig_open(void)
{
    rig_open_for(N_SESSIONS);
}

static void wait_drained(void)
{
    while (!worker_group_is_drained(&rig.group)) {
        sockets_wait(rig.control.event_fd, POLLIN);
        mailbox_take(&rig.control);
    }
}

static void rig_close(void)
{
    worker_group_post(&rig.group, MAILBOX_DRAIN | MAILBOX_RESET);
    wait_drained();
    worker_group_post(&rig.group, MAILBOX_EXIT);
    for (size_t i = 0; i < N_WORKERS; i++)
        pthread_join(rig.threads[i], NULL);
    assert_int_equal(backend_active(&rig.services.services->backends[0]), 0);
    worker_group_fini(&rig.group);
    listener_table_close(&rig.listeners);
    service_table_fini(&rig.services);
    mailbox_fini(&rig.control);
    mailbox_fini(&rig.prober);
    close(rig.server_fd);
    for (size_t i = 0; i < N_CLIENTS; i++)
        close(rig.clients[i]);
    assert_int_equal(sockets_count_fds(), rig.n_fds);
}

/* There and back; what comes back is the datagram. */
static void check_echo(size_t client)
{
    char bytes[8];
    struct addr from;
    socklen_t length = sizeof(from);

    assert_int_equal(send(rig.clients[client], &client, sizeof(client), 0), sizeof(client));
    sockets_wait(rig.server_fd, POLLIN);
    assert_int_equal(recvfrom(rig.server_fd, bytes, sizeof(bytes), 0, &from.sa, &length),
                     sizeof(client));
    assert_memory_equal(bytes, &client, sizeof(client));
    assert_int_equal(sendto(rig.server_fd, bytes, sizeof(bytes), 0, &from.sa, length),
                     sizeof(bytes));
    sockets_wait(rig.clients[client], POLLIN);
    assert_int_equal(recv(rig.clients[client], bytes, sizeof(bytes), 0), sizeof(bytes));
    assert_memory_equal(bytes, &client, sizeof(client));
}

static struct stats_udp_sum sum_of(size_t first, size_t n)
{
    struct stats_service_sum sum;

    stats_sum_service(rig.group.stats + first, n, 0, &sum);
    return sum.udp;
}

static void test_every_worker_serves(void **state)
{
    (void)state;
    rig_open();
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < N_CLIENTS; i++)
            check_echo(i);
    assert_int_equal(sum_of(0, N_WORKERS).sessions, N_CLIENTS);
    assert_int_equal(udp_room_used(&rig.group.udp_room), N_CLIENTS);
    for (size_t i = 0; i < N_WORKERS; i++)
        assert_true(sum_of(i, 1).sessions > 0);
    rig_close();
}

static bool has_input(int fd)
{
    struct pollfd ready = {fd, POLLIN, 0};

    return poll(&ready, 1, 50) == 1;
}

/* Each client comes once and holds its place; there are fewer places than workers, so that most
 * workers have nothing to end themselves when the next client comes to them. */
static void test_no_worker_is_starved(void **state)
{
    (void)state;
    rig_open_for(N_WORKERS - 1);
    for (size_t i = 0; i < N_CLIENTS; i++) {
        struct patience patience = patience_new();

        do
            assert_int_equal(send(rig.clients[i], "x", 1, 0), 1);
        while (!has_input(rig.server_fd) && patience_holds(&patience));
        while (has_input(rig.server_fd)) {
            char byte;
            struct addr from;
            socklen_t length = sizeof(from);

            assert_int_equal(recvfrom(rig.server_fd, &byte, 1, 0, &from.sa, &length), 1);
            assert_int_equal(sendto(rig.server_fd, &byte, 1, 0, &from.sa, length), 1);
        }
        sockets_wait(rig.clients[i], POLLIN);
        assert_in_range(udp_room_used(&rig.group.udp_room), 1, N_WORKERS - 1);
    }
    assert_true(sum_of(0, N_WORKERS).dropped[UDP_DROP_LIMIT] > 0);
    rig_close();
}

static bool port_is_free(void)
{
    const struct sock_udp_options plain = {0};
    int fd = sock_udp_listen(&rig.front, &plain);

    if (fd < 0)
        return false;
    close(fd);
    return true;
}

/* Live sessions go on, at the workers that know them, until they fall silent; a new client is not
 * served. Then the port is free, while the process still lives. */
static void test_drain(void **state)
{
    struct patience patience = patience_new();

    (void)state;
    rig_open();
    for (size_t i = 1; i < N_CLIENTS; i++)
        check_echo(i);
    worker_group_post(&rig.group, MAILBOX_DRAIN);
    for (size_t i = 0; i < N_WORKERS; i++)
        while (!mailbox_is_done(&rig.group.workers[i].mailbox, MAILBOX_DRAIN))
            patience_holds(&patience);
    assert_int_equal(send(rig.clients[0], "x", 1, 0), 1);
    for (size_t i = 1; i < N_CLIENTS; i++)
        check_echo(i);
    assert_int_equal(sum_of(0, N_WORKERS).sessions, N_CLIENTS - 1);
    assert_false(port_is_free());
    wait_drained();
    while (!port_is_free())
        patience_holds(&patience);
    assert_int_equal(sum_of(0, N_WORKERS).dropped[UDP_DROP_DRAIN], 1);
    assert_int_equal(sum_of(0, N_WORKERS).active, 0);
    rig_close();
}

static void test_reset(void **state)
{
    (void)state;
    rig_open();
    for (size_t i = 0; i < N_CLIENTS; i++)
        check_echo(i);
    rig_close();
    rig_open();
    rig_close();
}

/* --- while they run --------------------------------------------------------------------------- */

static void take_step(enum listener_verb verb, size_t listener, struct service *service)
{
    const struct listener_step step = {
        .verb = verb, .listener = (uint32_t)listener, .service = service};
    const struct worker_change change = {
        .steps = &step, .n_steps = 1, .services = &service, .n_services = service ? 1 : 0};
    struct patience patience = patience_new();
    static uint64_t number;

    worker_group_change(&rig.group, &change);
    worker_group_ask(&rig.group, ++number);
    while (!worker_group_has_answered(&rig.group, number) && patience_holds(&patience))
        ;
}

/* Sessions go on, new clients are not served; then it is wanted again; then its time is over. */
static void test_leave_stay_close(void **state)
{
    struct patience patience = patience_new();

    (void)state;
    rig_open();
    for (size_t i = 1; i < N_CLIENTS; i++)
        check_echo(i);
    take_step(LISTENER_STEP_LEAVE, 0, NULL);
    assert_int_equal(send(rig.clients[0], "x", 1, 0), 1);
    while (sum_of(0, N_WORKERS).dropped[UDP_DROP_DRAIN] == 0 && patience_holds(&patience))
        ;
    for (size_t i = 1; i < N_CLIENTS; i++)
        check_echo(i);
    take_step(LISTENER_STEP_STAY, 0, rig.services.services);
    check_echo(0);
    take_step(LISTENER_STEP_LEAVE, 0, NULL);
    take_step(LISTENER_STEP_CLOSE, 0, NULL);
    assert_int_equal(sum_of(0, N_WORKERS).active, 0);
    assert_int_equal(udp_room_used(&rig.group.udp_room), 0);
    assert_true(port_is_free());
    listener_table_free(&rig.listeners, 0);
    rig_close();
}

/* The place is another one's at once, with sessions of its own. */
static void test_open_in_a_used_place(void **state)
{
    char text[LISTENER_ERROR_MAX];
    struct listener wanted = {.transport = CONF_UDP};

    (void)state;
    rig_open();
    wanted.service = rig.services.services;
    for (int i = 0; i < 10; i++) {
        for (size_t k = 0; k < N_CLIENTS; k++)
            check_echo(k);
        take_step(LISTENER_STEP_LEAVE, 0, NULL);
        take_step(LISTENER_STEP_CLOSE, 0, NULL);
        listener_table_free(&rig.listeners, 0);
        close(bound_udp(&wanted.addr));
        assert_int_equal(listener_table_bind(&rig.listeners, &wanted, text), 0);
        take_step(LISTENER_STEP_OPEN, 0, wanted.service);
        for (size_t k = 0; k < N_CLIENTS; k++)
            assert_int_equal(connect(rig.clients[k], &wanted.addr.sa, addr_length(&wanted.addr)),
                             0);
    }
    check_echo(0);
    assert_int_equal(sum_of(0, N_WORKERS).active, 1);
    rig_close();
}

/* Where no service listened on UDP: memory comes with the first listener. */
static void test_prepare(void **state)
{
    struct loop loop;
    struct mailbox prober;
    struct stats_block stats;
    static struct udp_room room; /* on the stack its alignment is not kept under AddressSanitizer */
    const struct service_table none = {0};
    struct udp_side side = {0};
    const struct udp_side_options options = {.loop = &loop,
                                             .stats = &stats,
                                             .prober = &prober,
                                             .room = &room,
                                             .services = &none,
                                             .n_workers = 2};

    (void)state;
    udp_room_init(&room, 10);
    assert_int_equal(udp_side_prepare(&side, &options), 0);
    assert_non_null(side.listeners);
    assert_int_equal(udp_side_prepare(&side, &options), 0);
    assert_false(udp_side_is_open(&side));
    assert_int_equal(udp_side_live(&side), 0);
    udp_side_fini(&side);
}

/* Where nobody listens on UDP all of it does nothing. */
static void test_empty_side(void **state)
{
    struct listener_table table = {0};
    struct udp_side side = {0};

    (void)state;
    assert_int_equal(udp_side_init(&side, &table, &(struct udp_side_options){0}), 0);
    assert_false(udp_side_is_open(&side));
    udp_side_end_turn(&side, true);
    udp_side_start_draining(&side);
    assert_true(udp_side_next_due_ns(&side) == UINT64_MAX);
    udp_side_close_listeners(&side);
    udp_side_fini(&side);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_worker_serves),
        cmocka_unit_test(test_no_worker_is_starved),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_leave_stay_close),
        cmocka_unit_test(test_open_in_a_used_place),
        cmocka_unit_test(test_prepare),
        cmocka_unit_test(test_empty_side),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
