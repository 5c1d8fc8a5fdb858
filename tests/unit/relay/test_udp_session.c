#include "lb4/relay/udp_session.h"

#include "udp_rig.h"

static bool fails_alloc;
static int epoll_error;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
int __real_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event);

void *__wrap_calloc(size_t n, size_t size)
{
    return fails_alloc ? NULL : __real_calloc(n, size);
}

int __wrap_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event)
{
    if (!epoll_error)
        return __real_epoll_ctl(epoll_fd, op, fd, event);
    errno = epoll_error;
    return -1;
}

static struct scene scene;
static struct rig *const rig = &scene.rig;
static const struct rig_options plain = {0};

static void test_no_memory(void **state)
{
    (void)state;
    scene_open(&scene, 1, &plain);
    send(scene.client, "x", 1, 0);
    fails_alloc = true;
    udp_on_listener(&rig->relay, &rig->listener);
    fails_alloc = false;
    rig_end_turn(rig);
    rig_check_dropped(rig, UDP_DROP_LIMIT, 1);
    assert_int_equal(udp_room_used(&rig->room), 0);
    assert_int_equal(udp_room_used(&rig->services.services->udp_room), 0);
    rig_echo(rig, scene.client, scene.servers[0], 10);
    scene_close(&scene);
}

/* pick_set_add() finds no memory for what it is to remember: better no retry than an endless one.
 */
static void test_no_memory_for_the_refusal(void **state)
{
    (void)state;
    scene_open(&scene, 2, &plain);
    close(scene.servers[0]);
    rig->n_fds--;
    send(scene.client, "x", 1, 0);
    udp_on_listener(&rig->relay, &rig->listener);
    fails_alloc = true;
    rig_settle(rig);
    fails_alloc = false;
    rig_check_dropped(rig, UDP_DROP_ERROR, 1);
    rig_hear_nothing(scene.servers[1]);
    rig_echo(rig, scene.client, scene.servers[1], 10);
    scene.servers[0] = -1;
    scene_close(&scene);
}

static void test_first_socket_cannot_be_watched(void **state)
{
    (void)state;
    scene_open(&scene, 1, &plain);
    send(scene.client, "x", 1, 0);
    epoll_error = ENOSPC;
    udp_on_listener(&rig->relay, &rig->listener);
    epoll_error = 0;
    rig_end_turn(rig);
    rig_check_dropped(rig, UDP_DROP_LIMIT, 1);
    assert_int_equal(rig->relay.n_live, 0);
    assert_int_equal(rig_stats(rig).sessions, 0);
    assert_int_equal(rig_connections(rig, 0), 0);
    scene_close(&scene);
}

/* It cannot move from its server that is down, and works on as it was. */
static void test_next_socket_cannot_be_watched(void **state)
{
    (void)state;
    scene_open(&scene, 2, &plain);
    rig_echo(rig, scene.client, scene.servers[0], 10);
    backend_set(rig_backend(rig, 0), PICK_DOWN);
    epoll_error = ENOMEM;
    rig_echo(rig, scene.client, scene.servers[0], 11);
    assert_int_equal(backend_active(rig_backend(rig, 1)), 0);
    epoll_error = 0;
    rig_echo(rig, scene.client, scene.servers[1], 12);
    assert_int_equal(backend_active(rig_backend(rig, 0)), 0);
    scene_close(&scene);
}

/* An event of the socket before in the same batch: nothing is read from the new one by mistake. */
static void test_event_of_the_socket_before(void **state)
{
    struct udp_session *session;

    (void)state;
    scene_open(&scene, 2, &plain);
    rig_echo(rig, scene.client, scene.servers[0], 10);
    backend_set(rig_backend(rig, 0), PICK_DOWN);
    rig_echo(rig, scene.client, scene.servers[1], 11);
    session = container_of(rig->relay.live.next, struct udp_session, link);
    udp_on_server(&rig->relay, &session->source, EPOLLIN | EPOLLERR | EPOLLHUP);
    rig_end_turn(rig);
    assert_int_equal(rig_stats(rig).datagrams_out, 2);
    rig_echo(rig, scene.client, scene.servers[1], 12);
    scene_close(&scene);
}

static struct udp_session *only_session(void)
{
    return container_of(rig->relay.live.next, struct udp_session, link);
}

static void test_what_is_kept(void **state)
{
    struct udp_session *session;

    (void)state;
    scene_open(&scene, 1, &plain);
    rig_say(rig, scene.client, 100, 1);
    session = only_session();
    assert_int_equal(session->n_kept, 100);
    rig_say(rig, scene.client, 0, 1);
    assert_non_null(session->kept);
    assert_int_equal(session->n_kept, 0);
    rig_say(rig, scene.client, UDP_KEPT_MAX, 1);
    assert_int_equal(session->n_kept, UDP_KEPT_MAX);
    rig_say(rig, scene.client, UDP_KEPT_MAX + 1, 1);
    assert_null(session->kept);
    scene_close(&scene);
}

static void test_nothing_is_kept_after_an_answer(void **state)
{
    (void)state;
    scene_open(&scene, 1, &plain);
    rig_echo(rig, scene.client, scene.servers[0], 10);
    assert_null(only_session()->kept);
    rig_say(rig, scene.client, 10, 1);
    assert_null(only_session()->kept);
    scene_close(&scene);
}

/* Its places are given back at once, its memory with the turn. */
static void test_close_gives_all_back(void **state)
{
    (void)state;
    scene_open(&scene, 1, &plain);
    rig_echo(rig, scene.client, scene.servers[0], 10);
    udp_session_close(&rig->relay, only_session(), UDP_END_IDLE);
    assert_int_equal(udp_room_used(&rig->room), 0);
    assert_int_equal(backend_active(rig_backend(rig, 0)), 0);
    assert_int_equal(rig_stats(rig).active, 0);
    assert_false(list_is_empty(&rig->relay.dead));
    udp_session_reap(&rig->relay);
    assert_true(list_is_empty(&rig->relay.dead));
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_no_memory_for_the_refusal),
        cmocka_unit_test(test_first_socket_cannot_be_watched),
        cmocka_unit_test(test_next_socket_cannot_be_watched),
        cmocka_unit_test(test_event_of_the_socket_before),
        cmocka_unit_test(test_what_is_kept),
        cmocka_unit_test(test_nothing_is_kept_after_an_answer),
        cmocka_unit_test(test_close_gives_all_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
