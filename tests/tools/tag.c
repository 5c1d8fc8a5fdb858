#include "tag.h"

#include <string.h>

/* Odd, so that multiplying is a permutation of the 64-bit words; the second is its inverse modulo
 * 2^64. */
static const uint64_t scramble = 0x9e3779b97f4a7c15u;
static const uint64_t unscramble = 0xf1de83e19937733du;
static uint64_t run_seed;

static uint64_t mix(uint64_t word)
{
    word ^= word >> 30;
    word *= 0xbf58476d1ce4e5b9u;
    word ^= word >> 27;
    word *= 0x94d049bb133111ebu;
    return word ^ (word >> 31);
}

uint64_t tag_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15u;
    return mix(*state);
}

void tag_set_seed(uint64_t seed)
{
    run_seed = mix(seed + 1);
}

static void make_block(struct tag_stream stream, uint64_t index, uint64_t ret_words[2])
{
    uint64_t packed = (uint64_t)stream.id << 33 | (index & 0xffffffffu) << 1 | stream.direction;

    ret_words[0] = (packed ^ run_seed) * scramble;
    ret_words[1] = mix(ret_words[0] ^ run_seed);
}

static bool read_block(const uint8_t *bytes, struct tag_stream *ret_stream, uint64_t *ret_index)
{
    uint64_t words[2];

    memcpy(words, bytes, sizeof(words));
    if (words[1] != mix(words[0] ^ run_seed))
        return false;
    uint64_t packed = (words[0] * unscramble) ^ run_seed;
    ret_stream->id = (uint32_t)(packed >> 33);
    ret_stream->direction = packed & 1 ? TAG_DOWN : TAG_UP;
    *ret_index = (packed >> 1) & 0xffffffffu;
    return true;
}

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

void tag_fill(struct tag_stream stream, uint64_t offset, void *buffer, size_t length)
{
    uint8_t *out = buffer;
    uint64_t words[2];

    while (length > 0) {
        size_t skip = offset % TAG_BLOCK_BYTES;
        size_t part = min_size(TAG_BLOCK_BYTES - skip, length);
        make_block(stream, offset / TAG_BLOCK_BYTES, words);
        memcpy(out, (const uint8_t *)words + skip, part);
        out += part;
        offset += part;
        length -= part;
    }
}

/* Look for a whole block of this run at any alignment. From the start of the wrong block, not from
 * its first wrong byte: blocks that differ only in the connection begin with the same four bytes.
 */
static void identify(const uint8_t *data, size_t length, struct tag_fault *fault)
{
    for (size_t i = 0; i + TAG_BLOCK_BYTES <= length && i < 3 * TAG_BLOCK_BYTES; i++) {
        if (read_block(data + i, &fault->stream, &fault->block)) {
            fault->has_genuine = true;
            return;
        }
    }
}

static enum tag_result describe(struct tag_stream stream, const uint8_t *data, size_t length,
                                struct tag_fault *ret_fault)
{
    identify(data, length, ret_fault);
    if (ret_fault->has_genuine && ret_fault->stream.id != stream.id)
        return TAG_FOREIGN;
    return TAG_DIFFERENT;
}

enum tag_result tag_check(struct tag_stream stream, uint64_t offset, const void *data,
                          size_t length, struct tag_fault *ret_fault)
{
    const uint8_t *in = data;
    uint64_t words[2];

    while (length > 0) {
        size_t skip = offset % TAG_BLOCK_BYTES;
        size_t part = min_size(TAG_BLOCK_BYTES - skip, length);
        const uint8_t *wanted = (const uint8_t *)words + skip;
        make_block(stream, offset / TAG_BLOCK_BYTES, words);
        if (memcmp(in, wanted, part) != 0) {
            size_t same = 0;
            while (in[same] == wanted[same])
                same++;
            *ret_fault = (struct tag_fault){.offset = offset + same};
            return describe(stream, in, length, ret_fault);
        }
        in += part;
        offset += part;
        length -= part;
    }
    return TAG_SAME;
}
