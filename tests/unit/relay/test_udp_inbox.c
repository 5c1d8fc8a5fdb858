#include "lb4/relay/udp_inbox.h"

#include "datagrams.h"

/* What the kernel cannot be brought to do with buffers of 64 KiB. */
static int lie_flags;
int __real_recvmmsg(int fd, struct mmsghdr *messages, unsigned n, int flags, struct timespec *wait);
int __wrap_recvmmsg(int fd, struct mmsghdr *messages, unsigned n, int flags, struct timespec *wait);

int __wrap_recvmmsg(int fd, struct mmsghdr *messages, unsigned n, int flags, struct timespec *wait)
{
    int rc = __real_recvmmsg(fd, messages, n, flags, wait);

    if (rc > 0)
        messages[0].msg_hdr.msg_flags |= lie_flags;
    return rc;
}

struct rig {
    struct udp_inbox *inbox;
    struct udp_packet *packets;
    int listener;
    int client;
};

static struct rig rig_new(const char *listen_host, const char *to_host)
{
    struct rig rig = {.inbox = udp_inbox_new(), .listener = listen_at(listen_host)};

    assert_non_null(rig.inbox);
    rig.client = connect_to(to_host, rig.listener);
    return rig;
}

static void rig_free(struct rig *rig)
{
    udp_inbox_free(rig->inbox);
    close(rig->client);
    close(rig->listener);
}

static int receive(struct rig *rig, size_t n_max)
{
    wait_for_input(rig->listener);
    return udp_inbox_receive(rig->inbox, rig->listener, n_max, &rig->packets);
}

static void check_addresses(const char *listen_host, const char *to_host, bool is_told)
{
    struct rig rig = rig_new(listen_host, to_host);
    struct addr client = local_addr(rig.client);
    struct addr asked = make_addr(to_host, 0);

    assert_int_equal(send(rig.client, "x", 1, 0), 1);
    assert_int_equal(receive(&rig, 8), 1);
    assert_true(addr_equal(&rig.packets->peer, &client));
    if (is_told)
        assert_true(addr_equal(&rig.packets->own, &asked));
    else
        assert_int_equal(rig.packets->own.sa.sa_family, AF_UNSPEC);
    rig_free(&rig);
}

static void test_addresses(void **state)
{
    static const char *const asked4[] = {"127.0.0.1", "127.0.0.2", "127.1.2.3"};

    (void)state;
    for (size_t i = 0; i < sizeof(asked4) / sizeof(asked4[0]); i++) {
        check_addresses("0.0.0.0", asked4[i], true);
        check_addresses(asked4[i], asked4[i], false);
        if (sock_has_ipv6())
            check_addresses("*", asked4[i], true);
    }
    if (!sock_has_ipv6())
        return;
    check_addresses("*", "::1", true);
    check_addresses("::", "::1", true);
    check_addresses("::1", "::1", false);
}

/* 127.255.255.255 is the broadcast address of lo: the answer has to leave from another. */
static void check_broadcast(const char *listen_host)
{
    struct rig rig = rig_new(listen_host, "127.0.0.1");
    struct addr to = make_addr("127.255.255.255", local_port(rig.listener));
    struct addr own = make_addr("127.0.0.1", 0);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &(int){1}, sizeof(int)), 0);
    assert_int_equal(sendto(fd, "x", 1, 0, &to.sa, addr_length(&to)), 1);
    assert_int_equal(receive(&rig, 8), 1);
    assert_true(addr_equal(&rig.packets->own, &own));
    close(fd);
    rig_free(&rig);
}

static void test_broadcast(void **state)
{
    (void)state;
    check_broadcast("0.0.0.0");
    if (sock_has_ipv6())
        check_broadcast("*");
}

static void test_sizes(void **state)
{
    static const uint32_t sizes[] = {0, 1, 512, 1471, 1472, 1473, 8972, 65506, 65507};
    struct rig rig = rig_new("0.0.0.0", "127.0.0.1");

    (void)state;
    for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint8_t *bytes = make_bytes(sizes[i], i);

        assert_int_equal(send(rig.client, bytes, sizes[i], 0), sizes[i]);
        assert_int_equal(receive(&rig, 2), 1);
        assert_int_equal(rig.packets->n_bytes, sizes[i]);
        assert_int_equal(rig.packets->segment_bytes, sizes[i]);
        assert_int_equal(udp_packet_count(rig.packets), 1);
        assert_false(rig.packets->is_truncated);
        assert_memory_equal(rig.packets->bytes, bytes, sizes[i]);
        free(bytes);
    }
    rig_free(&rig);
}

static void check_joined(uint32_t n_bytes, uint16_t size, uint32_t n_datagrams)
{
    struct rig rig = rig_new("0.0.0.0", "127.0.0.1");
    uint8_t *bytes = make_bytes(n_bytes, size);

    send_joined(rig.client, bytes, n_bytes, size);
    assert_int_equal(receive(&rig, 2), 1);
    assert_int_equal(rig.packets->n_bytes, n_bytes);
    assert_int_equal(rig.packets->segment_bytes, size);
    assert_int_equal(udp_packet_count(rig.packets), n_datagrams);
    assert_memory_equal(rig.packets->bytes, bytes, n_bytes);
    free(bytes);
    rig_free(&rig);
}

static void test_joined(void **state)
{
    (void)state;
    check_joined(1000, 100, 10);
    check_joined(1001, 100, 11);
    check_joined(60000, 1200, 50);
    check_joined(64, 1, 64);
}

/* The inbox fills over several calls and sockets; what is in it stays until it is emptied. */
static void test_room(void **state)
{
    struct rig rig = rig_new("0.0.0.0", "127.0.0.1");
    struct udp_packet *first;

    (void)state;
    for (uint8_t i = 0; i < 100; i++)
        assert_int_equal(send(rig.client, &i, 1, 0), 1);
    assert_int_equal(receive(&rig, 10), 10);
    first = rig.packets;
    assert_int_equal(udp_inbox_room(rig.inbox), UDP_INBOX_MAX - 10);
    assert_int_equal(receive(&rig, udp_inbox_room(rig.inbox)), UDP_INBOX_MAX - 10);
    assert_int_equal(udp_inbox_room(rig.inbox), 0);
    assert_ptr_equal(rig.packets, first + 10);
    for (uint8_t i = 0; i < UDP_INBOX_MAX; i++)
        assert_int_equal(first[i].bytes[0], i);
    udp_inbox_empty(rig.inbox);
    assert_int_equal(receive(&rig, UDP_INBOX_MAX), 100 - UDP_INBOX_MAX);
    assert_ptr_equal(rig.packets, first);
    assert_int_equal(first->bytes[0], UDP_INBOX_MAX);
    assert_int_equal(udp_inbox_receive(rig.inbox, rig.listener, 1, &rig.packets), 0);
    rig_free(&rig);
}

/* Nothing of the packet that had this place before is left. */
static void test_place_is_reused(void **state)
{
    struct rig told = rig_new("0.0.0.0", "127.0.0.1");
    struct rig bound = rig_new("127.0.0.1", "127.0.0.1");
    uint8_t bytes[300] = {0};

    (void)state;
    send_joined(told.client, bytes, sizeof(bytes), 100);
    assert_int_equal(receive(&told, 1), 1);
    udp_inbox_empty(told.inbox);
    assert_int_equal(send(bound.client, bytes, sizeof(bytes), 0), sizeof(bytes));
    wait_for_input(bound.listener);
    assert_int_equal(udp_inbox_receive(told.inbox, bound.listener, 1, &told.packets), 1);
    assert_int_equal(told.packets->own.sa.sa_family, AF_UNSPEC);
    assert_int_equal(udp_packet_count(told.packets), 1);
    rig_free(&told);
    rig_free(&bound);
}

static void test_refusal(void **state)
{
    struct rig rig = rig_new("127.0.0.1", "127.0.0.1");

    (void)state;
    close(rig.listener);
    rig.listener = -1;
    assert_int_equal(send(rig.client, "x", 1, 0), 1);
    assert_int_equal(udp_inbox_receive_connected(rig.inbox, rig.client, 4, &rig.packets),
                     -ECONNREFUSED);
    assert_int_equal(udp_inbox_receive_connected(rig.inbox, rig.client, 4, &rig.packets), 0);
    assert_int_equal(udp_inbox_room(rig.inbox), UDP_INBOX_MAX);
    rig_free(&rig);
}

static void test_connected(void **state)
{
    struct rig rig = rig_new("127.0.0.1", "127.0.0.1");
    struct addr client = local_addr(rig.client);
    uint8_t bytes[300] = {1, 2, 3};

    (void)state;
    assert_int_equal(connect(rig.listener, &client.sa, addr_length(&client)), 0);
    send_joined(rig.listener, bytes, sizeof(bytes), 100);
    wait_for_input(rig.client);
    assert_int_equal(udp_inbox_receive_connected(rig.inbox, rig.client, 4, &rig.packets), 1);
    assert_int_equal(udp_packet_count(rig.packets), 3);
    assert_int_equal(rig.packets->own.sa.sa_family, AF_UNSPEC);
    assert_memory_equal(rig.packets->bytes, bytes, sizeof(bytes));
    rig_free(&rig);
}

static void check_truncated(int flags, bool is_truncated)
{
    struct rig rig = rig_new("0.0.0.0", "127.0.0.1");

    assert_int_equal(send(rig.client, "xy", 2, 0), 2);
    lie_flags = flags;
    assert_int_equal(receive(&rig, 1), 1);
    lie_flags = 0;
    assert_int_equal(rig.packets->is_truncated, is_truncated);
    rig_free(&rig);
}

static void test_truncated(void **state)
{
    (void)state;
    check_truncated(0, false);
    check_truncated(MSG_TRUNC, true);
    check_truncated(MSG_CTRUNC, true);
}

static void test_free_nothing(void **state)
{
    (void)state;
    udp_inbox_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses), cmocka_unit_test(test_broadcast),
        cmocka_unit_test(test_sizes),     cmocka_unit_test(test_joined),
        cmocka_unit_test(test_room),      cmocka_unit_test(test_place_is_reused),
        cmocka_unit_test(test_refusal),   cmocka_unit_test(test_connected),
        cmocka_unit_test(test_truncated), cmocka_unit_test(test_free_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
