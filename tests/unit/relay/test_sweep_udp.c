#include "lb4/relay/sweep.h"

#include <stdio.h>

#include "lb4/relay/udp_session.h"

#include "udp_rig.h"

enum { SECOND_MS = 1000 };

static struct scene scene;
static struct rig *const rig = &scene.rig;
static struct tcp_relay no_tcp;
static const struct sweep_relays relays = {.tcp = &no_tcp, .udp = &scene.rig.relay};
static struct sweep_record records[4];

static void open_scene(size_t n_servers)
{
    no_tcp = (struct tcp_relay){.loop = &rig->loop};
    list_init(&no_tcp.live);
    no_tcp.cursor = &no_tcp.live;
    scene_open(&scene, n_servers, &(struct rig_options){0});
    for (size_t i = 0; i < n_servers; i++)
        snprintf(rig_backend(rig, i)->name, sizeof(rig_backend(rig, i)->name), "s%zu", i);
}

static size_t take_list(void)
{
    struct sweep_list list = {.records = records, .cap = 4};

    memset(records, 0, sizeof(records));
    sweep_list(&relays, &list);
    return list.n;
}

static void test_list(void **state)
{
    const uint64_t second_ns = SECOND_MS * CLOCK_NS_PER_MS;
    struct addr at;
    int other;

    (void)state;
    open_scene(2);
    other = rig_client(rig);
    assert_int_equal(take_list(), 0);
    rig_say(rig, other, 70, 1); /* the first server does not answer */
    rig_hear(scene.servers[0], 70, 1);
    rig_advance(rig, 4 * SECOND_MS);
    rig_echo(rig, scene.client, scene.servers[1], 100);
    rig_advance(rig, 2 * SECOND_MS);
    assert_int_equal(take_list(), 2);
    assert_string_equal(records[0].state, "unanswered");
    assert_string_equal(records[0].service, "rig");
    assert_string_equal(records[0].server, "s0");
    at = local_addr(other);
    assert_true(addr_equal(&records[0].client, &at));
    assert_true(records[0].is_udp);
    assert_int_equal(records[0].bytes_in, 70);
    assert_int_equal(records[0].bytes_out, 0);
    assert_true(records[0].age_ns >= 6 * second_ns);
    assert_true(records[0].idle_ns >= 6 * second_ns);
    assert_string_equal(records[1].state, "answered");
    assert_string_equal(records[1].server, "s1");
    assert_int_equal(records[1].bytes_in, 100);
    assert_int_equal(records[1].bytes_out, 100);
    assert_true(records[1].idle_ns >= 2 * second_ns);
    assert_true(records[0].idle_ns - records[1].idle_ns >= 4 * second_ns - 64 * CLOCK_NS_PER_MS);
    close(other);
    scene_close(&scene);
}

/* The silence that ends a session is shorter then; how long it lasted is told as before. */
static void test_list_while_draining(void **state)
{
    const uint64_t second_ns = SECOND_MS * CLOCK_NS_PER_MS;

    (void)state;
    open_scene(1);
    rig_echo(rig, scene.client, scene.servers[0], 100);
    rig_advance(rig, 30 * SECOND_MS);
    udp_start_draining(&rig->relay);
    rig_echo(rig, scene.client, scene.servers[0], 100);
    assert_int_equal(take_list(), 1);
    assert_true(records[0].age_ns >= 30 * second_ns);
    assert_true(records[0].age_ns - records[0].idle_ns >= 30 * second_ns - 64 * CLOCK_NS_PER_MS);
    scene_close(&scene);
}

/* In pieces, and by what has moved. */
static void test_busiest(void **state)
{
    struct largest busiest;
    struct sweep_list list = {.records = records, .cap = 1, .n_piece = 1, .busiest = &busiest};
    int other;

    (void)state;
    open_scene(2);
    other = rig_client(rig);
    rig_echo(rig, scene.client, scene.servers[0], 50);
    rig_echo(rig, other, scene.servers[1], 500);
    rig_advance(rig, SECOND_MS);
    largest_init(&busiest, 1);
    sweep_list(&relays, &list);
    assert_int_equal(list.at, SWEEP_UDP);
    assert_int_equal(records[0].bytes_in, 50);
    sweep_list(&relays, &list);
    assert_int_equal(list.at, SWEEP_END);
    assert_int_equal(list.n, 1);
    assert_int_equal(records[0].bytes_in, 500);
    assert_in_range(records[0].rate.in_per_s, 50, 500);
    assert_in_range(records[0].rate.out_per_s, 50, 500);
    assert_false(records[0].to_client.is_known);
    close(other);
    scene_close(&scene);
}

/* The session that is next ends between two pieces. */
static void test_pieces(void **state)
{
    struct sweep_list list = {.records = records, .cap = 4, .n_piece = 1};
    int other;

    (void)state;
    open_scene(2);
    other = rig_client(rig);
    rig_echo(rig, scene.client, scene.servers[0], 50);
    rig_echo(rig, other, scene.servers[1], 60);
    sweep_list(&relays, &list);
    udp_session_close(&rig->relay,
                      container_of(rig->relay.live.next->next, struct udp_session, link),
                      UDP_END_ADMIN);
    rig_end_turn(rig);
    sweep_list(&relays, &list);
    assert_int_equal(list.at, SWEEP_END);
    assert_int_equal(list.n, 1);
    close(other);
    scene_close(&scene);
}

/* A turn that was not ended: the answers stand on the lines of the session. */
static void take_events(void)
{
    size_t n = loop_wait(&rig->loop, 1000);

    for (size_t i = 0; i < n; i++)
        udp_on_server(&rig->relay, rig->loop.batch[i].source, rig->loop.batch[i].bits);
}

static void test_kill_of_one_server(void **state)
{
    struct sweep_target target = {.server = "first"};
    const struct sweep_victims victims = {.target = &target, .reason = CLOSE_ADMIN};
    struct sweep_kill kill = {.victims = &victims};
    struct addr from;
    int other;

    (void)state;
    open_scene(2);
    other = rig_client(rig);
    from = rig_echo(rig, scene.client, scene.servers[0], 50);
    rig_echo(rig, other, scene.servers[1], 50);
    assert_int_equal(sendto(scene.servers[0], "late", 4, 0, &from.sa, addr_length(&from)), 4);
    take_events();
    memcpy(rig_backend(rig, 0)->name, target.server, sizeof(target.server));
    memcpy(target.service, rig->services.services->name, sizeof(target.service));
    sweep_kill(&relays, &kill);
    assert_int_equal(kill.n_ended, 1);
    kill.at = SWEEP_BEGIN;
    sweep_kill(&relays, &kill);
    assert_int_equal(kill.n_ended, 1);
    assert_int_equal(kill.at, SWEEP_END);
    rig_end_turn(rig);
    wait_for_input(scene.client);
    assert_int_equal(recv(scene.client, &(char[8]){0}, 8, MSG_DONTWAIT), 4);
    assert_int_equal(backend_active(rig_backend(rig, 0)), 0);
    assert_int_equal(backend_active(rig_backend(rig, 1)), 1);
    assert_int_equal(take_list(), 1);
    assert_string_equal(records[0].server, "s1");
    rig_echo(rig, other, scene.servers[1], 50); /* that one goes on */
    /* And who was sent away begins anew. */
    rig_echo(rig, scene.client, scene.servers[0], 50);
    close(other);
    scene_close(&scene);
}

static void test_shed_leaves_sessions_alone(void **state)
{
    static struct capacity places; /* where its alignment is kept, with any sanitizer */
    struct sweep_excess excess = {.n_active = 1, .n_wanted = 1, .places = &places};

    (void)state;
    open_scene(1);
    rig_echo(rig, scene.client, scene.servers[0], 50);
    capacity_init(&places, 1);
    excess.backend = rig_backend(rig, 0);
    assert_int_equal(sweep_shed(&relays, &excess), 0);
    assert_int_equal(capacity_used(&places), 0);
    assert_int_equal(take_list(), 1);
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_busiest),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_list_while_draining),
        cmocka_unit_test(test_kill_of_one_server),
        cmocka_unit_test(test_shed_leaves_sessions_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
