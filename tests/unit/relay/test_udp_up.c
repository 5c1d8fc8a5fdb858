#include "lb4/relay/udp_up.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>

#include "../netns.h"
#include "udp_rig.h"

static struct scene scene;
static struct rig *const rig = &scene.rig;
static const struct rig_options plain = {0};

static void kill_server(size_t index)
{
    close(scene.servers[index]);
    scene.servers[index] = -1;
    rig->n_fds--;
}

static void revive_server(size_t index)
{
    const struct sock_udp_options options = {0};

    scene.servers[index] = sock_udp_listen(&scene.at[index], &options);
    assert_true(scene.servers[index] >= 0);
    receive_singly(scene.servers[index]);
    rig->n_fds++;
}

static bool is_suspect(size_t index)
{
    return backend_standing(rig_backend(rig, index)) & PICK_SUSPECT;
}

/* --- refused ---------------------------------------------------------------------------------- */

static void test_refused_datagram_goes_to_another(void **state)
{
    static const size_t sizes[] = {0, 1, 1200, UDP_KEPT_MAX};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        scene_open(&scene, 2, &plain);
        kill_server(0);
        rig_echo(rig, scene.client, scene.servers[1], sizes[i]);
        rig_hear_nothing(scene.servers[1]);
        assert_int_equal(rig_failures(rig, 0), 1);
        assert_int_equal(rig_failures(rig, 1), 0);
        assert_true(is_suspect(0));
        assert_int_equal(mailbox_take(&rig->prober), MAILBOX_SUSPECT);
        assert_int_equal(rig_stats(rig).rebinds, 1);
        assert_int_equal(rig_stats(rig).sessions, 1);
        assert_int_equal(rig_stats(rig).datagrams_in, 1);
        assert_int_equal(backend_active(rig_backend(rig, 0)), 0);
        assert_int_equal(backend_active(rig_backend(rig, 1)), 1);
        assert_int_equal(rig_connections(rig, 0) + rig_connections(rig, 1), 2);
        rig_check_dropped(rig, UDP_DROP_REFUSED, 0);
        rig_echo(rig, scene.client, scene.servers[1], 5);
        scene_close(&scene);
    }
}

/* What is too long to be kept is lost, but the session moves on. */
static void test_long_datagram_is_not_kept(void **state)
{
    (void)state;
    scene_open(&scene, 2, &plain);
    kill_server(0);
    rig_say(rig, scene.client, UDP_KEPT_MAX + 1, 1);
    rig_hear_nothing(scene.servers[1]);
    rig_check_dropped(rig, UDP_DROP_REFUSED, 1);
    rig_echo(rig, scene.client, scene.servers[1], UDP_KEPT_MAX + 1);
    rig_check_dropped(rig, UDP_DROP_REFUSED, 1);
    scene_close(&scene);
}

/* The kernel tells of the first datagram's refusal when the second is sent. */
static void test_the_rest_of_a_batch_goes_too(void **state)
{
    uint8_t *bytes = make_bytes(100, 1);

    (void)state;
    scene_open(&scene, 2, &plain);
    kill_server(0);
    for (size_t n = 1; n <= 3; n++) /* sizes grow: no two in one send */
        assert_int_equal(send(scene.client, bytes, n, 0), n);
    rig_settle(rig);
    rig_hear(scene.servers[1], 2, 1);
    rig_hear(scene.servers[1], 3, 1);
    rig_hear_nothing(scene.servers[1]);
    rig_check_dropped(rig, UDP_DROP_REFUSED, 1);
    free(bytes);
    scene_close(&scene);
}

/* They come as one packet (UDP_GRO); the last is the one that is kept. */
static void test_last_of_joined_datagrams_is_kept(void **state)
{
    uint8_t *bytes = make_bytes(250, 1);
    uint8_t got[250];

    (void)state;
    scene_open(&scene, 2, &plain);
    kill_server(0);
    send_joined(scene.client, bytes, 250, 100);
    rig_settle(rig);
    wait_for_input(scene.servers[1]);
    assert_int_equal(recv(scene.servers[1], got, sizeof(got), 0), 50);
    assert_memory_equal(got, bytes + 200, 50);
    rig_hear_nothing(scene.servers[1]);
    rig_check_dropped(rig, UDP_DROP_REFUSED, 2);
    free(bytes);
    scene_close(&scene);
}

/* What was kept of the batch before stands first. */
static void test_kept_goes_before_what_came_after(void **state)
{
    (void)state;
    scene_open(&scene, 2, &plain);
    kill_server(0);
    send(scene.client, "a", 1, 0);
    udp_on_listener(&rig->relay, &rig->listener);
    send(scene.client, "bc", 2, 0);
    udp_on_listener(&rig->relay, &rig->listener);
    rig_settle(rig);
    for (size_t n = 1; n <= 2; n++) {
        char got[3];

        wait_for_input(scene.servers[1]);
        assert_int_equal(recv(scene.servers[1], got, sizeof(got), 0), n);
        assert_int_equal(got[0], n == 1 ? 'a' : 'b');
    }
    rig_hear_nothing(scene.servers[1]);
    scene_close(&scene);
}

/* A session that was answered loses nothing either, whether one server refuses or several in a row;
 * and a datagram goes to none of them twice. */
static void test_answered_session_goes_on(void **state)
{
    (void)state;
    for (size_t n_dead = 1; n_dead <= 3; n_dead++) {
        scene_open(&scene, 4, &plain);
        rig_echo(rig, scene.client, scene.servers[0], 10);
        for (size_t i = 0; i < n_dead; i++)
            kill_server(i);
        rig_echo(rig, scene.client, scene.servers[n_dead], 11);
        for (size_t i = n_dead; i < 4; i++)
            rig_hear_nothing(scene.servers[i]);
        for (size_t i = 0; i < n_dead; i++)
            assert_int_equal(rig_failures(rig, i), 1);
        rig_check_dropped(rig, UDP_DROP_REFUSED, 0);
        assert_int_equal(rig_stats(rig).rebinds, n_dead);
        rig_echo(rig, scene.client, scene.servers[n_dead], 12);
        scene_close(&scene);
    }
}

/* What answered sessions lose when nobody is left is counted once, however many refuse it. */
static void test_answered_session_is_refused_by_all(void **state)
{
    (void)state;
    scene_open(&scene, 3, &plain);
    rig_echo(rig, scene.client, scene.servers[0], 10);
    for (size_t i = 0; i < 3; i++)
        kill_server(i);
    for (uint64_t n = 1; n <= 3; n++) {
        rig_say(rig, scene.client, 10, 1);
        rig_check_dropped(rig, UDP_DROP_REFUSED, n);
    }
    rig_say(rig, scene.client, UDP_KEPT_MAX + 1, 1);
    rig_check_dropped(rig, UDP_DROP_REFUSED, 4);
    scene_close(&scene);
}

/* What went well is no loss, whatever happens to what comes after it. */
static void test_only_the_last_go_is_lost(void **state)
{
    (void)state;
    scene_open(&scene, 1, &plain);
    for (uint32_t n = 0; n < 5; n++)
        rig_say(rig, scene.client, 10, n);
    kill_server(0);
    rig_say(rig, scene.client, 10, 5);
    rig_check_dropped(rig, UDP_DROP_REFUSED, 1);
    scene_close(&scene);
}

/* Each server is asked once for each datagram; then it is given up, and the next one asks again. */
static void test_everybody_refuses(void **state)
{
    (void)state;
    scene_open(&scene, 3, &plain);
    for (size_t i = 0; i < 3; i++)
        kill_server(i);
    for (uint64_t n = 1; n <= 5; n++) {
        rig_say(rig, scene.client, 10, 1);
        rig_check_dropped(rig, UDP_DROP_REFUSED, n);
        for (size_t i = 0; i < 3; i++)
            assert_int_equal(rig_failures(rig, i), n);
    }
    assert_int_equal(rig_stats(rig).datagrams_in, 5);
    assert_int_equal(rig->relay.n_live, 1);
    revive_server(1);
    rig_echo(rig, scene.client, scene.servers[1], 10);
    rig_check_dropped(rig, UDP_DROP_REFUSED, 5);
    scene_close(&scene);
}

/* Without a server, clients that go on sending cost no more than a round of the servers each. */
static void test_a_batch_that_everybody_refuses(void **state)
{
    uint8_t *bytes = make_bytes(100, 1);

    (void)state;
    scene_open(&scene, 3, &plain);
    for (size_t i = 0; i < 3; i++)
        kill_server(i);
    for (size_t n = 1; n <= 40; n++)
        assert_int_equal(send(scene.client, bytes, n, 0), n);
    rig_settle(rig);
    for (size_t i = 0; i < 3; i++)
        assert_in_range(rig_failures(rig, i), 1, 2);
    free(bytes);
    scene_close(&scene);
}

/* It has said its last words: they are the client's, and what it was asked after them is not
 * repeated elsewhere. */
static void test_answers_before_the_refusal_arrive(void **state)
{
    struct addr from;
    uint8_t *bytes = make_bytes(20, 3);

    (void)state;
    scene_open(&scene, 2, &plain);
    rig_say(rig, scene.client, 10, 1);
    from = rig_hear(scene.servers[0], 10, 1);
    for (size_t n = 0; n < 10; n++)
        sendto(scene.servers[0], bytes, 20, 0, &from.sa, addr_length(&from));
    kill_server(0);
    assert_int_equal(send(scene.client, "x", 1, 0), 1);
    udp_on_listener(&rig->relay, &rig->listener);
    rig_settle(rig);
    for (size_t n = 0; n < 10; n++)
        rig_hear(scene.client, 20, 3);
    rig_hear_nothing(scene.servers[1]);
    assert_int_equal(rig_stats(rig).rebinds, 1);
    rig_echo(rig, scene.client, scene.servers[1], 10);
    free(bytes);
    scene_close(&scene);
}

/* --- down ------------------------------------------------------------------------------------- */

static void check_moves(uint32_t flag)
{
    struct addr from;

    scene_open(&scene, 2, &plain);
    from = rig_echo(rig, scene.client, scene.servers[0], 10);
    backend_set(rig_backend(rig, 0), flag);
    rig_answer(rig, scene.servers[0], &from, 11, 1); /* it stays until the client sends */
    rig_hear(scene.client, 11, 1);
    rig_echo(rig, scene.client, scene.servers[1], 12);
    assert_int_equal(rig_stats(rig).rebinds, 1);
    assert_int_equal(rig_failures(rig, 0), 0);
    backend_clear(rig_backend(rig, 0), flag);
    rig_echo(rig, scene.client, scene.servers[1], 13); /* and does not come back */
    scene_close(&scene);
}

static void test_down_server_is_left(void **state)
{
    (void)state;
    check_moves(PICK_DOWN);
    check_moves(PICK_MAINT);
}

static void test_some_reasons_are_none(void **state)
{
    static const uint32_t flags[] = {PICK_SUSPECT, PICK_DRAIN, PICK_FRESH, PICK_DOWN};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        scene_open(&scene, 2, &(struct rig_options){.keeps_on_down = flags[i] == PICK_DOWN});
        rig_echo(rig, scene.client, scene.servers[0], 10);
        backend_set(rig_backend(rig, 0), flags[i]);
        rig_echo(rig, scene.client, scene.servers[0], 11);
        assert_int_equal(rig_stats(rig).rebinds, 0);
        scene_close(&scene);
    }
}

static void test_stays_when_all_are_down(void **state)
{
    (void)state;
    scene_open(&scene, 2, &plain);
    rig_echo(rig, scene.client, scene.servers[0], 10);
    backend_set(rig_backend(rig, 0), PICK_DOWN);
    backend_set(rig_backend(rig, 1), PICK_DOWN);
    rig_echo(rig, scene.client, scene.servers[0], 11);
    rig_check_dropped(rig, UDP_DROP_NO_SERVER, 0);
    scene_close(&scene);
}

static void test_no_server_for_a_new_client(void **state)
{
    (void)state;
    scene_open(&scene, 1, &plain);
    backend_set(rig_backend(rig, 0), PICK_DOWN);
    rig_say(rig, scene.client, 10, 1);
    rig_check_dropped(rig, UDP_DROP_NO_SERVER, 1);
    assert_int_equal(rig->relay.n_live, 0);
    assert_int_equal(rig_stats(rig).sessions, 0);
    backend_clear(rig_backend(rig, 0), PICK_DOWN);
    rig_echo(rig, scene.client, scene.servers[0], 10);
    scene_close(&scene);
}

/* --- servers that cannot be reached, and our own trouble -------------------------------------- */

static void test_unreachable_server_is_passed_over(void **state)
{
    struct addr at[2];
    int server = rig_server(&at[1]);
    int client;

    (void)state;
    at[0] = make_addr("192.0.2.1", 9); /* no route in this namespace */
    rig_open(rig, at, 2, &plain);
    client = rig_client(rig);
    rig_echo(rig, client, server, 10);
    assert_int_equal(rig_failures(rig, 0), 1);
    assert_true(is_suspect(0));
    assert_int_equal(rig_connections(rig, 0), 0);
    assert_int_equal(rig_stats(rig).rebinds, 0);
    close(client);
    rig_close(rig);
    close(server);
}

static void test_only_server_is_unreachable(void **state)
{
    struct addr at = make_addr("192.0.2.1", 9);
    int client;

    (void)state;
    rig_open(rig, &at, 1, &plain);
    client = rig_client(rig);
    rig_say(rig, client, 10, 1);
    rig_check_dropped(rig, UDP_DROP_REFUSED, 1);
    assert_int_equal(rig->relay.n_live, 0);
    close(client);
    rig_close(rig);
}

/* A server without a port of its own gets the one that was asked, and is not judged by it. */
static void test_server_without_a_port(void **state)
{
    struct addr at = make_addr("127.0.0.2", 0);
    struct addr there;
    int client;
    int server;

    (void)state;
    rig_open(rig, &at, 1, &plain);
    client = rig_client(rig);
    rig_say(rig, client, 10, 1);
    rig_check_dropped(rig, UDP_DROP_REFUSED, 1);
    assert_int_equal(rig_failures(rig, 0), 1);
    assert_false(is_suspect(0));
    there = make_addr("127.0.0.2", addr_port(&rig->listener.at));
    server = sock_udp_listen(&there, &(struct sock_udp_options){0});
    rig_echo(rig, client, server, 10);
    close(server);
    close(client);
    rig_close(rig);
}

static void set_ephemeral_ports(uint16_t first, uint16_t last)
{
    FILE *file = fopen("/proc/sys/net/ipv4/ip_local_port_range", "w");

    if (!file)
        skip();
    fprintf(file, "%d %d\n", first, last);
    if (fclose(file) != 0)
        skip();
}

static void test_socket_that_connects_to_itself(void **state)
{
    struct addr at[2];
    struct addr closed = make_addr("127.0.0.1", 20001);
    int server = rig_server(&at[1]);
    int client;

    (void)state;
    at[0] = closed;
    rig_open(rig, at, 2, &plain);
    client = rig_client(rig);
    set_ephemeral_ports(20001, 20001);
    rig_say(rig, client, 10, 1);
    set_ephemeral_ports(32768, 60999);
    rig_hear(server, 10, 1);
    assert_int_equal(rig_failures(rig, 0), 1);
    assert_int_equal(rig_connections(rig, 0), 0);
    close(client);
    rig_close(rig);
    close(server);
}

static void test_no_descriptor_is_left(void **state)
{
    struct rlimit limit;
    struct rlimit low;
    int lowest;

    (void)state;
    scene_open(&scene, 2, &plain);
    getrlimit(RLIMIT_NOFILE, &limit);
    lowest = dup(0);
    close(lowest);
    low = (struct rlimit){(rlim_t)lowest, limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    send(scene.client, "x", 1, 0);
    udp_on_listener(&rig->relay, &rig->listener);
    rig_end_turn(rig);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    rig_check_dropped(rig, UDP_DROP_LIMIT, 1);
    assert_int_equal(rig->relay.n_live, 0);
    assert_int_equal(rig_failures(rig, 0) + rig_failures(rig, 1), 0);
    assert_int_equal(udp_room_used(&rig->room), 0);
    scene_close(&scene);
}

/* Our own trouble with one server: others are asked, nobody is blamed, and nobody ends for it. */
static void test_a_way_that_is_not_there(void **state)
{
    struct origin origins[3] = {
        {.n_sources = 1, .sources = {make_addr("203.0.113.9", 0)}}, /* not here */
        {.interface = "no-such-link"},
        {.n_sources = 1, .sources = {make_addr("::1", 0)}}, /* of no use towards IPv4 */
    };

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        int others[3];

        scene_open(&scene, 2, &(struct rig_options){.origin = &origins[i]});
        rig_echo(rig, scene.client, scene.servers[1], 10);
        for (size_t k = 0; k < 3; k++) {
            others[k] = rig_client(rig);
            rig_echo(rig, others[k], scene.servers[1], 10);
        }
        assert_int_equal(rig->relay.n_live, 4);
        assert_int_equal(rig_failures(rig, 0) + rig_failures(rig, 1), 0);
        assert_false(is_suspect(0));
        assert_int_equal(backend_active(rig_backend(rig, 0)), 0);
        for (size_t k = 0; k < 3; k++)
            close(others[k]);
        scene_close(&scene);
    }
}

/* A lack of room it is not: others that ended would not help. */
static void test_the_only_way_is_not_there(void **state)
{
    const struct origin origin = {.n_sources = 1, .sources = {make_addr("203.0.113.9", 0)}};

    (void)state;
    scene_open(&scene, 1, &(struct rig_options){.origin = &origin});
    rig_say(rig, scene.client, 10, 1);
    rig_check_dropped(rig, UDP_DROP_ERROR, 1);
    assert_false(is_suspect(0));
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_datagram_goes_to_another),
        cmocka_unit_test(test_long_datagram_is_not_kept),
        cmocka_unit_test(test_the_rest_of_a_batch_goes_too),
        cmocka_unit_test(test_last_of_joined_datagrams_is_kept),
        cmocka_unit_test(test_kept_goes_before_what_came_after),
        cmocka_unit_test(test_answered_session_goes_on),
        cmocka_unit_test(test_answered_session_is_refused_by_all),
        cmocka_unit_test(test_only_the_last_go_is_lost),
        cmocka_unit_test(test_everybody_refuses),
        cmocka_unit_test(test_a_batch_that_everybody_refuses),
        cmocka_unit_test(test_answers_before_the_refusal_arrive),
        cmocka_unit_test(test_down_server_is_left),
        cmocka_unit_test(test_some_reasons_are_none),
        cmocka_unit_test(test_stays_when_all_are_down),
        cmocka_unit_test(test_no_server_for_a_new_client),
        cmocka_unit_test(test_server_without_a_port),
        cmocka_unit_test(test_no_descriptor_is_left),
        cmocka_unit_test(test_socket_that_connects_to_itself),
        cmocka_unit_test(test_unreachable_server_is_passed_over),
        cmocka_unit_test(test_only_server_is_unreachable),
        cmocka_unit_test(test_a_way_that_is_not_there),
        cmocka_unit_test(test_the_only_way_is_not_there),
    };

    if (!netns_enter())
        return cmocka_run_group_tests_name("without a namespace", tests, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
