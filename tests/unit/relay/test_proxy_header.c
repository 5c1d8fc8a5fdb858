#include "lb4/relay/proxy_header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const unsigned BOTH = PROXY_ACCEPTS_V1 | PROXY_ACCEPTS_V2;

enum { BYTES_MAX = 8192 };

struct vector {
    char name[64];
    char verdict[16];
    char client[ADDR_TEXT_MAX];
    char asked[ADDR_TEXT_MAX];
    uint8_t bytes[BYTES_MAX];
    size_t n;
};

/* One escape of the table; returns what follows it. */
static const char *unescape(const char *at, struct vector *vector)
{
    unsigned byte = at[1] == 'r' ? '\r' : at[1] == 'n' ? '\n' : '\\';
    unsigned count = 1;
    int length = 2;

    if (at[1] == 'x')
        assert_int_equal(sscanf(at, "\\x%2x%n", &byte, &length), 1);
    if (at[1] == '{')
        assert_int_equal(sscanf(at, "\\{%2x*%u}%n", &byte, &count, &length), 2);
    assert_true(vector->n + count <= BYTES_MAX);
    memset(vector->bytes + vector->n, (int)byte, count);
    vector->n += count;
    return at + length;
}

static bool parse(const char *line, struct vector *ret)
{
    int at = 0;

    if (line[0] == '#' || line[0] == '\n')
        return false;
    assert_int_equal(sscanf(line, "%63s %15s %63s %63s %n", ret->name, ret->verdict, ret->client,
                            ret->asked, &at),
                     4);
    ret->n = 0;
    for (const char *byte = line + at; *byte != '\n';) {
        if (*byte == '\\')
            byte = unescape(byte, ret);
        else
            ret->bytes[ret->n++] = (uint8_t)*byte++;
    }
    return true;
}

static const char *verdict_word(enum proxy_verdict verdict)
{
    return verdict == PROXY_GOOD ? "good" : verdict == PROXY_BAD ? "bad" : "more";
}

/* From a heap block of its very size, so that a sanitizer sees one byte too far. */
static enum proxy_verdict judge(const uint8_t *bytes, size_t n, unsigned accepts, bool is_datagram,
                                struct proxy_header *ret)
{
    uint8_t *copy = malloc(n ? n : 1);
    const char *reason = NULL;
    enum proxy_verdict verdict;

    memcpy(copy, bytes, n);
    verdict =
        proxy_header_read(copy, n, is_datagram ? PROXY_ACCEPTS_DATAGRAM : accepts, ret, &reason);
    free(copy);
    assert_int_equal(verdict == PROXY_BAD, reason != NULL);
    return verdict;
}

static void assert_addr(const char *name, const struct addr *addr, const char *wanted)
{
    char text[ADDR_TEXT_MAX];

    if (strcmp(wanted, "real") == 0) {
        assert_int_equal(addr->sa.sa_family, AF_UNSPEC);
        return;
    }
    if (strcmp(addr_format(addr, text), wanted) != 0)
        fail_msg("%s: %s instead of %s", name, text, wanted);
}

/* With `n` bytes of it there: right so far, or already the verdict; never another one. */
static void check_split(const struct vector *vector, size_t n, bool *is_decided)
{
    struct proxy_header header = {0};
    const char *word = verdict_word(judge(vector->bytes, n, BOTH, false, &header));

    if (*is_decided ? strcmp(word, vector->verdict) != 0
                    : strcmp(word, "more") != 0 && strcmp(word, vector->verdict) != 0)
        fail_msg("%s: %s at %zu of %zu bytes", vector->name, word, n, vector->n);
    *is_decided = strcmp(word, "more") != 0;
    if (strcmp(word, "good") == 0 && n < vector->n)
        fail_msg("%s: good at %zu of %zu bytes", vector->name, n, vector->n);
}

static void check_with_payload(struct vector *vector)
{
    static const char PAYLOAD[] = "PROXY TCP4 \r\n\r\n";
    struct proxy_header header = {0};

    memcpy(vector->bytes + vector->n, PAYLOAD, sizeof(PAYLOAD));
    assert_int_equal(judge(vector->bytes, vector->n + sizeof(PAYLOAD), BOTH, false, &header),
                     PROXY_GOOD);
    assert_int_equal(header.n_bytes, vector->n);
    assert_int_equal(header.is_local, strcmp(vector->client, "real") == 0);
    assert_addr(vector->name, &header.client, vector->client);
    assert_addr(vector->name, &header.asked, vector->asked);
}

static void check_vector(struct vector *vector)
{
    struct proxy_header header = {0};
    bool is_decided = false;
    const char *word;

    for (size_t n = 0; n <= vector->n; n++)
        check_split(vector, n, &is_decided);
    word = verdict_word(judge(vector->bytes, vector->n, BOTH, false, &header));
    if (strcmp(word, vector->verdict) != 0)
        fail_msg("%s: %s instead of %s", vector->name, word, vector->verdict);
    if (strcmp(word, "good") == 0)
        check_with_payload(vector);
}

static void test_vectors(void **state)
{
    FILE *file = fopen("tests/vectors/proxy.txt", "r");
    char line[4096];
    size_t n = 0;

    (void)state;
    assert_non_null(file);
    while (fgets(line, sizeof(line), file)) {
        struct vector vector;

        if (!parse(line, &vector))
            continue;
        check_vector(&vector);
        n++;
    }
    fclose(file);
    assert_true(n >= 120);
}

static void test_versions(void **state)
{
    struct addr unspec = {0};
    uint8_t out[PROXY_SEND_MAX];
    struct proxy_header header;

    (void)state;
    for (int version = 1; version <= 2; version++) {
        size_t n = proxy_header_write(out, version, false, &unspec, &unspec);
        unsigned mine = version == 1 ? PROXY_ACCEPTS_V1 : PROXY_ACCEPTS_V2;

        assert_int_equal(judge(out, n, mine, false, &header), PROXY_GOOD);
        assert_int_equal(judge(out, n, BOTH & ~mine, false, &header), PROXY_BAD);
        assert_int_equal(judge(out, 0, mine, false, &header), PROXY_MORE);
    }
}

static struct addr make(const char *host, uint16_t port)
{
    struct addr addr;

    assert_int_equal(addr_parse(host, &addr), 0);
    addr_set_port(&addr, port);
    return addr;
}

/* What is written is read back as what was meant. */
static void test_round_trip(void **state)
{
    static const struct {
        const char *client, *asked;
    } cases[] = {
        {"192.0.2.1", "198.51.100.2"},
        {"255.255.255.255", "0.0.0.0"},
        {"2001:db8::1", "2001:db8::2"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "1111:2222:3333:4444:5555:6666:7777:8888"},
        {"192.0.2.1", "2001:db8::2"},
        {"2001:db8::1", "192.0.2.1"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct addr client = make(cases[i].client, 65535);
        struct addr asked = make(cases[i].asked, 1);

        for (int way = 0; way < 3; way++) { /* version 1, version 2, version 2 in a datagram */
            struct proxy_header header = {0};
            uint8_t out[PROXY_SEND_MAX];
            size_t n = proxy_header_write(out, way ? 2 : 1, way == 2, &client, &asked);

            assert_true(n <= PROXY_SEND_MAX);
            assert_int_equal(judge(out, n, BOTH, way == 2, &header), PROXY_GOOD);
            assert_int_equal(header.n_bytes, n);
            assert_false(header.is_local);
            assert_true(addr_equal(&header.client, &client));
            assert_true(addr_equal(&header.asked, &asked));
        }
    }
}

static void test_written_bytes(void **state)
{
    static const char V1[] = "PROXY TCP4 192.0.2.1 198.51.100.2 1234 80\r\n";
    static const uint8_t V2[] =
        "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\1\xc6\x33\x64\2\x04\xd2\0\x50";
    struct addr client = make("192.0.2.1", 1234);
    struct addr asked = make("198.51.100.2", 80);
    struct addr unspec = {0};
    uint8_t out[PROXY_SEND_MAX];

    (void)state;
    assert_int_equal(proxy_header_write(out, 1, false, &client, &asked), sizeof(V1) - 1);
    assert_memory_equal(out, V1, sizeof(V1) - 1);
    assert_int_equal(proxy_header_write(out, 2, false, &client, &asked), 28);
    assert_memory_equal(out, V2, 28);
    assert_int_equal(proxy_header_write(out, 2, true, &client, &asked), 28);
    assert_int_equal(out[13], 0x12);
    assert_int_equal(proxy_header_write(out, 1, false, &unspec, &unspec), 15);
    assert_memory_equal(out, "PROXY UNKNOWN\r\n", 15);
    assert_int_equal(proxy_header_write(out, 2, false, &unspec, &unspec), 16);
    assert_memory_equal(out + 12, "\x20\0\0\0", 4);
    assert_int_equal(proxy_header_write(out, 1, false, &client, &unspec), 37);
    assert_memory_equal(out, "PROXY TCP4 192.0.2.1 0.0.0.0 1234 0\r\n", 37);
}

/* A datagram is whole or bad; by which transport the client came makes no difference. */
static void test_datagram(void **state)
{
    struct addr client = make("192.0.2.1", 1234);
    struct addr unspec = {0};
    struct proxy_header header;
    uint8_t out[PROXY_SEND_MAX];
    size_t n = proxy_header_write(out, 2, true, &client, &client);

    (void)state;
    for (size_t i = 0; i < n; i++)
        assert_int_equal(judge(out, i, PROXY_ACCEPTS_V2, true, &header), PROXY_BAD);
    assert_int_equal(judge(out, n, PROXY_ACCEPTS_V2, true, &header), PROXY_GOOD);
    assert_false(header.is_local);
    n = proxy_header_write(out, 2, false, &client, &client);
    assert_int_equal(judge(out, n, PROXY_ACCEPTS_V2, true, &header), PROXY_GOOD);
    assert_false(header.is_local);
    assert_true(addr_equal(&header.client, &client));
    n = proxy_header_write(out, 2, true, &unspec, &unspec);
    assert_int_equal(judge(out, n, PROXY_ACCEPTS_V2, true, &header), PROXY_GOOD);
    assert_true(header.is_local);
    n = proxy_header_write(out, 1, false, &client, &client);
    assert_int_equal(judge(out, n, BOTH, true, &header), PROXY_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),    cmocka_unit_test(test_versions),
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_written_bytes),
        cmocka_unit_test(test_datagram),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
