#include "lb4/relay/udp_admit.h"

#include "udp_rig.h"

static struct scene scene;
static struct rig *const rig = &scene.rig;

/* Clients of so many hosts, so that no share of a host counts. */
enum { CLIENTS_MAX = 8 };
static int clients[CLIENTS_MAX];

static int client_of_host(int index)
{
    char host[] = "127.0.0.2";

    host[8] = (char)('2' + index);
    return rig_client_from(rig, host, "127.0.0.1");
}

static bool are_apart(int n)
{
    struct udp_entry entries[CLIENTS_MAX];
    bool is_apart = true;

    for (int i = 0; i < n; i++) {
        struct udp_key key = {.client = local_addr(clients[i]), .asked = rig->listener.at};

        udp_table_add(&rig->relay.table, &entries[i], &key);
        for (int j = 0; j < i; j++)
            is_apart = is_apart && entries[j].host != entries[i].host;
    }
    for (int i = 0; i < n; i++)
        udp_table_remove(&rig->relay.table, &entries[i]);
    return is_apart;
}

/* In a small table two hosts may share a counter: not the first of these. */
static void clients_open(int n_apart)
{
    for (int i = 0; i < CLIENTS_MAX; i++)
        clients[i] = client_of_host(i);
    while (!are_apart(n_apart))
        rig->relay.table.secret.words[0]++;
}

static void clients_close(void)
{
    for (int i = 0; i < CLIENTS_MAX; i++)
        close(clients[i]);
}

/* What the server gets next has this tag. */
static void expect_tags(uint32_t first, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        rig_hear(scene.servers[0], 10, first + i);
    rig_hear_nothing(scene.servers[0]);
}

static bool is_live(int client)
{
    struct udp_key key = {.client = local_addr(client), .asked = rig->listener.at};

    return udp_table_find(&rig->relay.table, &key) != NULL;
}

static void test_established_ones_live_on(void **state)
{
    enum { N_FLOOD = 2 * CLIENTS_MAX };
    int flood[N_FLOOD];

    (void)state;
    scene_open(&scene, 1, &(struct rig_options){.cap = 2 * CLIENTS_MAX});
    clients_open(CLIENTS_MAX);
    for (int i = 0; i < CLIENTS_MAX; i++)
        rig_echo(rig, clients[i], scene.servers[0], 10);
    for (uint32_t i = 0; i < N_FLOOD; i++) {
        flood[i] = client_of_host((int)i % CLIENTS_MAX);
        rig_say(rig, flood[i], 10, i);
    }
    expect_tags(0, N_FLOOD);
    rig_check_dropped(rig, UDP_DROP_LIMIT, 0);
    assert_int_equal(rig->relay.n_live, 2 * CLIENTS_MAX);
    assert_int_equal(capacity_used(&rig->capacity), 2 * CLIENTS_MAX);
    for (int i = 0; i < CLIENTS_MAX; i++)
        rig_echo(rig, clients[i], scene.servers[0], 10);
    assert_int_equal(rig_stats(rig).sessions, CLIENTS_MAX + N_FLOOD);
    for (int i = 0; i < N_FLOOD; i++) {
        assert_true(is_live(flood[i]) == (i >= N_FLOOD - CLIENTS_MAX));
        close(flood[i]);
    }
    clients_close();
    scene_close(&scene);
}

/* All in one batch: the victims still have datagrams to send. */
static void test_evicted_within_a_batch(void **state)
{
    (void)state;
    scene_open(&scene, 1, &(struct rig_options){.cap = 2});
    clients_open(0);
    for (uint32_t i = 0; i < CLIENTS_MAX; i++) {
        uint8_t *bytes = make_bytes(10, i);

        assert_int_equal(send(clients[i], bytes, 10, 0), 10);
        free(bytes);
    }
    rig_settle(rig);
    expect_tags(0, CLIENTS_MAX);
    assert_int_equal(rig->relay.n_live, 1);
    assert_int_equal(rig_stats(rig).sessions, CLIENTS_MAX);
    assert_int_equal(rig_stats(rig).active, 1);
    clients_close();
    scene_close(&scene);
}

static void test_full_of_established_ones(void **state)
{
    (void)state;
    scene_open(&scene, 1, &(struct rig_options){.cap = 2});
    clients_open(2);
    rig_echo(rig, clients[0], scene.servers[0], 10);
    rig_echo(rig, clients[1], scene.servers[0], 10);
    rig_say(rig, clients[2], 10, 1);
    rig_check_dropped(rig, UDP_DROP_LIMIT, 1);
    rig_hear_nothing(scene.servers[0]);
    rig_echo(rig, clients[0], scene.servers[0], 10);
    clients_close();
    scene_close(&scene);
}

static void test_host_has_its_share(void **state)
{
    int mine[3];

    (void)state;
    scene_open(&scene, 1, &(struct rig_options){.cap = 4});
    for (int i = 0; i < 3; i++)
        mine[i] = rig_client(rig);
    rig_echo(rig, mine[0], scene.servers[0], 10);
    rig_echo(rig, mine[1], scene.servers[0], 10);
    rig_say(rig, mine[2], 10, 1);
    rig_check_dropped(rig, UDP_DROP_LIMIT, 1);
    for (int i = 0; i < 3; i++)
        close(mine[i]);
    scene_close(&scene);
}

static void test_service_has_its_limit(void **state)
{
    (void)state;
    scene_open(&scene, 1, &(struct rig_options){.max_sessions = 2});
    clients_open(0);
    rig_echo(rig, clients[0], scene.servers[0], 10);
    rig_say(rig, clients[1], 10, 0);
    rig_say(rig, clients[2], 10, 1);
    expect_tags(0, 2);
    assert_true(is_live(clients[0]) && !is_live(clients[1]) && is_live(clients[2]));
    assert_int_equal(capacity_used(&rig->services.services->udp_sessions), 2);
    rig_echo(rig, clients[2], scene.servers[0], 10);
    rig_say(rig, clients[3], 10, 0);
    rig_check_dropped(rig, UDP_DROP_LIMIT, 1);
    assert_false(is_live(clients[3]));
    clients_close();
    scene_close(&scene);
}

/* Another worker has taken the places. */
static void test_process_is_full(void **state)
{
    (void)state;
    scene_open(&scene, 1, &(struct rig_options){.cap = 4});
    for (int i = 0; i < 4; i++)
        assert_true(capacity_acquire(&rig->capacity));
    rig_say(rig, scene.client, 10, 1);
    rig_check_dropped(rig, UDP_DROP_LIMIT, 1);
    assert_int_equal(capacity_used(&rig->services.services->udp_sessions), 0);
    for (int i = 0; i < 4; i++)
        capacity_release(&rig->capacity);
    rig_echo(rig, scene.client, scene.servers[0], 10);
    scene_close(&scene);
}

/* Nobody answers, but the client comes again: at once proves nothing, after a second it does. */
static void test_one_way_flow_is_established(void **state)
{
    (void)state;
    scene_open(&scene, 1, &(struct rig_options){.is_one_way = true});
    rig_say(rig, scene.client, 10, 0);
    rig_advance(rig, 900);
    rig_say(rig, scene.client, 10, 1);
    assert_int_equal(rig->relay.table.n_established, 0);
    rig_advance(rig, 100);
    rig_say(rig, scene.client, 10, 2);
    assert_int_equal(rig->relay.table.n_established, 1);
    expect_tags(0, 3);
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_established_ones_live_on),
        cmocka_unit_test(test_evicted_within_a_batch),
        cmocka_unit_test(test_full_of_established_ones),
        cmocka_unit_test(test_host_has_its_share),
        cmocka_unit_test(test_service_has_its_limit),
        cmocka_unit_test(test_process_is_full),
        cmocka_unit_test(test_one_way_flow_is_established),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
