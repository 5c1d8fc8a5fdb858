#include "lb4/relay/udp_session.h"

#include "udp_rig.h"

static bool fails_alloc;
static bool fails_realloc;
static int epoll_error;
static int joined_error; /* of sends of several datagrams in one */
static int n_refused;    /* of those */

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);
ssize_t __real_sendmsg(int fd, const struct msghdr *header, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *header, int flags);
int __real_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll_fd, int op, int fd, struct epoll_event *event);

void *__wrap_calloc(size_t n, size_t size)
{
    return fails_alloc ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails_realloc ? NULL : __real_realloc(old, size);
}

/* The one thing that a session's socket is told by control data is UDP_SEGMENT. */
ssize_t __wrap_sendmsg(int fd, const struct msghdr *header, int flags)
{
    if (!joined_error || header->msg_controllen == 0)
        return __real_sendmsg(fd, header, flags);
    n_refused++;
    errno = joined_error;
    return -1;
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

/* In one batch with others, while there is none: those that live go on, new ones are turned away,
 * and find their way later. */
static void test_no_memory_for_some(void **state)
{
    int others[3];

    (void)state;
    scene_open(&scene, 1, &plain);
    rig_echo(rig, scene.client, scene.servers[0], 10);
    for (int i = 0; i < 3; i++) {
        others[i] = rig_client(rig);
        assert_int_equal(send(others[i], "x", 1, 0), 1);
        assert_int_equal(send(scene.client, "yy", 2, 0), 2);
    }
    fails_alloc = true;
    fails_realloc = true;
    udp_on_listener(&rig->relay, &rig->listener);
    fails_alloc = false;
    fails_realloc = false;
    rig_settle(rig);
    for (int i = 0; i < 3; i++) {
        uint8_t bytes[3];

        wait_for_input(scene.servers[0]);
        assert_int_equal(recv(scene.servers[0], bytes, sizeof(bytes), 0), 2);
    }
    rig_hear_nothing(scene.servers[0]);
    rig_check_dropped(rig, UDP_DROP_LIMIT, 3);
    assert_int_equal(udp_room_used(&rig->room), 1);
    assert_int_equal(capacity_used(&rig->room.trial.capacity), 0);
    for (int i = 0; i < 3; i++) {
        rig_echo(rig, others[i], scene.servers[0], 10);
        close(others[i]);
    }
    rig_echo(rig, scene.client, scene.servers[0], 10);
    scene_close(&scene);
}

/* A datagram that could not be kept is lost to the first refusal, and counted. */
static void test_no_memory_to_keep(void **state)
{
    (void)state;
    scene_open(&scene, 2, &plain);
    rig_echo(rig, scene.client, scene.servers[0], 10);
    rig_say(rig, scene.client, 10, 1);
    fails_realloc = true;
    rig_say(rig, scene.client, 20, 2);
    fails_realloc = false;
    rig_hear(scene.servers[0], 10, 1);
    rig_hear(scene.servers[0], 20, 2);
    close(scene.servers[0]);
    scene.servers[0] = -1;
    rig->n_fds--;
    fails_realloc = true;
    rig_say(rig, scene.client, 30, 3);
    fails_realloc = false;
    rig_hear_nothing(scene.servers[1]);
    rig_check_dropped(rig, UDP_DROP_REFUSED, 1);
    rig_echo(rig, scene.client, scene.servers[1], 10);
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

static void say_thrice(size_t n_bytes)
{
    uint8_t *bytes = make_bytes(n_bytes, 1);

    for (int i = 0; i < 3; i++)
        assert_int_equal(send(scene.client, bytes, n_bytes, 0), n_bytes);
    free(bytes);
    rig_settle(rig);
}

static void hear_thrice(int server, size_t n_bytes)
{
    for (int i = 0; i < 3; i++)
        rig_hear(server, n_bytes, 1);
    rig_hear_nothing(server);
}

/* A path that cannot take joined datagrams is found out once for each session and server, and
 * nothing is lost by it. */
static void check_joining(int error, uint16_t segment_max)
{
    scene_open(&scene, 2, &plain);
    joined_error = error;
    n_refused = 0;
    say_thrice(100);
    hear_thrice(scene.servers[0], 100);
    assert_int_equal(n_refused, 1);
    assert_int_equal(only_session()->up.segment_max, segment_max);
    assert_int_equal(only_session()->down.segment_max, UDP_SEGMENT_ANY);
    say_thrice(100);
    hear_thrice(scene.servers[0], 100);
    assert_int_equal(n_refused, 1);
    backend_set(rig_backend(rig, 0), PICK_DOWN);
    say_thrice(100);
    hear_thrice(scene.servers[1], 100);
    assert_int_equal(n_refused, 2);
    joined_error = 0;
    rig_check_dropped(rig, UDP_DROP_ERROR, 0);
    assert_int_equal(rig_stats(rig).rebinds, 1);
    scene_close(&scene);
}

static void test_joining_is_refused(void **state)
{
    (void)state;
    check_joining(EIO, 0);
    check_joining(EMSGSIZE, 99);
    check_joining(EINVAL, 99);
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

/* It may be the answer to just that. What the client says next is kept again. */
static void test_an_answer_ends_the_keeping(void **state)
{
    (void)state;
    scene_open(&scene, 1, &plain);
    rig_echo(rig, scene.client, scene.servers[0], 10);
    assert_null(only_session()->kept);
    assert_int_equal(only_session()->n_at_risk, 0);
    rig_say(rig, scene.client, 10, 1);
    assert_non_null(only_session()->kept);
    assert_int_equal(only_session()->n_at_risk, 1);
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
        cmocka_unit_test(test_no_memory_for_some),
        cmocka_unit_test(test_no_memory_to_keep),
        cmocka_unit_test(test_no_memory_for_the_refusal),
        cmocka_unit_test(test_first_socket_cannot_be_watched),
        cmocka_unit_test(test_next_socket_cannot_be_watched),
        cmocka_unit_test(test_event_of_the_socket_before),
        cmocka_unit_test(test_joining_is_refused),
        cmocka_unit_test(test_what_is_kept),
        cmocka_unit_test(test_an_answer_ends_the_keeping),
        cmocka_unit_test(test_close_gives_all_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
