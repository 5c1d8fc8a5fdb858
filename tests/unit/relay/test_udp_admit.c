#include "lb4/relay/udp_admit.h"

#include <sys/resource.h>

#include "../netns.h"
#include "udp_rig.h"

static struct scene scene;
static struct rig *const rig = &scene.rig;

/* Clients of so many hosts; no share of a host counts. */
enum { CLIENTS_MAX = 8 };
static int clients[CLIENTS_MAX];

static int client_of_host(int index)
{
    char host[] = "127.0.0.2";

    host[8] = (char)('2' + index);
    return rig_client_from(rig, host, "127.0.0.1");
}

/* Hosts may share a counter, so that they would get in each other's way. */
static void clients_open(void)
{
    for (int i = 0; i < CLIENTS_MAX; i++)
        clients[i] = client_of_host(i);
    rig->relay.host_max = UINT32_MAX;
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

/* Asked, answered, and asked again. */
static void establish(int client)
{
    rig_echo(rig, client, scene.servers[0], 10);
    rig_echo(rig, client, scene.servers[0], 10);
}

static void test_established_ones_live_on(void **state)
{
    enum { N_FLOOD = 2 * CLIENTS_MAX };
    int flood[N_FLOOD];

    (void)state;
    scene_open(&scene, 1, &(struct rig_options){.cap = 2 * CLIENTS_MAX});
    clients_open();
    for (int i = 0; i < CLIENTS_MAX; i++)
        establish(clients[i]);
    for (uint32_t i = 0; i < N_FLOOD; i++) {
        flood[i] = client_of_host((int)i % CLIENTS_MAX);
        rig_say(rig, flood[i], 10, i);
    }
    expect_tags(0, N_FLOOD);
    rig_check_dropped(rig, UDP_DROP_LIMIT, 0);
    assert_int_equal(rig->relay.n_live, 2 * CLIENTS_MAX);
    assert_int_equal(udp_room_used(&rig->room), 2 * CLIENTS_MAX);
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
    clients_open();
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

/* A server that answers whoever asks proves nothing of clients: they have all the room, and make
 * way for each other, but not those that have come back. */
static void test_answered_ones_make_way(void **state)
{
    (void)state;
    scene_open(&scene, 1, &(struct rig_options){.cap = 4});
    clients_open();
    establish(clients[0]);
    for (int i = 1; i < 4; i++)
        rig_echo(rig, clients[i], scene.servers[0], 10);
    assert_int_equal(rig->relay.n_live, 4);
    rig_echo(rig, clients[4], scene.servers[0], 10);
    assert_true(is_live(clients[0]) && !is_live(clients[1]) && is_live(clients[2]));
    rig_echo(rig, clients[2], scene.servers[0], 10);
    for (int i = 5; i < CLIENTS_MAX; i++)
        rig_echo(rig, clients[i], scene.servers[0], 10);
    assert_true(is_live(clients[0]) && is_live(clients[2]) && !is_live(clients[3]));
    assert_int_equal(rig->relay.n_live, 4);
    rig_check_dropped(rig, UDP_DROP_LIMIT, 0);
    clients_close();
    scene_close(&scene);
}

static void test_full_of_established_ones(void **state)
{
    (void)state;
    scene_open(&scene, 1, &(struct rig_options){.cap = 2});
    clients_open();
    establish(clients[0]);
    establish(clients[1]);
    rig_say(rig, clients[2], 10, 1);
    rig_check_dropped(rig, UDP_DROP_LIMIT, 1);
    rig_hear_nothing(scene.servers[0]);
    rig_echo(rig, clients[0], scene.servers[0], 10);
    clients_close();
    scene_close(&scene);
}

/* Half; beyond it, one more takes the place of another of the same host that may go. */
static void test_host_has_its_share(void **state)
{
    int mine[4];

    (void)state;
    scene_open(&scene, 1, &(struct rig_options){.cap = 4});
    for (int i = 0; i < 4; i++)
        mine[i] = rig_client(rig);
    establish(mine[0]);
    rig_echo(rig, mine[1], scene.servers[0], 10);
    rig_say(rig, mine[2], 10, 0);
    rig_check_dropped(rig, UDP_DROP_LIMIT, 0);
    assert_true(is_live(mine[0]) && !is_live(mine[1]) && is_live(mine[2]));
    rig_say(rig, mine[3], 10, 1);
    assert_true(is_live(mine[0]) && !is_live(mine[2]) && is_live(mine[3]));
    expect_tags(0, 2);
    rig_advance(rig, 1000);
    rig_say(rig, mine[3], 10, 1);
    rig_say(rig, mine[2], 10, 1);
    rig_check_dropped(rig, UDP_DROP_LIMIT, 1);
    for (int i = 0; i < 4; i++)
        close(mine[i]);
    scene_close(&scene);
}

/* Of two workers each has an even part, for which a host's share is counted. */
static void test_host_share_of_one_worker(void **state)
{
    (void)state;
    scene_open(&scene, 1, &(struct rig_options){.cap = 11, .n_workers = 2});
    assert_int_equal(rig->relay.host_max, 3);
    scene_close(&scene);
}

static void test_service_has_its_limit(void **state)
{
    (void)state;
    scene_open(&scene, 1, &(struct rig_options){.max_sessions = 2});
    clients_open();
    establish(clients[0]);
    rig_say(rig, clients[1], 10, 0);
    rig_say(rig, clients[2], 10, 1);
    expect_tags(0, 2);
    assert_true(is_live(clients[0]) && !is_live(clients[1]) && is_live(clients[2]));
    assert_int_equal(udp_room_used(&rig->services.services->udp_room), 2);
    establish(clients[2]);
    rig_say(rig, clients[3], 10, 0);
    rig_check_dropped(rig, UDP_DROP_LIMIT, 1);
    assert_false(is_live(clients[3]));
    clients_close();
    scene_close(&scene);
}

/* Another worker, which this test plays, has all the places of a room. */
static struct udp_share other;
static struct udp_place others[4];

static void other_takes_all(struct udp_room *room)
{
    struct udp_session *victim;

    udp_share_init(&other, room);
    for (int i = 0; i < 4; i++) {
        assert_true(udp_share_take(&other, &victim));
        udp_share_enter(&other, &others[i], NULL);
        udp_share_promote(&other, &others[i], UDP_TIER_ANSWERED);
    }
}

static void check_asks(struct udp_room *room, const struct udp_room *other_room)
{
    struct udp_debt debt;

    other_takes_all(room);
    assert_false(udp_ask_for_room(&rig->relay));
    rig_say(rig, scene.client, 10, 1);
    rig_check_dropped(rig, UDP_DROP_LIMIT, 1);
    check_empty(other_room);
    assert_true(udp_ask_for_room(&rig->relay));
    assert_false(udp_ask_for_room(&rig->relay));
    debt = udp_share_debt(&other);
    assert_int_equal(debt.n_any, 1);
    assert_int_equal(debt.n_trial, 0);
    udp_share_leave(&other, &others[0]);
    rig_echo(rig, scene.client, scene.servers[0], 10);
    for (int i = 1; i < 4; i++)
        udp_share_leave(&other, &others[i]);
}

static void test_others_have_all_places(void **state)
{
    (void)state;
    scene_open(&scene, 1, &(struct rig_options){.cap = 4});
    check_asks(&rig->room, &rig->services.services->udp_room);
    scene_close(&scene);
    scene_open(&scene, 1, &(struct rig_options){.max_sessions = 4});
    check_asks(&rig->services.services->udp_room, &rig->room);
    scene_close(&scene);
}

/* Clients that are turned away all the time: the others are not woken for each. */
static void test_asks_now_and_then(void **state)
{
    uint32_t n_asks = 0;

    (void)state;
    scene_open(&scene, 1, &(struct rig_options){.cap = 4});
    rig_advance(rig, 1000);
    other_takes_all(&rig->room);
    for (int i = 0; i < 40; i++) {
        rig_say(rig, scene.client, 10, 1);
        n_asks += udp_ask_for_room(&rig->relay);
        rig_advance(rig, 1);
    }
    assert_in_range(n_asks, 2, 40 / 10 + 4); /* the clock runs on by itself */
    for (int i = 0; i < 4; i++)
        udp_share_leave(&other, &others[i]);
    scene_close(&scene);
}

/* Another worker has asked: the sessions that end for it are those that a new client would replace.
 */
static void check_gives(const struct rig_options *options, bool is_of_service)
{
    struct udp_room *room;

    scene_open(&scene, 1, options);
    room = is_of_service ? &rig->services.services->udp_room : &rig->room;
    clients_open();
    establish(clients[0]);
    for (int i = 1; i < 4; i++)
        rig_echo(rig, clients[i], scene.servers[0], 10);
    udp_quota_ask(&room->sessions, 2, 0);
    udp_give_room(&rig->relay);
    udp_reap(&rig->relay);
    assert_int_equal(rig->relay.n_live, 2);
    assert_true(is_live(clients[0]) && is_live(clients[3]));
    udp_give_room(&rig->relay);
    assert_int_equal(rig->relay.n_live, 2);
    rig_echo(rig, clients[4], scene.servers[0], 10);
    rig_say(rig, clients[5], 10, 1);
    udp_quota_ask(&room->sessions, 100, 0);
    udp_give_room(&rig->relay);
    assert_int_equal(rig->relay.n_live, 2); /* half of three, rounded up */
    assert_true(is_live(clients[0]) && is_live(clients[5]));
    clients_close();
    scene_close(&scene);
}

static void test_gives_room(void **state)
{
    (void)state;
    check_gives(&(struct rig_options){.cap = 4}, false);
    check_gives(&(struct rig_options){.max_sessions = 4}, true);
}

/* A worker of many with a small room: two sessions a host, and as many hosts as come. The odds that
 * three of the eight share a counter are 1 in 300,000. */
static void test_hosts_do_not_share_a_small_room(void **state)
{
    (void)state;
    scene_open(&scene, 1, &(struct rig_options){.cap = 3 * CLIENTS_MAX, .n_workers = 8});
    clients_open();
    udp_relay_limit_hosts(&rig->relay);
    assert_int_equal(rig->relay.host_max, 2);
    for (int i = 0; i < CLIENTS_MAX; i++)
        establish(clients[i]);
    assert_int_equal(rig->relay.n_live, CLIENTS_MAX);
    rig_check_dropped(rig, UDP_DROP_LIMIT, 0);
    clients_close();
    scene_close(&scene);
}

/* From now on no descriptor is left. Returns the limit before. */
static struct rlimit forbid_descriptors(void)
{
    struct rlimit before;
    struct rlimit none;
    int fd = dup(0);

    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = (rlim_t)fd;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    return before;
}

/* There is room, but the machine has no descriptor or port for it: as if it were full. */
static void test_machine_has_less_than_the_room(void **state)
{
    struct rlimit before;

    (void)state;
    scene_open(&scene, 1, &(struct rig_options){0});
    clients_open();
    establish(clients[0]);
    rig_echo(rig, clients[1], scene.servers[0], 10);
    before = forbid_descriptors();
    rig_echo(rig, clients[2], scene.servers[0], 10);
    rig_echo(rig, clients[2], scene.servers[0], 10);
    assert_true(is_live(clients[0]) && !is_live(clients[1]) && is_live(clients[2]));
    rig_check_dropped(rig, UDP_DROP_LIMIT, 0);
    rig_say(rig, clients[3], 10, 1); /* both have come back: nobody goes */
    rig_check_dropped(rig, UDP_DROP_LIMIT, 1);
    assert_int_equal(udp_room_used(&rig->room), 2);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    rig_echo(rig, clients[3], scene.servers[0], 10);
    clients_close();
    scene_close(&scene);
}

static void set_ephemeral_ports(int first, int last)
{
    FILE *file = fopen("/proc/sys/net/ipv4/ip_local_port_range", "w");

    if (!file)
        skip();
    fprintf(file, "%d %d\n", first, last);
    if (fclose(file) != 0)
        skip();
}

/* The same of ports: that there was none a moment ago does not keep anybody from the one that has
 * just come free. Nobody ends for nothing. */
static void test_machine_has_few_ports(void **state)
{
    (void)state;
    scene_open(&scene, 1, &(struct rig_options){0});
    clients_open();
    set_ephemeral_ports(20010, 20011);
    establish(clients[0]);
    for (int i = 1; i < CLIENTS_MAX; i++) {
        rig_echo(rig, clients[i], scene.servers[0], 10);
        assert_true(is_live(clients[0]) && is_live(clients[i]));
        assert_int_equal(rig->relay.n_live, 2);
        rig_check_dropped(rig, UDP_DROP_LIMIT, 0);
    }
    set_ephemeral_ports(32768, 60999);
    assert_int_equal(rig_failures(rig, 0), 0);
    clients_close();
    scene_close(&scene);
}

/* Nobody answers, but the client comes again: at once proves nothing, after a second it does. */
static void test_one_way_flow_lasts(void **state)
{
    (void)state;
    scene_open(&scene, 1, &(struct rig_options){.is_one_way = true});
    rig_say(rig, scene.client, 10, 0);
    rig_advance(rig, 900);
    rig_say(rig, scene.client, 10, 1);
    assert_int_equal(rig->relay.share.n[UDP_TIER_LASTING], 0);
    rig_advance(rig, 100);
    rig_say(rig, scene.client, 10, 2);
    assert_int_equal(rig->relay.share.n[UDP_TIER_LASTING], 1);
    expect_tags(0, 3);
    scene_close(&scene);
}

/* Two datagrams from each invented address, a second apart: new clients are served nevertheless. */
static void test_lasting_ones_shut_nobody_out(void **state)
{
    (void)state;
    scene_open(&scene, 1, &(struct rig_options){.cap = 2});
    clients_open();
    for (uint32_t i = 1; i < 3; i++) {
        rig_say(rig, clients[i], 10, 1);
        rig_advance(rig, 1000);
        rig_say(rig, clients[i], 10, 2);
        rig_hear(scene.servers[0], 10, 1);
        rig_hear(scene.servers[0], 10, 2);
    }
    assert_int_equal(rig->relay.share.n[UDP_TIER_LASTING], 2);
    establish(clients[3]);
    establish(clients[4]);
    rig_check_dropped(rig, UDP_DROP_LIMIT, 0);
    rig_say(rig, clients[1], 10, 1);
    rig_check_dropped(rig, UDP_DROP_LIMIT, 1);
    clients_close();
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_established_ones_live_on),
        cmocka_unit_test(test_evicted_within_a_batch),
        cmocka_unit_test(test_answered_ones_make_way),
        cmocka_unit_test(test_full_of_established_ones),
        cmocka_unit_test(test_host_has_its_share),
        cmocka_unit_test(test_host_share_of_one_worker),
        cmocka_unit_test(test_hosts_do_not_share_a_small_room),
        cmocka_unit_test(test_machine_has_less_than_the_room),
        cmocka_unit_test(test_machine_has_few_ports),
        cmocka_unit_test(test_service_has_its_limit),
        cmocka_unit_test(test_others_have_all_places),
        cmocka_unit_test(test_asks_now_and_then),
        cmocka_unit_test(test_gives_room),
        cmocka_unit_test(test_one_way_flow_lasts),
        cmocka_unit_test(test_lasting_ones_shut_nobody_out),
    };

    if (!netns_enter())
        return cmocka_run_group_tests_name("without a namespace", tests, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
