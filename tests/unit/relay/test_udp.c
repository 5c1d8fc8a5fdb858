#include "lb4/relay/udp.h"

#include "udp_rig.h"

enum { BULK = 200 };

static struct scene scene;
static struct rig *const rig = &scene.rig;
static const struct rig_options plain = {0};

static void test_nothing_without_udp(void **state)
{
    const struct service_table none = {0};
    static struct udp_room room;
    struct udp_relay relay = {.room = &room, .n_workers = 1};

    (void)state;
    udp_room_init(&room, 0);
    udp_relay_fini(&relay);
    assert_int_equal(udp_relay_init(&relay, &none), 0);
    assert_int_equal(udp_next_due_ns(&relay), UINT64_MAX);
    udp_start_draining(&relay);
    udp_end_turn(&relay);
    udp_end_all(&relay);
    udp_reap(&relay);
    udp_relay_fini(&relay);
}

static void test_nothing_is_due_at_first(void **state)
{
    (void)state;
    scene_open(&scene, 1, &plain);
    rig_end_turn(rig);
    assert_int_equal(udp_next_due_ns(&rig->relay), UINT64_MAX);
    scene_close(&scene);
}

/* --- there and back --------------------------------------------------------------------------- */

static void test_sizes_and_counters(void **state)
{
    static const size_t sizes[] = {0, 1, 512, 1472, 1473, 65507};
    enum { N = sizeof(sizes) / sizeof(sizes[0]), BYTES = 0 + 1 + 512 + 1472 + 1473 + 65507 };
    struct stats_udp_sum sum;

    (void)state;
    scene_open(&scene, 1, &plain);
    for (size_t i = 0; i < N; i++)
        rig_echo(rig, scene.client, scene.servers[0], sizes[i]);
    sum = rig_stats(rig);
    assert_int_equal(sum.sessions, 1);
    assert_int_equal(sum.active, 1);
    assert_int_equal(sum.datagrams_in, N);
    assert_int_equal(sum.datagrams_out, N);
    assert_int_equal(sum.bytes_in, BYTES);
    assert_int_equal(sum.bytes_out, BYTES);
    assert_int_equal(sum.rebinds, 0);
    assert_int_equal(rig_connections(rig, 0), 1);
    assert_int_equal(backend_active(rig_backend(rig, 0)), 1);
    assert_int_equal(udp_room_used(&rig->room), 1);
    rig_check_dropped(rig, UDP_DROP_ERROR, 0);
    scene_close(&scene);
}

static void test_bulk_keeps_its_order(void **state)
{
    struct addr from = {0};

    (void)state;
    scene_open(&scene, 1, &plain);
    for (uint32_t i = 0; i < BULK; i++) {
        uint8_t *bytes = make_bytes(100 + i % 3, i);

        assert_int_equal(send(scene.client, bytes, 100 + i % 3, 0), 100 + i % 3);
        free(bytes);
    }
    rig_settle(rig);
    for (uint32_t i = 0; i < BULK; i++)
        from = rig_hear(scene.servers[0], 100 + i % 3, i);
    for (uint32_t i = 0; i < BULK; i++) {
        uint8_t *bytes = make_bytes(200 + i % 3, i);

        assert_int_equal(
            sendto(scene.servers[0], bytes, 200 + i % 3, 0, &from.sa, addr_length(&from)),
            200 + i % 3);
        free(bytes);
        if (i % 50 == 49) /* what the buffer of a session's socket surely holds */
            rig_settle(rig);
    }
    for (uint32_t i = 0; i < BULK; i++)
        rig_hear(scene.client, 200 + i % 3, i);
    assert_int_equal(rig_stats(rig).datagrams_in, BULK);
    assert_int_equal(rig_stats(rig).datagrams_out, BULK);
    assert_int_equal(rig_stats(rig).sessions, 1);
    scene_close(&scene);
}

/* More sessions than an inbox and an outbox have room for, each with answers, in one turn. */
static void test_many_sessions_in_one_turn(void **state)
{
    enum { N = 80 };
    int clients[N];
    struct addr froms[N];

    (void)state;
    scene_open(&scene, 1, &(struct rig_options){.cap = 2 * N});
    for (uint32_t i = 0; i < N; i++) {
        clients[i] = rig_client(rig);
        rig_say(rig, clients[i], 10, i);
        froms[i] = rig_hear(scene.servers[0], 10, i);
    }
    for (uint32_t i = 0; i < N; i++) {
        uint8_t *bytes = make_bytes(20, i);

        sendto(scene.servers[0], bytes, 20, 0, &froms[i].sa, addr_length(&froms[i]));
        sendto(scene.servers[0], bytes, 20, 0, &froms[i].sa, addr_length(&froms[i]));
        free(bytes);
    }
    rig_settle(rig);
    for (uint32_t i = 0; i < N; i++) {
        rig_hear(clients[i], 20, i);
        rig_hear(clients[i], 20, i);
        rig_hear_nothing(clients[i]);
        close(clients[i]);
    }
    scene_close(&scene);
}

/* A connected client hears only the address it has asked. */
static void test_answers_come_from_where_it_asked(void **state)
{
    static const char *const asked[] = {"127.0.0.1", "127.0.0.2", "::1"};
    static const char *const hosts[] = {"127.0.0.1", "127.0.0.1", "::1"};

    (void)state;
    scene_open(&scene, 1, &(struct rig_options){.host = "*"});
    for (size_t i = 0; i < 3; i++) {
        int client = rig_client_from(rig, hosts[i], asked[i]);

        rig_echo(rig, client, scene.servers[0], 100);
        close(client);
    }
    assert_int_equal(rig_stats(rig).sessions, 3);
    scene_close(&scene);
}

static void test_two_asked_addresses_are_two_sessions(void **state)
{
    struct addr second;
    struct addr from[2];

    (void)state;
    scene_open(&scene, 1, &(struct rig_options){.host = "*"});
    rig_say(rig, scene.client, 5, 1);
    second = make_addr("127.0.0.2", addr_port(&rig->listener.at));
    assert_int_equal(connect(scene.client, &second.sa, addr_length(&second)), 0);
    rig_say(rig, scene.client, 6, 2);
    from[0] = rig_hear(scene.servers[0], 5, 1);
    from[1] = rig_hear(scene.servers[0], 6, 2);
    assert_false(addr_equal(&from[0], &from[1]));
    assert_int_equal(rig->relay.n_live, 2);
    rig_answer(rig, scene.servers[0], &from[1], 7, 3);
    rig_hear(scene.client, 7, 3);
    scene_close(&scene);
}

static void test_two_asked_addresses_in_one_batch(void **state)
{
    struct addr asked[2];

    (void)state;
    scene_open(&scene, 1, &(struct rig_options){.host = "*"});
    for (size_t i = 0; i < 2; i++) {
        asked[i] = make_addr(i ? "127.0.0.2" : "127.0.0.1", addr_port(&rig->listener.at));
        connect(scene.client, &asked[i].sa, addr_length(&asked[i]));
        assert_int_equal(send(scene.client, "x", 1, 0), 1);
    }
    rig_settle(rig);
    assert_int_equal(rig->relay.n_live, 2);
    for (struct list *link = rig->relay.live.next; link != &rig->relay.live; link = link->next) {
        const struct addr *key = &container_of(link, struct udp_session, link)->entry.key.asked;

        assert_true(addr_equal(key, &asked[0]) || addr_equal(key, &asked[1]));
    }
    scene_close(&scene);
}

/* --- ends ------------------------------------------------------------------------------------- */

static void test_silence_ends_it(void **state)
{
    struct addr from;

    (void)state;
    scene_open(&scene, 1, &plain);
    from = rig_echo(rig, scene.client, scene.servers[0], 10);
    rig_advance(rig, RIG_UDP_MS - 1);
    rig_say(rig, scene.client, 10, 1);
    rig_advance(rig, RIG_UDP_MS - 1);
    assert_int_equal(rig->relay.n_live, 1);
    rig_answer(rig, scene.servers[0], &from, 10, 1);
    rig_advance(rig, RIG_UDP_MS - 1);
    assert_int_equal(rig->relay.n_live, 1);
    rig_advance(rig, LOOK_MS);
    assert_int_equal(rig->relay.n_live, 0);
    assert_int_equal(rig_stats(rig).active, 0);
    assert_int_equal(udp_room_used(&rig->room), 0);
    scene_close(&scene);
}

/* It comes to a port that is closed, and is nobody's, not even the same client's next session's. */
static void test_late_answer_reaches_nobody(void **state)
{
    struct addr before;
    struct addr now;

    (void)state;
    scene_open(&scene, 1, &plain);
    rig_say(rig, scene.client, 10, 1);
    before = rig_hear(scene.servers[0], 10, 1);
    rig_advance(rig, 2 * RIG_UDP_MS);
    assert_int_equal(rig->relay.n_live, 0);
    rig_say(rig, scene.client, 10, 2);
    now = rig_hear(scene.servers[0], 10, 2);
    if (addr_port(&now) != addr_port(&before))
        rig_answer(rig, scene.servers[0], &before, 10, 3);
    rig_hear_nothing(scene.client);
    assert_int_equal(rig_stats(rig).datagrams_out, 0);
    scene_close(&scene);
}

static void test_ends_with_its_answers(void **state)
{
    struct addr from;

    (void)state;
    scene_open(&scene, 1, &(struct rig_options){.responses = 2});
    rig_say(rig, scene.client, 10, 1);
    from = rig_hear(scene.servers[0], 10, 1);
    rig_answer(rig, scene.servers[0], &from, 20, 2);
    assert_int_equal(rig->relay.n_live, 1);
    rig_answer(rig, scene.servers[0], &from, 30, 3);
    assert_int_equal(rig->relay.n_live, 0);
    rig_hear(scene.client, 20, 2);
    rig_hear(scene.client, 30, 3);
    scene_close(&scene);
}

/* Who asks twice is owed the answers to both. */
static void test_each_question_is_owed_its_answer(void **state)
{
    struct addr from;

    (void)state;
    scene_open(&scene, 1, &(struct rig_options){.responses = 1});
    rig_say(rig, scene.client, 10, 1);
    rig_say(rig, scene.client, 11, 2);
    from = rig_hear(scene.servers[0], 10, 1);
    rig_answer(rig, scene.servers[0], &from, 20, 3);
    assert_int_equal(rig->relay.n_live, 1);
    rig_answer(rig, scene.servers[0], &from, 21, 4);
    assert_int_equal(rig->relay.n_live, 0);
    rig_hear(scene.client, 20, 3);
    rig_hear(scene.client, 21, 4);
    scene_close(&scene);
}

/* An answer and the next question in one turn, the answer first. */
static void test_asks_again_in_the_last_turn(void **state)
{
    struct addr from;
    uint8_t byte = 0;

    (void)state;
    scene_open(&scene, 1, &(struct rig_options){.responses = 1});
    rig_say(rig, scene.client, 10, 1);
    from = rig_hear(scene.servers[0], 10, 1);
    sendto(scene.servers[0], &byte, 1, 0, &from.sa, addr_length(&from));
    udp_on_server(&rig->relay,
                  &container_of(rig->relay.live.next, struct udp_session, link)->source, EPOLLIN);
    assert_int_equal(send(scene.client, &byte, 1, 0), 1);
    udp_on_listener(&rig->relay, &rig->listener);
    rig_end_turn(rig);
    assert_int_equal(rig->relay.n_live, 1);
    scene_close(&scene);
}

static void test_one_way_expects_nothing(void **state)
{
    (void)state;
    scene_open(&scene, 1, &(struct rig_options){.is_one_way = true});
    rig_echo(rig, scene.client, scene.servers[0], 10);
    assert_int_equal(rig->relay.n_live, 1);
    scene_close(&scene);
}

/* --- draining --------------------------------------------------------------------------------- */

static void test_drain(void **state)
{
    int late;

    (void)state;
    scene_open(&scene, 1, &plain);
    late = rig_client(rig);
    rig_echo(rig, scene.client, scene.servers[0], 10);
    udp_start_draining(&rig->relay);
    rig_say(rig, late, 10, 1);
    rig_check_dropped(rig, UDP_DROP_DRAIN, 1);
    rig_advance(rig, QUIET_MS - 1);
    rig_echo(rig, scene.client, scene.servers[0], 10);
    rig_advance(rig, QUIET_MS - 1);
    assert_int_equal(rig->relay.n_live, 1);
    rig_advance(rig, 1);
    assert_int_equal(rig->relay.n_live, 0);
    close(late);
    scene_close(&scene);
}

static void test_drain_ends_the_silent(void **state)
{
    static const uint32_t timeouts[] = {0, 200};
    static const uint64_t ends[] = {QUIET_MS, 200 + 25}; /* with the slack of 200 ms */

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        scene_open(&scene, 1, &(struct rig_options){.udp_ms = timeouts[i]});
        rig_echo(rig, scene.client, scene.servers[0], 10);
        udp_start_draining(&rig->relay);
        rig_advance(rig, ends[i] - 100);
        assert_int_equal(rig->relay.n_live, 1);
        rig_advance(rig, 100);
        assert_int_equal(rig->relay.n_live, 0);
        scene_close(&scene);
    }
}

static void test_end_all_sends_what_waits(void **state)
{
    struct addr from;
    uint8_t *bytes = make_bytes(20, 2);

    (void)state;
    scene_open(&scene, 1, &plain);
    rig_say(rig, scene.client, 10, 1);
    from = rig_hear(scene.servers[0], 10, 1);
    sendto(scene.servers[0], bytes, 20, 0, &from.sa, addr_length(&from));
    udp_on_server(&rig->relay,
                  &container_of(rig->relay.live.next, struct udp_session, link)->source, EPOLLIN);
    udp_end_all(&rig->relay);
    assert_int_equal(rig->relay.n_live, 0);
    rig_hear(scene.client, 20, 2);
    free(bytes);
    scene_close(&scene);
}

/* --- what is dropped -------------------------------------------------------------------------- */

static void test_what_the_kernel_drops_is_counted(void **state)
{
    enum { N = 500, BYTES = 1200 };
    const int small = 4096;
    struct stats_udp_sum sum;

    (void)state;
    scene_open(&scene, 1, &plain);
    setsockopt(rig->listener.source.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < N; i++) {
            static const uint8_t bytes[BYTES];

            assert_int_equal(send(scene.client, bytes, BYTES, 0), BYTES);
        }
        rig_settle(rig);
        rig_advance(rig, LOOK_MS);
        sum = rig_stats(rig);
        assert_true(sum.datagrams_in > 0);
        assert_true(sum.dropped[UDP_DROP_KERNEL] > 0);
        assert_int_equal(sum.datagrams_in + sum.dropped[UDP_DROP_KERNEL], N * (turn + 1));
    }
    scene_close(&scene);
}

/* At a session's socket: told when it ends. */
static void test_answers_that_the_kernel_drops_are_counted(void **state)
{
    enum { N = 1000, BYTES = 1200 };
    struct stats_udp_sum sum;
    struct addr from;

    (void)state;
    scene_open(&scene, 1, &plain);
    from = rig_echo(rig, scene.client, scene.servers[0], 1);
    for (int i = 0; i < N; i++) {
        static const uint8_t bytes[BYTES];

        sendto(scene.servers[0], bytes, BYTES, 0, &from.sa, addr_length(&from));
    }
    rig_settle(rig);
    udp_end_all(&rig->relay);
    sum = rig_stats(rig);
    assert_true(sum.dropped[UDP_DROP_KERNEL] > 0);
    assert_int_equal(sum.datagrams_out + sum.dropped[UDP_DROP_KERNEL], N + 1);
    scene_close(&scene);
}

static void test_loops_end_here(void **state)
{
    struct addr other = {0};
    int client = rig_server(&other);

    (void)state;
    scene_open(&scene, 1, &(struct rig_options){0});
    udp_relay_note_port(&rig->relay, addr_port(&other), true);
    other = make_addr("127.0.0.1", addr_port(&rig->listener.at));
    assert_int_equal(connect(client, &other.sa, addr_length(&other)), 0);
    rig_say(rig, client, 10, 1);
    rig_check_dropped(rig, UDP_DROP_LOOP, 1);
    assert_int_equal(rig->relay.n_live, 0);
    rig_echo(rig, scene.client, scene.servers[0], 10);
    assert_int_equal(rig_stats(rig).datagrams_in, 2);
    scene_close(&scene);
    close(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_without_udp),
        cmocka_unit_test(test_nothing_is_due_at_first),
        cmocka_unit_test(test_sizes_and_counters),
        cmocka_unit_test(test_bulk_keeps_its_order),
        cmocka_unit_test(test_many_sessions_in_one_turn),
        cmocka_unit_test(test_answers_come_from_where_it_asked),
        cmocka_unit_test(test_two_asked_addresses_are_two_sessions),
        cmocka_unit_test(test_two_asked_addresses_in_one_batch),
        cmocka_unit_test(test_silence_ends_it),
        cmocka_unit_test(test_late_answer_reaches_nobody),
        cmocka_unit_test(test_ends_with_its_answers),
        cmocka_unit_test(test_each_question_is_owed_its_answer),
        cmocka_unit_test(test_asks_again_in_the_last_turn),
        cmocka_unit_test(test_one_way_expects_nothing),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_drain_ends_the_silent),
        cmocka_unit_test(test_end_all_sends_what_waits),
        cmocka_unit_test(test_what_the_kernel_drops_is_counted),
        cmocka_unit_test(test_answers_that_the_kernel_drops_are_counted),
        cmocka_unit_test(test_loops_end_here),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
