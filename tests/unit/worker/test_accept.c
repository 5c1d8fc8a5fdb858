/* Listeners of workers that run come and go, as control asks. */
#include "lb4/worker/accept.h"

#include <errno.h>

#include "lb4/shared/service_change.h"
#include "lb4/worker/listener_parts.h"

#include "crew.h"

static uint64_t n_questions;
static char error_text[LISTENER_ERROR_MAX];

/* Control's side: have it taken, and wait for the grace. */
static void post_steps(const struct worker_change *change)
{
    worker_group_change(&crew.group, change);
    worker_group_ask(&crew.group, ++n_questions);
}

static void wait_taken(void)
{
    struct patience patience = patience_new();

    while (!worker_group_has_answered(&crew.group, n_questions) && patience_holds(&patience))
        ;
}

static void take_step(enum listener_verb verb, size_t listener, struct service *service)
{
    const struct listener_step step = {
        .verb = verb, .listener = (uint32_t)listener, .service = service};
    const struct worker_change change = {
        .steps = &step, .n_steps = 1, .services = &service, .n_services = service ? 1 : 0};

    post_steps(&change);
    wait_taken();
}

static void open_crew(void)
{
    n_questions = 0;
    crew_open(MAXCONN);
}

/* Another service, with another server, which is `*ret_fd`. */
static struct service *add_service(int *ret_fd)
{
    struct conf_server server = {.weight = 1, .name = "other"};
    struct conf_listen listen = {.transport = CONF_TCP};
    struct conf_service from = {
        .name = "second",
        .servers = &server,
        .n_servers = 1,
        .listens = &listen,
        .n_listens = 1,
        .tries = 1,
        .timeouts = {.connect_ms = 2000, .idle_ms = 70000, .half_close_ms = 70000},
    };
    struct service *service = service_table_add(&crew.services, "second");
    struct service_change change;

    *ret_fd = sockets_listen(&server.addr);
    assert_int_equal(service_prepare(&crew.services, service, &from, &change), 0);
    service_commit(&change);
    service_activate(&change);
    service_change_fini(&crew.services, &change);
    return service;
}

static void check_refused(const struct addr *at)
{
    int fd = sockets_connect(at);

    sockets_wait(fd, POLLOUT);
    assert_int_equal(sock_take_error(fd), ECONNREFUSED);
    close(fd);
}

static void test_open(void **state)
{
    struct listener wanted = {.transport = CONF_TCP, .addr = sockets_closed_port()};
    struct guest guest;
    long place;

    (void)state;
    open_crew();
    wanted.service = crew.services.services;
    place = listener_table_bind(&crew.listeners, &wanted, error_text);
    assert_int_equal(place, N_LISTENERS);
    take_step(LISTENER_STEP_OPEN, (size_t)place, wanted.service);
    for (int i = 0; i < 20; i++) {
        guest.client_fd = sockets_connect(&wanted.addr);
        guest.server_fd = sockets_accept(crew.server_fd);
        check_echo(&guest);
        guest_close(&guest);
    }
    take_step(LISTENER_STEP_LEAVE, (size_t)place, NULL);
    check_refused(&wanted.addr);
    listener_table_free(&crew.listeners, (size_t)place);
    guest = guest_open(0);
    check_echo(&guest);
    guest_close(&guest);
    crew_close();
}

/* Connections that are there stay with their service; those to come are the other's. */
static void test_move(void **state)
{
    struct service *second;
    struct guest guest;
    int other_fd;
    int client_fd;

    (void)state;
    open_crew();
    guest = guest_open(0);
    second = add_service(&other_fd);
    take_step(LISTENER_STEP_MOVE, 0, second);
    client_fd = sockets_connect(&crew.fronts[0]);
    close(sockets_accept(other_fd));
    close(client_fd);
    check_echo(&guest);
    guest_close(&guest);
    guest = guest_open(1);
    check_echo(&guest);
    guest_close(&guest);
    close(other_fd);
    crew_close();
}

/* Whom the kernel has told that it is connected is served; then the port is closed. */
static void test_leave_serves_the_queue(void **state)
{
    enum { N_GUESTS = 40 };
    const struct listener_step step = {.verb = LISTENER_STEP_LEAVE};
    const struct worker_change change = {.steps = &step, .n_steps = 1};
    struct guest guests[N_GUESTS];

    (void)state;
    n_questions = 0;
    crew_init(MAXCONN);
    for (size_t i = 0; i < N_GUESTS; i++) {
        guests[i].client_fd = sockets_connect(&crew.fronts[0]);
        sockets_wait(guests[i].client_fd, POLLOUT);
    }
    post_steps(&change);
    crew_start(N_WORKERS);
    wait_taken();
    check_refused(&crew.fronts[0]);
    for (size_t i = 0; i < N_GUESTS; i++)
        guests[i].server_fd = sockets_accept(crew.server_fd);
    for (size_t i = 0; i < N_GUESTS; i++)
        guest_close(&guests[i]);
    crew_close();
}

/* One that is paused for want of room leaves, and is not woken by a place that comes free. */
static void test_paused_one_leaves(void **state)
{
    struct patience patience = patience_new();
    struct guest guest;
    int waiting;

    (void)state;
    n_questions = 0;
    crew_open(1);
    guest = guest_open(0);
    waiting = sockets_connect(&crew.fronts[0]);
    while (pauses() == 0 && patience_holds(&patience))
        ;
    take_step(LISTENER_STEP_LEAVE, 0, NULL);
    guest_close(&guest);
    sockets_wait(waiting, POLLIN);
    assert_int_equal(sock_take_error(waiting), ECONNRESET);
    close(waiting);
    check_refused(&crew.fronts[0]);
    guest = guest_open(1);
    check_echo(&guest);
    guest_close(&guest);
    crew_close();
}

/* While draining nothing is opened any more. */
static void test_draining_opens_nothing(void **state)
{
    struct listener wanted = {.transport = CONF_TCP, .addr = sockets_closed_port()};
    long place;

    (void)state;
    open_crew();
    wanted.service = crew.services.services;
    place = listener_table_bind(&crew.listeners, &wanted, error_text);
    worker_group_post(&crew.group, MAILBOX_DRAIN);
    crew_wait_drained();
    take_step(LISTENER_STEP_OPEN, (size_t)place, wanted.service);
    listener_table_free(&crew.listeners, (size_t)place);
    check_refused(&wanted.addr);
    mailbox_take(&crew.control);
    crew_close();
}

/* The same place, a hundred times: nothing of the one before is left in it. */
static void test_place_is_used_again(void **state)
{
    struct listener wanted = {.transport = CONF_TCP};
    size_t n_fds;

    (void)state;
    open_crew();
    n_fds = sockets_count_fds();
    wanted.service = crew.services.services;
    for (int i = 0; i < 100; i++) {
        long place;
        struct guest guest;

        wanted.addr = sockets_closed_port();
        place = listener_table_bind(&crew.listeners, &wanted, error_text);
        assert_int_equal(place, N_LISTENERS);
        take_step(LISTENER_STEP_OPEN, (size_t)place, wanted.service);
        guest.client_fd = sockets_connect(&wanted.addr);
        guest.server_fd = sockets_accept(crew.server_fd);
        guest_close(&guest);
        take_step(LISTENER_STEP_LEAVE, (size_t)place, NULL);
        listener_table_free(&crew.listeners, (size_t)place);
    }
    assert_true(sockets_count_fds() <= n_fds + 2); /* the last connection may not be over */
    crew_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_move),
        cmocka_unit_test(test_leave_serves_the_queue),
        cmocka_unit_test(test_paused_one_leaves),
        cmocka_unit_test(test_draining_opens_nothing),
        cmocka_unit_test(test_place_is_used_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
