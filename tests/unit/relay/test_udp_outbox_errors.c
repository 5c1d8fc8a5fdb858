/* udp_outbox where the kernel refuses: to join, for want of room, for good. */
#include "lb4/relay/udp_outbox.h"

#include "../netns.h"
#include "outbox_rig.h"

static bool has_netns;

/* The kernel's word at its least favourable: EMSGSIZE and EIO are learned, nothing is lost. */
static void check_refused(int error, bool is_connected, uint16_t segment_max)
{
    static const struct shape shapes[] = {{1000, 100}, {100, 100}, {30, 30}, {5, 5}};
    struct rig rig;

    rig_init(&rig, is_connected);
    joined_errno = error;
    assert_int_equal(send_shapes_over(&rig, shapes, 4), 13);
    joined_errno = 0;
    assert_int_equal(rig.line.segment_max, segment_max);
    rig_fini(&rig);
}

static void test_refused(void **state)
{
    (void)state;
    check_refused(EIO, true, 0);
    check_refused(EIO, false, 0);
    check_refused(EMSGSIZE, true, 29);
    check_refused(EMSGSIZE, false, 29);
    check_refused(EINVAL, true, 29);
}

/* The same from the kernel: an MTU below the size of a segment. Datagrams of 1,500 bytes are
 * fragmented; those of 1,000 are joined even then. */
static void test_mtu(void **state)
{
    static const struct shape large[] = {{1500, 1500}, {1500, 1500}, {1500, 1500}};
    static const struct shape small[] = {{1000, 1000}, {1000, 1000}, {1000, 1000}};

    (void)state;
    if (!has_netns)
        skip();
    assert_true(netns_set_mtu(1280));
    for (int is_connected = 0; is_connected <= 1; is_connected++) {
        struct rig rig;

        rig_init(&rig, is_connected);
        assert_int_equal(send_shapes_over(&rig, large, 3), 4);
        assert_int_equal(rig.line.segment_max, 1499);
        assert_int_equal(send_shapes_over(&rig, small, 3), 1);
        rig_fini(&rig);
    }
    assert_true(netns_set_mtu(65536));
}

/* Too large for any datagram: dropped alone. */
static void test_large(void **state)
{
    (void)state;
    for (int is_connected = 0; is_connected <= 1; is_connected++) {
        struct rig rig;
        struct udp_packet packets[3] = {make_packet(10, 10, 1), make_packet(65508, 65508, 2),
                                        make_packet(20, 20, 3)};

        rig_init(&rig, is_connected);
        for (int i = 0; i < 3; i++)
            if (is_connected)
                udp_line_append(&rig.line, &packets[i]);
            else
                udp_outbox_add(rig.outbox, &rig.line, &packets[i]);
        if (is_connected)
            assert_int_equal(udp_send(rig.outbox, &rig.line), 0);
        udp_outbox_flush(rig.outbox);
        expect(&rig, packets[0].bytes, 10);
        expect(&rig, packets[2].bytes, 20);
        assert_int_equal(rig.tally.n_large, 1);
        assert_int_equal(rig.tally.n_sent, 2);
        assert_int_equal(rig.tally.n_bytes, 30);
        for (int i = 0; i < 3; i++)
            free(packets[i].bytes);
        rig_fini(&rig);
    }
}

/* A full buffer drops what is left for this socket, and only for it. */
static void check_full(int error)
{
    struct rig rigs[2];
    struct udp_packet packets[4] = {make_packet(10, 10, 1), make_packet(20, 20, 2),
                                    make_packet(90, 30, 3), make_packet(40, 40, 4)};

    rig_init(&rigs[0], false);
    rig_init(&rigs[1], false);
    for (int i = 0; i < 4; i++)
        udp_outbox_add(rigs[0].outbox, &rigs[i == 3].line, &packets[i]);
    fail_at = 1;
    fail_errno = error;
    udp_outbox_flush(rigs[0].outbox);
    assert_int_equal(fail_at, -1);
    expect(&rigs[0], packets[0].bytes, 10);
    expect_nothing(&rigs[0]);
    expect(&rigs[1], packets[3].bytes, 40);
    assert_int_equal(rigs[0].tally.n_sent, 1);
    assert_int_equal(rigs[0].tally.n_full, 4);
    assert_int_equal(rigs[1].tally.n_full, 0);
    for (int i = 0; i < 4; i++)
        free(packets[i].bytes);
    rig_fini(&rigs[0]);
    rig_fini(&rigs[1]);
}

static void test_full(void **state)
{
    (void)state;
    check_full(EAGAIN);
    check_full(ENOBUFS);
}

static void test_full_connected(void **state)
{
    struct rig rig;
    struct udp_packet packets[3] = {make_packet(10, 10, 1), make_packet(20, 20, 2),
                                    make_packet(90, 30, 3)};

    (void)state;
    rig_init(&rig, true);
    for (int i = 0; i < 3; i++)
        udp_line_append(&rig.line, &packets[i]);
    fail_at = 1;
    fail_errno = EAGAIN;
    assert_int_equal(udp_send(rig.outbox, &rig.line), 0);
    expect(&rig, packets[0].bytes, 10);
    expect_nothing(&rig);
    assert_int_equal(rig.tally.n_full, 4);
    for (int i = 0; i < 3; i++)
        free(packets[i].bytes);
    rig_fini(&rig);
}

/* Another error of one message in a batch concerns that message alone. */
static void test_error_in_a_batch(void **state)
{
    struct rig rig;
    struct udp_packet packets[3] = {make_packet(10, 10, 1), make_packet(20, 20, 2),
                                    make_packet(30, 30, 3)};

    (void)state;
    rig_init(&rig, false);
    for (int i = 0; i < 3; i++)
        udp_outbox_add(rig.outbox, &rig.line, &packets[i]);
    fail_at = 1;
    fail_errno = EPERM;
    udp_outbox_flush(rig.outbox);
    expect(&rig, packets[0].bytes, 10);
    expect(&rig, packets[2].bytes, 30);
    assert_int_equal(rig.tally.n_error, 1);
    for (int i = 0; i < 3; i++)
        free(packets[i].bytes);
    rig_fini(&rig);
}

/* The server has gone: what was not sent goes to another, from where it stopped. */
static void test_refusal_leaves_the_rest(void **state)
{
    struct rig rig;
    struct rig other;
    struct udp_packet packets[2] = {make_packet(200, 100, 1), make_packet(65 * 10, 10, 2)};
    uint8_t *bytes[2] = {packets[0].bytes, packets[1].bytes};

    (void)state;
    rig_init(&rig, true);
    rig_init(&other, true);
    udp_line_append(&rig.line, &packets[0]);
    udp_line_append(&rig.line, &packets[1]);
    fail_at = 1;
    fail_errno = ECONNREFUSED;
    assert_int_equal(udp_send(rig.outbox, &rig.line), -ECONNREFUSED);
    /* Sent: 100 100 10. */
    assert_ptr_equal(rig.line.first, &packets[1]);
    assert_int_equal(rig.tally.n_sent, 2 + 1);
    rig.line.fd = other.sender;
    assert_int_equal(udp_send(rig.outbox, &rig.line), 0);
    expect_packet(&rig, bytes[0], 200, 100);
    expect(&rig, bytes[1], 10);
    expect_packet(&other, bytes[1] + 10, 64 * 10, 10);
    free(bytes[0]);
    free(bytes[1]);
    rig_fini(&rig);
    rig_fini(&other);
}

/* The kernel's own refusal. */
static void test_refusal(void **state)
{
    struct rig rig;
    struct udp_packet packet = make_packet(10, 10, 1);

    (void)state;
    rig_init(&rig, true);
    close(rig.receiver);
    udp_line_append(&rig.line, &packet);
    assert_int_equal(udp_send(rig.outbox, &rig.line), 0);
    udp_line_append(&rig.line, &packet);
    assert_int_equal(udp_send(rig.outbox, &rig.line), -ECONNREFUSED);
    assert_int_equal(udp_line_clear(&rig.line), 1);
    assert_int_equal(udp_line_clear(&rig.line), 0);
    rig.receiver = -1;
    free(packet.bytes);
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_mtu),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_full_connected),
        cmocka_unit_test(test_error_in_a_batch),
        cmocka_unit_test(test_refusal_leaves_the_rest),
        cmocka_unit_test(test_refusal),
    };

    has_netns = netns_enter();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
