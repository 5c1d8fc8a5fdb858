#include "lb4/relay/proxy_header.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "lb4/base/crc32c.h"

static const uint8_t SIGNATURE[12] = {'\r', '\n', '\r', '\n', 0,   '\r',
                                      '\n', 'Q',  'U',  'I',  'T', '\n'};

enum {
    N_FIXED = 16, /* of version 2: the signature, version and command, family, length */
    N_IN4 = 12,
    N_IN6 = 36,
    N_UNIX = 216,
    N_TLV = 3,           /* a TLV's type and length */
    UNIQUE_ID_MAX = 128, /* the specification's */
    TYPE_CRC32C = 0x03,
    TYPE_UNIQUE_ID = 0x05,
    FAMILY_IN4 = 1,
    FAMILY_IN6 = 2,
    FAMILY_UNIX = 3,
    TRANSPORT_STREAM = 1,
    TRANSPORT_DGRAM = 2
};

struct fixed {
    unsigned command;
    unsigned family;
    unsigned transport;
    size_t n_bytes; /* of the whole header */
};

static enum proxy_verdict bad(const char **reason, const char *text)
{
    *reason = text;
    return PROXY_BAD;
}

static uint16_t read16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

/* Version 1
 * --------------------------------------------------------------------------------------*/

/* Decimal without a sign or a leading zero, 0 to 65535. */
static bool read_port(const char *word, uint16_t *ret)
{
    uint32_t port = 0;
    size_t n = strspn(word, "0123456789");

    if (n == 0 || n > 5 || word[n] != '\0' || (word[0] == '0' && n > 1))
        return false;
    for (size_t i = 0; i < n; i++)
        port = port * 10 + (uint32_t)(word[i] - '0');
    *ret = (uint16_t)port;
    return port <= UINT16_MAX;
}

static bool read_host(const char *word, int family, struct addr *ret)
{
    addr_any(family, 0, ret);
    return inet_pton(family, word,
                     family == AF_INET ? (void *)&ret->in4.sin_addr
                                       : (void *)&ret->in6.sin6_addr) == 1;
}

/* Exactly `n` words with one space between them; cuts `line`. */
static bool split_words(char *line, char *words[], size_t n)
{
    for (size_t i = 0; i < n; i++) {
        words[i] = line;
        line = strchr(line, ' ');
        if (!line != (i == n - 1))
            return false;
        if (line)
            *line++ = '\0';
    }
    return true;
}

static bool read_addresses(char *line, int family, struct proxy_header *ret)
{
    char *words[4];
    uint16_t ports[2];

    if (!split_words(line, words, 4) || !read_host(words[0], family, &ret->client) ||
        !read_host(words[1], family, &ret->asked) || !read_port(words[2], &ports[0]) ||
        !read_port(words[3], &ports[1]))
        return false;
    addr_set_port(&ret->client, ports[0]);
    addr_set_port(&ret->asked, ports[1]);
    addr_normalise(&ret->client);
    addr_normalise(&ret->asked);
    return true;
}

/* `line`: what follows "PROXY ", without CR LF. */
static enum proxy_verdict read_line(char *line, struct proxy_header *ret, const char **reason)
{
    static const char TCP4[] = "TCP4 ", TCP6[] = "TCP6 ", UNKNOWN[] = "UNKNOWN";
    size_t n_unknown = sizeof(UNKNOWN) - 1;

    if (strncmp(line, UNKNOWN, n_unknown) == 0 &&
        (line[n_unknown] == '\0' || line[n_unknown] == ' ')) {
        ret->is_local = true;
        return PROXY_GOOD;
    }
    if (strncmp(line, TCP4, sizeof(TCP4) - 1) == 0)
        return read_addresses(line + sizeof(TCP4) - 1, AF_INET, ret)
                   ? PROXY_GOOD
                   : bad(reason, "addresses of TCP4 expected");
    if (strncmp(line, TCP6, sizeof(TCP6) - 1) == 0)
        return read_addresses(line + sizeof(TCP6) - 1, AF_INET6, ret)
                   ? PROXY_GOOD
                   : bad(reason, "addresses of TCP6 expected");
    return bad(reason, "TCP4, TCP6 or UNKNOWN expected");
}

/* The length of the line with its CR LF; 0: not there; a CR or LF alone is bad wherever it is. */
static enum proxy_verdict find_end(const uint8_t *bytes, size_t n, size_t *ret, const char **reason)
{
    size_t limit = n < PROXY_V1_MAX ? n : PROXY_V1_MAX;

    for (size_t i = 0; i < limit; i++) {
        if (bytes[i] == '\n')
            return bad(reason, "LF without CR");
        if (bytes[i] != '\r')
            continue;
        if (i + 1 == limit)
            break;
        if (bytes[i + 1] != '\n')
            return bad(reason, "CR without LF");
        *ret = i + 2;
        return PROXY_GOOD;
    }
    return limit == PROXY_V1_MAX ? bad(reason, "line longer than 107 bytes") : PROXY_MORE;
}

static enum proxy_verdict read_v1(const uint8_t *bytes, size_t n, struct proxy_header *ret,
                                  const char **reason)
{
    static const char PROXY[] = "PROXY ";
    const size_t n_proxy = sizeof(PROXY) - 1;
    char line[PROXY_V1_MAX + 1] = {0};
    enum proxy_verdict verdict;
    size_t n_line = 0;

    if (memcmp(bytes, PROXY, n < n_proxy ? n : n_proxy) != 0)
        return bad(reason, "no PROXY header");
    verdict = find_end(bytes, n, &n_line, reason);
    if (verdict != PROXY_GOOD)
        return verdict;
    for (size_t i = n_proxy; i < n_line - 2; i++)
        line[i - n_proxy] = bytes[i] ? (char)bytes[i] : '?'; /* a NUL does not end the line */
    ret->n_bytes = n_line;
    return read_line(line, ret, reason);
}

/* Version 2
 * --------------------------------------------------------------------------------------*/

static uint32_t sum_without(const uint8_t *bytes, size_t n, size_t at)
{
    static const uint8_t ZEROS[4];
    uint32_t sum = crc32c(0, bytes, at);

    sum = crc32c(sum, ZEROS, sizeof(ZEROS));
    return crc32c(sum, bytes + at + sizeof(ZEROS), n - at - sizeof(ZEROS));
}

struct tlv {
    unsigned type;
    size_t at; /* of its value, in the header */
    size_t length;
};

/* What is wrong with it; NULL: nothing. */
static const char *judge_tlv(const uint8_t *bytes, size_t n, const struct tlv *tlv, bool *is_summed)
{
    const uint8_t *value = bytes + tlv->at;

    if (tlv->type == TYPE_UNIQUE_ID && tlv->length > UNIQUE_ID_MAX)
        return "unique id longer than 128 bytes";
    if (tlv->type != TYPE_CRC32C)
        return NULL;
    if (tlv->length != 4)
        return "CRC-32C not of 4 bytes";
    if (*is_summed)
        return "two CRC-32C";
    *is_summed = true;
    return sum_without(bytes, n, tlv->at) == ((uint32_t)read16(value) << 16 | read16(value + 2))
               ? NULL
               : "CRC-32C does not match";
}

static enum proxy_verdict read_tlvs(const uint8_t *bytes, size_t n, size_t at, const char **reason)
{
    bool is_summed = false;

    while (at < n) {
        const char *fault = "TLV beyond the header's end";
        struct tlv tlv = {.type = bytes[at], .at = at + N_TLV};

        if (n - at >= N_TLV)
            tlv.length = read16(bytes + at + 1);
        if (n - at >= N_TLV + tlv.length)
            fault = judge_tlv(bytes, n, &tlv, &is_summed);
        if (fault)
            return bad(reason, fault);
        at = tlv.at + tlv.length;
    }
    return PROXY_GOOD;
}

static bool is_known(const struct fixed *fixed)
{
    return fixed->family != 0 && fixed->transport != 0;
}

static size_t size_of_addresses(unsigned family)
{
    return family == FAMILY_IN4 ? N_IN4 : family == FAMILY_IN6 ? N_IN6 : N_UNIX;
}

static void read_pair(const uint8_t *bytes, unsigned family, struct proxy_header *ret)
{
    size_t size = family == FAMILY_IN4 ? 4 : 16;
    struct addr *addrs[2] = {&ret->client, &ret->asked};

    for (size_t i = 0; i < 2; i++) {
        addr_any(family == FAMILY_IN4 ? AF_INET : AF_INET6, read16(bytes + 2 * size + 2 * i),
                 addrs[i]);
        memcpy(family == FAMILY_IN4 ? (void *)&addrs[i]->in4.sin_addr
                                    : (void *)&addrs[i]->in6.sin6_addr,
               bytes + i * size, size);
        addr_normalise(addrs[i]);
    }
}

/* Judge the first 16 bytes as far as they are there; what is missing is taken for right. */
static enum proxy_verdict read_fixed(const uint8_t *bytes, size_t n, struct fixed *ret,
                                     const char **reason)
{
    if (memcmp(bytes, SIGNATURE, n < sizeof(SIGNATURE) ? n : sizeof(SIGNATURE)) != 0)
        return bad(reason, "no PROXY header");
    if (n > 12 && bytes[12] >> 4 != 2)
        return bad(reason, "version other than 2");
    if (n > 12 && (bytes[12] & 15) > 1)
        return bad(reason, "command other than LOCAL and PROXY");
    if (n < N_FIXED - 2)
        return PROXY_MORE;
    ret->command = bytes[12] & 15;
    ret->family = bytes[13] >> 4;
    ret->transport = bytes[13] & 15;
    if (ret->command && (ret->family > FAMILY_UNIX || ret->transport > TRANSPORT_DGRAM))
        return bad(reason, "family or transport that does not exist");
    if (n < N_FIXED)
        return PROXY_MORE;
    ret->n_bytes = N_FIXED + read16(bytes + 14);
    if (ret->n_bytes > PROXY_V2_MAX)
        return bad(reason, "header longer than 4096 bytes");
    if (ret->command && is_known(ret) && ret->n_bytes < N_FIXED + size_of_addresses(ret->family))
        return bad(reason, "length too small for the addresses");
    return n < ret->n_bytes ? PROXY_MORE : PROXY_GOOD;
}

static enum proxy_verdict read_v2(const uint8_t *bytes, size_t n, bool is_datagram,
                                  struct proxy_header *ret, const char **reason)
{
    struct fixed fixed = {0};
    enum proxy_verdict verdict = read_fixed(bytes, n, &fixed, reason);

    if (verdict != PROXY_GOOD)
        return verdict;
    ret->n_bytes = fixed.n_bytes;
    ret->is_local = true;
    if (!fixed.command || !is_known(&fixed))
        return PROXY_GOOD;
    if (fixed.family != FAMILY_UNIX && (is_datagram || fixed.transport == TRANSPORT_STREAM)) {
        ret->is_local = false;
        read_pair(bytes + N_FIXED, fixed.family, ret);
    }
    return read_tlvs(bytes, fixed.n_bytes, N_FIXED + size_of_addresses(fixed.family), reason);
}

enum proxy_verdict proxy_header_read(const uint8_t *bytes, size_t n, unsigned accepts,
                                     struct proxy_header *ret, const char **reason)
{
    bool is_datagram = accepts & PROXY_ACCEPTS_DATAGRAM;
    struct proxy_header header = {0};
    enum proxy_verdict verdict = PROXY_MORE;

    if (n > 0 && bytes[0] == SIGNATURE[0] && (is_datagram || accepts & PROXY_ACCEPTS_V2))
        verdict = read_v2(bytes, n, is_datagram, &header, reason);
    else if (n > 0 && !is_datagram && accepts & PROXY_ACCEPTS_V1)
        verdict = read_v1(bytes, n, &header, reason);
    else if (n > 0)
        return bad(reason, "no PROXY header");
    if (verdict == PROXY_GOOD)
        *ret = header;
    if (verdict == PROXY_MORE && is_datagram)
        return bad(reason, "datagram shorter than its PROXY header");
    return verdict;
}

/* To a server
 * ------------------------------------------------------------------------------------*/

static void as_in6(const struct addr *addr, struct in6_addr *ret)
{
    if (addr->sa.sa_family == AF_INET6) {
        *ret = addr->in6.sin6_addr;
        return;
    }
    memset(ret, 0, sizeof(*ret));
    if (addr->sa.sa_family != AF_INET)
        return;
    ret->s6_addr[10] = ret->s6_addr[11] = 0xff;
    memcpy(&ret->s6_addr[12], &addr->in4.sin_addr, 4);
}

static bool is_in4(const struct addr *client, const struct addr *asked)
{
    return client->sa.sa_family == AF_INET && asked->sa.sa_family != AF_INET6;
}

static void as_text(const struct addr *addr, bool in4, char text[static INET6_ADDRSTRLEN])
{
    static const struct in_addr WILDCARD;
    struct in6_addr in6;

    if (in4) {
        inet_ntop(AF_INET, addr->sa.sa_family == AF_INET ? &addr->in4.sin_addr : &WILDCARD, text,
                  INET6_ADDRSTRLEN);
        return;
    }
    as_in6(addr, &in6);
    inet_ntop(AF_INET6, &in6, text, INET6_ADDRSTRLEN);
}

static uint16_t port_of(const struct addr *addr)
{
    return addr->sa.sa_family == AF_UNSPEC ? 0 : addr_port(addr);
}

static size_t write_v1(uint8_t out[static PROXY_SEND_MAX], const struct addr *client,
                       const struct addr *asked)
{
    char texts[2][INET6_ADDRSTRLEN];
    char line[PROXY_SEND_MAX + 1];
    bool in4 = is_in4(client, asked);
    int n;

    if (client->sa.sa_family == AF_UNSPEC) {
        n = snprintf(line, sizeof(line), "PROXY UNKNOWN\r\n");
    } else {
        as_text(client, in4, texts[0]);
        as_text(asked, in4, texts[1]);
        n = snprintf(line, sizeof(line), "PROXY TCP%c %s %s %u %u\r\n", in4 ? '4' : '6', texts[0],
                     texts[1], port_of(client), port_of(asked));
    }
    memcpy(out, line, (size_t)n);
    return (size_t)n;
}

static void write16(uint8_t *out, uint16_t number)
{
    out[0] = (uint8_t)(number >> 8);
    out[1] = (uint8_t)number;
}

static size_t write_pair(uint8_t *out, const struct addr *client, const struct addr *asked)
{
    const struct addr *addrs[2] = {client, asked};
    bool in4 = is_in4(client, asked);
    size_t size = in4 ? 4 : 16;

    for (size_t i = 0; i < 2; i++) {
        struct in6_addr in6;

        as_in6(addrs[i], &in6);
        memcpy(out + i * size, &in6.s6_addr[16 - size], size);
        write16(out + 2 * size + 2 * i, port_of(addrs[i]));
    }
    return 2 * size + 4;
}

static size_t write_v2(uint8_t out[static PROXY_SEND_MAX], bool is_datagram,
                       const struct addr *client, const struct addr *asked)
{
    bool is_local = client->sa.sa_family == AF_UNSPEC;
    unsigned family = is_in4(client, asked) ? FAMILY_IN4 : FAMILY_IN6;
    unsigned transport = is_datagram ? TRANSPORT_DGRAM : TRANSPORT_STREAM;
    size_t n = is_local ? 0 : write_pair(out + N_FIXED, client, asked);

    memcpy(out, SIGNATURE, sizeof(SIGNATURE));
    out[12] = is_local ? 0x20 : 0x21;
    out[13] = is_local ? 0 : (uint8_t)(family << 4 | transport);
    write16(out + 14, (uint16_t)n);
    return N_FIXED + n;
}

size_t proxy_header_write(uint8_t out[static PROXY_SEND_MAX], int version, bool is_datagram,
                          const struct addr *client, const struct addr *asked)
{
    return version == 1 ? write_v1(out, client, asked) : write_v2(out, is_datagram, client, asked);
}
