#include "lb4/base/crc32c.h"

/* The remainders of the 16 values of four bits, for the reflected polynomial 0x82f63b78: a header
 * is short and comes once for each connection. */
static const uint32_t REMAINDERS[16] = {
    0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
    0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

uint32_t crc32c(uint32_t sum, const void *bytes, size_t n)
{
    const uint8_t *at = bytes;
    uint32_t rest = ~sum;

    for (size_t i = 0; i < n; i++) {
        rest ^= at[i];
        rest = (rest >> 4) ^ REMAINDERS[rest & 15];
        rest = (rest >> 4) ^ REMAINDERS[rest & 15];
    }
    return ~rest;
}
