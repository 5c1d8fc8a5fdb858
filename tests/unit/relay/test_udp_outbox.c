#include "lb4/relay/udp_outbox.h"

#include "../netns.h"
#include "../seed.h"
#include "outbox_rig.h"

static bool has_netns;

static uint8_t header[] = "twenty-eight bytes, no more.";

static void put_header(struct rig *rig, uint32_t n_header)
{
    rig->line.header = n_header > 0 ? header : NULL;
    rig->line.n_header = n_header;
}

/* Both ways out, with the number of messages it should take. */
static void check_headed(uint32_t n_header, const struct shape *shapes, size_t n,
                         int n_messages_expected)
{
    for (int is_connected = 0; is_connected <= 1; is_connected++) {
        struct rig rig;

        rig_init(&rig, is_connected);
        put_header(&rig, n_header);
        assert_int_equal(send_shapes_over(&rig, shapes, n), n_messages_expected);
        rig_fini(&rig);
    }
}

static void check_shapes(const struct shape *shapes, size_t n, int n_messages_expected)
{
    check_headed(0, shapes, n, n_messages_expected);
}

#define CHECK_SHAPES(n_messages_expected, ...)                                       \
    check_shapes((const struct shape[]){__VA_ARGS__},                                \
                 sizeof((const struct shape[]){__VA_ARGS__}) / sizeof(struct shape), \
                 n_messages_expected)

static void test_single_sizes(void **state)
{
    static const uint32_t sizes[] = {0, 1, 512, 1471, 1472, 1473, 8972, 65506, 65507};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        CHECK_SHAPES(1, {sizes[i], sizes[i]});
}

static void test_what_is_joined(void **state)
{
    (void)state;
    CHECK_SHAPES(1, {100, 100}, {100, 100}, {100, 100});
    CHECK_SHAPES(1, {100, 100}, {100, 100}, {99, 99});          /* the last may be shorter */
    CHECK_SHAPES(2, {100, 100}, {99, 99}, {100, 100});          /* but only the last */
    CHECK_SHAPES(2, {100, 100}, {101, 101});                    /* nor longer */
    CHECK_SHAPES(2, {100, 100}, {99, 99}, {99, 99});            /* one shorter one */
    CHECK_SHAPES(3, {100, 100}, {0, 0}, {100, 100});            /* an empty one is alone */
    CHECK_SHAPES(3, {0, 0}, {0, 0}, {0, 0});                    /* always */
    CHECK_SHAPES(1, {1000, 100}, {100, 100}, {300, 100});       /* joined already */
    CHECK_SHAPES(2, {1001, 100}, {300, 100});                   /* its tail is the end */
    CHECK_SHAPES(2, {100, 100}, {300, 50}, {50, 50});           /* 100 50 | 50 50 50 50 50 50 */
    CHECK_SHAPES(2, {65000, 1000});                             /* 64 and 1 */
    CHECK_SHAPES(2, {1000, 100}, {70000 - 4507, 1300});         /* 10 | 50 and a tail */
    CHECK_SHAPES(2, {60000, 1200}, {4800, 1200}, {1200, 1200}); /* 54 of 55: 65,507 bytes */
    CHECK_SHAPES(2, {40000, 40000}, {40000, 40000});
    CHECK_SHAPES(4, {200, 1}); /* 64 64 64 8 */
}

#define CHECK_HEADED(n_messages_expected, ...)                                       \
    check_headed(28, (const struct shape[]){__VA_ARGS__},                            \
                 sizeof((const struct shape[]){__VA_ARGS__}) / sizeof(struct shape), \
                 n_messages_expected)

/* Each datagram has its header, those that are joined too; sizes are those with it. */
static void test_headers(void **state)
{
    static const uint32_t sizes[] = {0, 1, 512, 1444, 1445, 1472, 8972, 65478, 65479};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        CHECK_HEADED(1, {sizes[i], sizes[i]});
    CHECK_HEADED(1, {100, 100}, {100, 100}, {99, 99});
    CHECK_HEADED(2, {100, 100}, {101, 101});
    CHECK_HEADED(1, {100, 100}, {100, 100}, {0, 0}); /* an empty one is not empty any more */
    CHECK_HEADED(1, {0, 0}, {0, 0}, {0, 0});
    CHECK_HEADED(2, {100, 100}, {0, 0}, {100, 100});
    CHECK_HEADED(1, {1000, 100}, {100, 100}, {300, 100});
    CHECK_HEADED(2, {64000, 1000}); /* 63 of 1,028, and 1: 65,507 bytes */
    CHECK_HEADED(4, {200, 1});      /* 64 64 64 8 */
    CHECK_HEADED(2, {65479, 65479}, {65479, 65479});
}

/* The header made it too long: that one is dropped, and no other. */
static void test_too_long_with_header(void **state)
{
    for (int is_connected = 0; is_connected <= 1; is_connected++) {
        struct udp_packet packets[] = {make_packet(10, 10, 1), make_packet(65480, 65480, 2),
                                       make_packet(20, 20, 3)};
        uint8_t *bytes[] = {packets[0].bytes, packets[1].bytes, packets[2].bytes};
        struct rig rig;

        rig_init(&rig, is_connected);
        put_header(&rig, 28);
        for (size_t i = 0; i < 3; i++) {
            if (is_connected)
                udp_line_append(&rig.line, &packets[i]);
            else
                udp_outbox_add(rig.outbox, &rig.line, &packets[i]);
        }
        if (is_connected)
            assert_int_equal(udp_send(rig.outbox, &rig.line), 0);
        else
            udp_outbox_flush(rig.outbox);
        expect(&rig, bytes[0], 10);
        expect(&rig, bytes[2], 20);
        expect_nothing(&rig);
        assert_int_equal(rig.tally.n_large, 1);
        assert_int_equal(rig.tally.n_sent, 2);
        for (size_t i = 0; i < 3; i++)
            free(bytes[i]);
        rig_fini(&rig);
    }
    (void)state;
}

/* More pieces than the outbox has. */
static void test_many_packets(void **state)
{
    struct shape shapes[SHAPES_MAX];

    (void)state;
    for (size_t i = 0; i < SHAPES_MAX; i++)
        shapes[i] = (struct shape){50, 50};
    check_shapes(shapes, SHAPES_MAX, 4);
    check_headed(28, shapes, SHAPES_MAX, 4);
}

/* Any sequence, byte-exact and in order, joined or not. */
static void test_random(void **state)
{
    static const uint32_t sizes[] = {0, 1, 2, 100, 100, 100, 1200, 1200, 1500, 3000};
    enum { N_SIZES = sizeof(sizes) / sizeof(sizes[0]), N_ROUNDS = 400 };
    struct seed seed = seed_new();

    (void)state;
    for (int round = 0; round < N_ROUNDS; round++) {
        struct shape shapes[SHAPES_MAX];
        size_t n = 1 + seed_next(&seed, 12);
        struct rig rig;

        for (size_t i = 0; i < n; i++) {
            uint32_t size = sizes[seed_next(&seed, N_SIZES)];

            shapes[i] = (struct shape){size, size};
            if (size > 0 && seed_next(&seed, 3) == 0)
                shapes[i].n_bytes =
                    size * (uint32_t)seed_next(&seed, 6) + (uint32_t)seed_next(&seed, size) + 1;
        }
        rig_init(&rig, round % 2 == 0);
        if (round % 5 == 0)
            rig.line.segment_max = 100;
        if (round % 3 == 0)
            put_header(&rig, 28);
        send_shapes_over(&rig, shapes, n);
        rig_fini(&rig);
    }
}

/* The answer leaves from the asked address: a client connected to it would hear nobody else. */
static void check_from_to(int listener, int client, const char *asked_host, bool is_bound,
                          uint32_t n)
{
    struct udp_outbox *outbox = udp_outbox_new();
    struct addr to = local_addr(client);
    struct addr from = make_addr(asked_host, 0);
    struct udp_tally tally = {0};
    struct udp_line line = {.fd = listener,
                            .segment_max = UDP_SEGMENT_ANY,
                            .to = &to,
                            .from = is_bound ? NULL : &from,
                            .tally = &tally};
    struct udp_packet packet = make_packet(n * 10, 10, 7);
    uint8_t bytes[10];

    receive_singly(client);
    udp_outbox_add(outbox, &line, &packet);
    udp_outbox_flush(outbox);
    for (uint32_t i = 0; i < n; i++) {
        wait_for_input(client);
        assert_int_equal(recv(client, bytes, sizeof(bytes), 0), 10);
        assert_memory_equal(bytes, packet.bytes + i * 10, 10);
    }
    assert_int_equal(tally.n_sent, n);
    free(packet.bytes);
    udp_outbox_free(outbox);
}

static void check_from(const char *listen_host, const char *asked_host, bool is_bound, uint32_t n)
{
    int listener = listen_at(listen_host);
    int client = connect_to(asked_host, listener);

    check_from_to(listener, client, asked_host, is_bound, n);
    close(client);
    close(listener);
}

static void test_from(void **state)
{
    static const char *const asked4[] = {"127.0.0.1", "127.0.0.2", "127.1.2.3"};

    (void)state;
    for (size_t i = 0; i < sizeof(asked4) / sizeof(asked4[0]); i++)
        for (uint32_t n = 1; n <= 3; n += 2) {
            check_from("0.0.0.0", asked4[i], false, n);
            check_from(asked4[i], asked4[i], true, n);
            check_from(asked4[i], asked4[i], false, n);
            if (sock_has_ipv6())
                check_from("*", asked4[i], false, n);
        }
    if (!sock_has_ipv6())
        return;
    check_from("*", "::1", false, 3);
    check_from("::", "::1", false, 3);
    check_from("::1", "::1", true, 3);
}

/* The kernel makes a new address usable by and by. */
static void wait_for_address(const struct addr *addr)
{
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int n_tries = 0;

    while (bind(fd, &addr->sa, addr_length(addr)) < 0) {
        assert_in_range(n_tries++, 0, DEADLINE_MS);
        poll(NULL, 0, 1);
    }
    close(fd);
}

/* A client at ::1 that asked another address: left to the kernel, ::1 would answer. */
static void test_from_another_ipv6(void **state)
{
    struct addr asked = make_addr("fd00::7", 0);
    struct addr own = make_addr("::1", 0);
    int listener;
    int client;

    (void)state;
    if (!has_netns || !sock_has_ipv6() || !netns_add_addr6(&asked.in6.sin6_addr))
        skip();
    wait_for_address(&asked);
    listener = listen_at("*");
    addr_set_port(&asked, local_port(listener));
    client = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(client, &own.sa, addr_length(&own)), 0);
    assert_int_equal(connect(client, &asked.sa, addr_length(&asked)), 0);
    check_from_to(listener, client, "fd00::7", false, 1);
    check_from_to(listener, client, "fd00::7", false, 3);
    close(client);
    close(listener);
}

/* More lines than an outbox notes, of two sockets by turns: each client gets its own, in few calls.
 */
static void test_many_lines(void **state)
{
    enum { N_LINES = 2 * UDP_OUTBOX_MAX + 2 };
    struct rig rigs[N_LINES];
    struct udp_packet packets[N_LINES][2];

    (void)state;
    for (uint32_t i = 0; i < N_LINES; i++) {
        rig_init(&rigs[i], false);
        rigs[i].line.fd = rigs[i % 2].sender;
    }
    for (uint32_t i = 0; i < N_LINES; i++) {
        for (int k = 0; k < 2; k++)
            packets[i][k] = make_packet(10, 10, 2 * i + (uint32_t)k);
        udp_outbox_add(rigs[0].outbox, &rigs[i].line, &packets[i][0]);
        udp_outbox_add(rigs[0].outbox, &rigs[i].line, &packets[i][1]);
    }
    udp_outbox_flush(rigs[0].outbox);
    assert_int_equal(n_messages, N_LINES);
    for (uint32_t i = 0; i < N_LINES; i++) {
        for (int k = 0; k < 2; k++) {
            expect(&rigs[i], packets[i][k].bytes, 10);
            free(packets[i][k].bytes);
        }
        assert_int_equal(rigs[i].tally.n_sent, 2);
        rig_fini(&rigs[i]);
    }
}

static void test_nothing_to_send(void **state)
{
    struct rig rig;

    (void)state;
    rig_init(&rig, true);
    assert_int_equal(udp_send(rig.outbox, &rig.line), 0);
    udp_outbox_flush(rig.outbox);
    assert_int_equal(n_messages, 0);
    rig_fini(&rig);
    udp_outbox_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_single_sizes), cmocka_unit_test(test_what_is_joined),
        cmocka_unit_test(test_headers),      cmocka_unit_test(test_too_long_with_header),
        cmocka_unit_test(test_many_packets), cmocka_unit_test(test_random),
        cmocka_unit_test(test_from),         cmocka_unit_test(test_from_another_ipv6),
        cmocka_unit_test(test_many_lines),   cmocka_unit_test(test_nothing_to_send),
    };

    has_netns = netns_enter();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
