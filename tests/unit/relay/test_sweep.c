#include "lb4/relay/sweep.h"

#include <stdio.h>

#include "rig.h"

enum { LINES_MAX = 5, SECOND_MS = 1000, PUSHED = 1000000 };

/* A client and what its server has of it. */
struct line {
    int client;
    int server;
};

static struct stage {
    struct rig rig;
    struct sweep_relays relays;
    struct addr at[2];
    int listeners[2];
    struct line lines[LINES_MAX];
    size_t n_lines;
} stage;

static struct rig *const rig = &stage.rig;

static struct backend *server_of(size_t index)
{
    return &rig->services.services->backends[index];
}

static void stage_open(size_t n_servers)
{
    stage = (struct stage){.relays = {.tcp = &stage.rig.relay}, .listeners = {-1, -1}};
    for (size_t i = 0; i < n_servers; i++)
        stage.listeners[i] = sockets_listen(&stage.at[i]);
    rig_open(rig, stage.at, n_servers, 0);
    for (size_t i = 0; i < n_servers; i++)
        snprintf(server_of(i)->name, sizeof(server_of(i)->name), "s%zu", i);
}

static void stage_close(void)
{
    tcp_reset_all(&rig->relay, CLOSE_DRAIN);
    tcp_reap(&rig->relay);
    for (size_t i = 0; i < stage.n_lines; i++) {
        if (stage.lines[i].client >= 0)
            close(stage.lines[i].client);
        close(stage.lines[i].server);
    }
    rig_close(rig);
    for (size_t i = 0; i < 2; i++)
        if (stage.listeners[i] >= 0)
            close(stage.listeners[i]);
}

/* One more that is relayed, on this server, whose turn it is. */
static struct line *add_line(size_t server)
{
    struct line *line = &stage.lines[stage.n_lines++];

    line->client = rig_client(rig);
    line->server = rig_server(rig, stage.listeners[server]);
    rig_until_relaying(rig);
    return line;
}

static void check_line_works(const struct line *line)
{
    rig_pass(rig, line->client, line->server, 10);
    rig_pass(rig, line->server, line->client, 10);
}

static void check_line_is_reset(const struct line *line)
{
    rig_expect(rig, line->client, -ECONNRESET);
    rig_expect(rig, line->server, -ECONNRESET);
}

static void push_until_full(int fd)
{
    int n_still = 0;

    while (n_still < 20) {
        n_still = sockets_send(fd, 0, PUSHED) > 0 ? 0 : n_still + 1;
        rig_turn(rig, 1);
    }
}

/* --- the list --------------------------------------------------------------------------------- */

/* One of each state, in the order of their accept; the last is still on its way to the server. */
static void make_all_states(void)
{
    add_line(0);
    shutdown(add_line(0)->client, SHUT_WR);
    rig_expect(rig, stage.lines[1].server, 0);
    push_until_full(add_line(0)->client);
    scene_reset(&stage.lines[2].client);
    rig_turn(rig, 100);
    stage.lines[3].client = rig_client(rig);
}

static void test_list_of_every_state(void **state)
{
    static const char *const words[] = {"open", "half_closed", "resetting", "connecting"};
    const struct addr peer = sockets_loopback(1); /* what the rig says of all of them */
    struct sweep_record records[8] = {0};
    struct sweep_list list = {.records = records, .cap = 8};

    (void)state;
    stage_open(1);
    make_all_states();
    sweep_list(&stage.relays, &list);
    assert_int_equal(list.n, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(records[i].state, words[i]);
        assert_string_equal(records[i].service, "rig");
        assert_string_equal(records[i].server, "s0");
        assert_true(addr_equal(&records[i].client, &peer));
        assert_false(records[i].is_udp);
    }
    assert_true(records[2].bytes_in > 0);
    assert_int_equal(records[3].bytes_in, 0);
    stage.lines[3].server = rig_server(rig, stage.listeners[0]);
    stage.n_lines = 4;
    stage_close();
}

/* Times are a lower bound here: the real clock goes on too. */
static void test_list_counts_bytes_and_time(void **state)
{
    const uint64_t second_ns = SECOND_MS * CLOCK_NS_PER_MS;
    struct sweep_record record = {0};
    struct sweep_list list = {.records = &record, .cap = 1};
    struct line *line;

    (void)state;
    stage_open(1);
    line = add_line(0);
    rig_advance(rig, 5 * SECOND_MS);
    rig_pass(rig, line->client, line->server, 100);
    rig_pass(rig, line->server, line->client, 30);
    rig_advance(rig, 3 * SECOND_MS);
    sweep_list(&stage.relays, &list);
    assert_int_equal(record.bytes_in, 100);
    assert_int_equal(record.bytes_out, 30);
    assert_true(record.age_ns >= 8 * second_ns);
    assert_true(record.idle_ns >= 3 * second_ns);
    assert_true(record.age_ns - record.idle_ns >= 5 * second_ns - 64 * CLOCK_NS_PER_MS);
    /* The other deadline counts when half of it is closed. */
    shutdown(line->client, SHUT_WR);
    rig_expect(rig, line->server, 0);
    rig_advance(rig, 2 * SECOND_MS);
    list.n = 0;
    list.at = SWEEP_BEGIN;
    sweep_list(&stage.relays, &list);
    assert_string_equal(record.state, "half_closed");
    assert_true(record.idle_ns >= 2 * second_ns);
    assert_true(record.age_ns - record.idle_ns >= 8 * second_ns - 64 * CLOCK_NS_PER_MS);
    stage_close();
}

/* More than there is room for are counted, not written; two lists of one worker follow each other.
 */
static void test_list_that_is_full(void **state)
{
    struct sweep_record records[3] = {[2] = {.state = "untouched"}};
    struct sweep_list list = {.records = records, .cap = 2};

    (void)state;
    stage_open(1);
    for (int i = 0; i < 3; i++)
        add_line(0);
    sweep_list(&stage.relays, &list);
    assert_int_equal(list.n, 3);
    assert_string_equal(records[1].state, "open");
    assert_string_equal(records[2].state, "untouched");
    assert_int_equal(list.at, SWEEP_END);
    list.at = SWEEP_BEGIN;
    sweep_list(&stage.relays, &list);
    assert_int_equal(list.n, 6);
    assert_string_equal(records[2].state, "untouched");
    stage_close();
}

/* --- in pieces -------------------------------------------------------------------------------- */

static size_t port_of(const struct sweep_record *record)
{
    return addr_port(&record->client);
}

/* The rig says the same client of all: number them. */
static void number_conns(void)
{
    uint16_t n = 1;

    for (struct list *at = rig->relay.live.next; at != &rig->relay.live; at = at->next)
        addr_set_port(&container_of(at, struct conn, link)->peer, n++);
}

static void test_pieces(void **state)
{
    struct sweep_record records[8] = {0};
    struct sweep_list list = {.records = records, .cap = 8, .n_piece = 2};

    (void)state;
    stage_open(1);
    for (int i = 0; i < 5; i++)
        add_line(0);
    number_conns();
    for (size_t n = 2; n < 5; n += 2) {
        sweep_list(&stage.relays, &list);
        assert_int_equal(list.at, SWEEP_TCP);
        assert_int_equal(list.n, n);
    }
    sweep_list(&stage.relays, &list);
    assert_int_equal(list.at, SWEEP_END);
    assert_int_equal(list.n, 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(port_of(&records[i]), i + 1);
    stage_close();
}

/* Between two pieces the next one may end, and others come. */
static void test_pieces_while_others_come_and_go(void **state)
{
    struct sweep_record records[8] = {0};
    struct sweep_list list = {.records = records, .cap = 8, .n_piece = 1};
    struct conn *second;

    (void)state;
    stage_open(1);
    for (int i = 0; i < 4; i++)
        add_line(0);
    number_conns();
    rig_advance(rig, 10);
    list.until_ns = rig->loop.now_ns;
    sweep_list(&stage.relays, &list);
    second = container_of(rig->relay.live.next->next, struct conn, link);
    conn_close(&rig->relay, second, CLOSE_ADMIN, CONN_END_RESET);
    tcp_reap(&rig->relay);
    rig_advance(rig, 10);
    add_line(0); /* too late for this list */
    while (list.at != SWEEP_END)
        sweep_list(&stage.relays, &list);
    assert_int_equal(list.n, 3);
    assert_int_equal(port_of(&records[0]), 1);
    assert_int_equal(port_of(&records[1]), 3);
    assert_int_equal(port_of(&records[2]), 4);
    stage_close();
}

/* --- the busiest ------------------------------------------------------------------------------ */

static void look(struct sweep_list *list, struct largest *busiest)
{
    largest_init(busiest, list->cap);
    list->busiest = busiest;
    list->at = SWEEP_BEGIN;
    list->n = 0;
    while (list->at != SWEEP_END)
        sweep_list(&stage.relays, list);
}

/* 100, 200 ... bytes to the servers; the third and the fifth are left when two are wanted. */
static void test_busiest(void **state)
{
    static const size_t sizes[] = {100, 200, 900, 300, 800};
    struct sweep_record records[2];
    struct sweep_list list = {.records = records, .cap = 2, .n_piece = 2};
    struct largest busiest;
    size_t third;

    (void)state;
    stage_open(1);
    for (int i = 0; i < 5; i++)
        add_line(0);
    number_conns();
    for (size_t i = 0; i < 5; i++)
        rig_pass(rig, stage.lines[i].client, stage.lines[i].server, sizes[i]);
    rig_advance(rig, SECOND_MS);
    look(&list, &busiest);
    assert_int_equal(list.n, 2);
    third = port_of(&records[0]) == 3 ? 0 : 1;
    assert_int_equal(port_of(&records[third]), 3);
    assert_int_equal(port_of(&records[1 - third]), 5);
    assert_in_range(records[third].rate.in_per_s, 90, 900);
    assert_int_equal(records[third].rate.out_per_s, 0);
    for (size_t i = 0; i < 2; i++) {
        assert_true(records[i].to_client.is_known);
        assert_true(records[i].to_server.is_known);
        assert_null(records[i].conn);
    }
    /* What counts is what has moved since. */
    rig_pass(rig, stage.lines[0].server, stage.lines[0].client, 50);
    rig_advance(rig, SECOND_MS);
    list.cap = 1;
    look(&list, &busiest);
    assert_int_equal(port_of(&records[0]), 1);
    assert_in_range(records[0].rate.out_per_s, 5, 50);
    assert_int_equal(records[0].bytes_in, 100);
    stage_close();
}

static void test_busiest_of_one_server(void **state)
{
    struct sweep_target only = {.server = "s1"};
    struct sweep_record records[4];
    struct sweep_list list = {.records = records, .cap = 4, .only = &only};
    struct largest busiest;

    (void)state;
    stage_open(2);
    for (size_t i = 0; i < 4; i++)
        add_line(i % 2);
    rig_advance(rig, SECOND_MS);
    memcpy(only.service, rig->services.services->name, sizeof(only.service));
    look(&list, &busiest);
    assert_int_equal(list.n, 2);
    assert_string_equal(records[0].server, "s1");
    assert_string_equal(records[1].server, "s1");
    memset(only.server, 0, sizeof(only.server));
    look(&list, &busiest);
    assert_int_equal(list.n, 4);
    memcpy(only.service, "other", 6);
    look(&list, &busiest);
    assert_int_equal(list.n, 0);
    stage_close();
}

/* --- kill of one server by itself ------------------------------------------------------------- */

/* In pieces, each end as dear as 16 looks; those of another server stay, and so do those that came
 * after it began. Who is connecting goes elsewhere: were it let alone, it would be connected to a
 * server that is not to have it, and nobody would end it any more. */
static void test_kill_in_pieces(void **state)
{
    struct sweep_victims victims = {.reason = CLOSE_SERVER_DOWN};
    struct sweep_kill kill = {.victims = &victims, .n_piece = 1};
    size_t n_pieces = 0;

    (void)state;
    stage_open(2);
    for (size_t i = 0; i < 4; i++)
        add_line(i % 2);
    stage.lines[4].client = rig_client(rig); /* connecting, to the first */
    victims.backend = server_of(0);
    for (; kill.at != SWEEP_END && n_pieces < 9; n_pieces++)
        sweep_kill(&stage.relays, &kill);
    assert_int_equal(kill.n_ended, 2);
    assert_int_equal(n_pieces, 5);
    tcp_reap(&rig->relay);
    assert_int_equal(backend_active(server_of(0)), 0);
    assert_int_equal(backend_active(server_of(1)), 2);
    backend_set(server_of(0), PICK_DOWN);
    rig_turn(rig, 0);
    assert_int_equal(backend_active(server_of(1)), 3);
    stage.lines[4].server = rig_server(rig, stage.listeners[1]);
    stage.n_lines = 5;
    check_line_works(&stage.lines[4]);
    kill = (struct sweep_kill){.victims = &victims, .until_ns = 1};
    victims.backend = server_of(1);
    sweep_kill(&stage.relays, &kill);
    assert_int_equal(kill.at, SWEEP_END);
    assert_int_equal(kill.n_ended, 0);
    stage_close();
}

/* --- kill ------------------------------------------------------------------------------------- */

static size_t kill_all(const struct sweep_victims *victims)
{
    struct sweep_kill kill = {.victims = victims};

    sweep_kill(&stage.relays, &kill);
    assert_int_equal(kill.at, SWEEP_END);
    return kill.n_ended;
}

static void test_kill_of_one_server(void **state)
{
    struct sweep_target target = {.server = "s0"};
    const struct sweep_victims victims = {.target = &target, .reason = CLOSE_ADMIN};
    struct stats_service_sum sum;

    (void)state;
    stage_open(2);
    for (size_t i = 0; i < 4; i++)
        add_line(i % 2);
    stage.lines[4].client = rig_client(rig); /* connecting, to the first */
    memcpy(target.service, rig->services.services->name, sizeof(target.service));
    assert_int_equal(kill_all(&victims), 3);
    assert_int_equal(kill_all(&victims), 0);
    tcp_reap(&rig->relay);
    assert_int_equal(backend_active(server_of(0)), 0);
    assert_int_equal(backend_active(server_of(1)), 2);
    assert_int_equal(capacity_used(&rig->capacity), 2);
    check_line_is_reset(&stage.lines[0]);
    check_line_is_reset(&stage.lines[2]);
    rig_expect(rig, stage.lines[4].client, -ECONNRESET);
    check_line_works(&stage.lines[1]);
    check_line_works(&stage.lines[3]);
    stats_sum_service(&rig->stats, 1, 0, &sum);
    assert_int_equal(sum.closed[CLOSE_ADMIN], 3);
    close(stage.lines[4].client);
    stage.n_lines = 4;
    stage_close();
}

/* --- shed ------------------------------------------------------------------------------------- */

/* Five on the first server; the one that was silent for longest is `order[0]`. */
static void make_idle(const size_t order[LINES_MAX])
{
    for (size_t i = 0; i < LINES_MAX; i++)
        add_line(0);
    for (size_t i = 0; i < LINES_MAX; i++) {
        rig_advance(rig, SECOND_MS);
        check_line_works(&stage.lines[order[i]]);
    }
    rig_advance(rig, SECOND_MS);
}

static size_t shed(uint32_t n_active, uint32_t n_wanted, uint32_t n_places)
{
    static struct capacity places; /* where its alignment is kept, with any sanitizer */
    const struct sweep_excess excess = {
        .backend = server_of(0), .n_active = n_active, .n_wanted = n_wanted, .places = &places};
    size_t n;

    capacity_init(&places, n_places);
    n = sweep_shed(&stage.relays, &excess);
    assert_int_equal(capacity_used(&places), n);
    tcp_reap(&rig->relay);
    return n;
}

static void test_shed_the_idlest_first(void **state)
{
    static const size_t order[LINES_MAX] = {3, 1, 4, 0, 2};

    (void)state;
    stage_open(1);
    make_idle(order);
    assert_int_equal(shed(5, 2, 2), 2);
    check_line_is_reset(&stage.lines[3]);
    check_line_is_reset(&stage.lines[1]);
    assert_int_equal(backend_active(server_of(0)), 3);
    /* They are still in the order of their silence. */
    assert_int_equal(shed(3, 1, 1), 1);
    check_line_is_reset(&stage.lines[4]);
    check_line_works(&stage.lines[0]);
    check_line_works(&stage.lines[2]);
    stage_close();
}

/* What a worker ends is its part of all, rounded up; what other workers took is not there for it.
 */
static void test_shed_a_part(void **state)
{
    static const size_t order[LINES_MAX] = {0, 1, 2, 3, 4};
    static const struct {
        uint32_t n_active; /* of which five are this worker's */
        uint32_t n_wanted;
        uint32_t n_places;
        size_t n_ended;
    } cases[] = {
        {10, 4, 4, 2}, /* the half */
        {10, 3, 3, 2}, /* 1.5 */
        {7, 1, 1, 1},  /* 0.7 */
        {7, 3, 1, 1},  /* two places are taken already */
        {7, 3, 0, 0},
        {5, 0, 0, 0},
        {0, 4, 4, 0},           /* they all have gone in the meantime, it seemed */
        {5, 5, 5, 5},           /* all */
        {2, 2, 9, 5},           /* there are more by now: never more than there are */
        {4000000000u, 3, 3, 1}, /* no product overflows */
        {4000000000u, 4000000000u, 4000000000u, 5},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        stage_open(1);
        make_idle(order);
        assert_int_equal(shed(cases[i].n_active, cases[i].n_wanted, cases[i].n_places),
                         cases[i].n_ended);
        assert_int_equal(rig->relay.n_live, LINES_MAX - cases[i].n_ended);
        stage_close();
    }
}

/* Others' servers, and connections that have not begun or are ending already, are left alone. */
static void test_shed_only_what_is_relayed(void **state)
{
    (void)state;
    stage_open(2);
    add_line(0);
    add_line(1);
    stage.lines[2].client = rig_client(rig); /* connecting, to the first */
    assert_int_equal(shed(3, 3, 3), 1);
    check_line_is_reset(&stage.lines[0]);
    check_line_works(&stage.lines[1]);
    stage.lines[2].server = rig_server(rig, stage.listeners[0]);
    stage.n_lines = 3;
    check_line_works(&stage.lines[2]);
    stage_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list_of_every_state),
        cmocka_unit_test(test_list_counts_bytes_and_time),
        cmocka_unit_test(test_list_that_is_full),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_pieces_while_others_come_and_go),
        cmocka_unit_test(test_busiest),
        cmocka_unit_test(test_busiest_of_one_server),
        cmocka_unit_test(test_kill_in_pieces),
        cmocka_unit_test(test_kill_of_one_server),
        cmocka_unit_test(test_shed_the_idlest_first),
        cmocka_unit_test(test_shed_a_part),
        cmocka_unit_test(test_shed_only_what_is_relayed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
