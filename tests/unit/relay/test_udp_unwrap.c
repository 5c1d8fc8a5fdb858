#include "lb4/relay/udp_unwrap.h"

#include "datagrams.h"
#include "lb4/relay/proxy_header.h"

enum { PAYLOAD = 40 };

static uint8_t bytes[DATAGRAM_MAX];

static struct udp_packet packet_of(uint32_t n_bytes, uint32_t segment_bytes)
{
    return (struct udp_packet){.bytes = bytes, .n_bytes = n_bytes, .segment_bytes = segment_bytes};
}

static struct udp_key key_of_peer(void)
{
    return (struct udp_key){.client = make_addr("192.0.2.1", 700), .asked = make_addr("::1", 53)};
}

/* Returns the bytes of the header, PAYLOAD more follow. */
static uint32_t write_datagram(const struct addr *client, const struct addr *asked)
{
    uint8_t header[PROXY_SEND_MAX];
    uint32_t n_header = (uint32_t)proxy_header_write(header, 2, true, client, asked);

    memcpy(bytes, header, n_header);
    memset(bytes + n_header, 'x', PAYLOAD);
    return n_header;
}

/* --- cut -------------------------------------------------------------------------------------- */

static void check_cut(uint32_t n_bytes, uint32_t segment_bytes)
{
    struct udp_packet packet = packet_of(n_bytes, segment_bytes);
    uint32_t n = udp_packet_count(&packet);

    for (uint32_t i = 0, at = 0; i < n; i++) {
        uint32_t n_left = n_bytes - at;
        struct udp_packet datagram = udp_unwrap_cut(&packet);

        assert_ptr_equal(datagram.bytes, bytes + at);
        assert_int_equal(datagram.n_bytes, n_left < segment_bytes ? n_left : segment_bytes);
        assert_int_equal(udp_packet_count(&datagram), 1);
        at += datagram.n_bytes;
    }
    assert_int_equal(packet.n_bytes, 0);
}

static void test_cut(void **state)
{
    (void)state;
    check_cut(0, 0);
    check_cut(100, 100);
    check_cut(1000, 100);
    check_cut(1001, 100);
    check_cut(99, 100);
    check_cut(64, 1);
    check_cut(65507, 65507);
}

/* --- unwrap ----------------------------------------------------------------------------------- */

static void check_client(const char *client_host, const char *asked_host)
{
    struct addr client = make_addr(client_host, 1234);
    struct addr asked = make_addr(asked_host, 5353);
    uint32_t n_header = write_datagram(&client, &asked);
    struct udp_packet datagram = packet_of(n_header + PAYLOAD, n_header + PAYLOAD);
    struct udp_key key = key_of_peer();
    struct udp_key was = key;
    struct udp_via via;

    assert_true(udp_unwrap(&datagram, &key, &via));
    assert_ptr_equal(datagram.bytes, bytes + n_header);
    assert_int_equal(datagram.n_bytes, PAYLOAD);
    assert_int_equal(datagram.segment_bytes, PAYLOAD);
    assert_true(addr_equal(&key.client, &client));
    assert_true(addr_equal(&key.asked, &was.asked));
    assert_ptr_equal(key.via, &via);
    assert_true(addr_equal(&via.peer, &was.client));
    assert_true(addr_equal(&via.asked, &asked));
    assert_ptr_equal(udp_key_peer(&key), &via.peer);
}

static void test_client_of_the_header(void **state)
{
    (void)state;
    check_client("10.1.2.3", "10.0.0.1");
    check_client("2001:db8::7", "2001:db8::1");
}

/* The balancer speaks for itself. */
static void test_local(void **state)
{
    struct addr nobody = {0};
    uint32_t n_header = write_datagram(&nobody, &nobody);
    struct udp_packet datagram = packet_of(n_header, n_header);
    struct udp_key key = key_of_peer();
    struct udp_key was = key;
    struct udp_via via;

    (void)state;
    assert_true(udp_unwrap(&datagram, &key, &via));
    assert_int_equal(datagram.n_bytes, 0);
    assert_int_equal(datagram.segment_bytes, 0);
    assert_null(key.via);
    assert_true(udp_key_equal(&key, &was));
}

/* No prefix of a header is one, as nothing can follow in another datagram. */
static void test_bad(void **state)
{
    struct addr client = make_addr("10.1.2.3", 1234);
    struct addr asked = make_addr("10.0.0.1", 53);
    uint32_t n_header = write_datagram(&client, &asked);

    (void)state;
    for (uint32_t n = 0; n < n_header; n++) {
        struct udp_packet datagram = packet_of(n, n);
        struct udp_key key = key_of_peer();
        struct udp_key was = key;
        struct udp_via via;

        assert_false(udp_unwrap(&datagram, &key, &via));
        assert_true(udp_key_equal(&key, &was));
        assert_int_equal(datagram.n_bytes, n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_client_of_the_header),
        cmocka_unit_test(test_local),
        cmocka_unit_test(test_bad),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
