#include "lb4/shared/source_key.h"

#include <arpa/inet.h>
#include <stdio.h>

static uint64_t first_bits(uint64_t word, unsigned n)
{
    if (n == 0)
        return 0;
    return n >= 64 ? word : word & ~0ull << (64 - n);
}

static uint64_t read_word(const uint8_t *bytes)
{
    uint64_t word = 0;

    for (size_t i = 0; i < sizeof(word); i++)
        word = word << 8 | bytes[i];
    return word;
}

struct source_key source_key_of(const struct addr *client, unsigned prefix4, unsigned prefix6)
{
    struct source_key key = {0};

    if (client->sa.sa_family == AF_INET6) {
        const uint8_t *bytes = client->in6.sin6_addr.s6_addr;

        key.net[0] = first_bits(read_word(bytes), prefix6);
        key.net[1] = first_bits(read_word(bytes + 8), prefix6 > 64 ? prefix6 - 64 : 0);
        key.kind = AF_INET6 << 8 | prefix6;
    } else {
        key.net[0] = first_bits((uint64_t)ntohl(client->in4.sin_addr.s_addr) << 32, prefix4);
        key.kind = AF_INET << 8 | prefix4;
    }
    return key;
}

const char *source_format(const struct source_key *key, char text[static SOURCE_TEXT_MAX])
{
    unsigned bits = key->kind & 0xff;
    bool is_v6 = key->kind >> 8 == AF_INET6;
    uint8_t bytes[16];
    char host[INET6_ADDRSTRLEN];

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(key->net[i / 8] >> (56 - i % 8 * 8));
    inet_ntop(is_v6 ? AF_INET6 : AF_INET, bytes, host, sizeof(host));
    if (bits == (is_v6 ? 128 : 32))
        snprintf(text, SOURCE_TEXT_MAX, "%s", host);
    else
        snprintf(text, SOURCE_TEXT_MAX, "%s/%u", host, bits);
    return text;
}
