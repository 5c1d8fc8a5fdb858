/* Tagged streams: every 16-byte block is a function of (seed, connection, direction, block index)
 * that can be read backwards, so that a lost, doubled, shifted or foreign byte is not only noticed
 * but named.
 *
 * A block is two little-endian words: the packed identity, scrambled by a multiplication that has
 * an inverse, and a hash of that word, which tells a genuine block of this run from chance. Streams
 * are addressed by byte offset; calls need not be aligned to blocks. Pure but for one seed that is
 * set once. */
#ifndef LB4_TESTS_TOOLS_TAG_H
#define LB4_TESTS_TOOLS_TAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TAG_BLOCK_BYTES = 16 };

enum tag_direction { TAG_UP, TAG_DOWN };

struct tag_stream {
    uint32_t id; /* connection, below 2^31 */
    enum tag_direction direction;
};

enum tag_result { TAG_SAME, TAG_DIFFERENT, TAG_FOREIGN };

/* What stands where another byte was expected. */
struct tag_fault {
    uint64_t offset;          /* of the first wrong byte in the stream */
    bool has_genuine;         /* a block of this run was found at or shortly after the offset */
    struct tag_stream stream; /* whose block that is */
    uint64_t block;           /* its index there */
};

void tag_set_seed(uint64_t seed);

/* Next number of a splitmix64 sequence; @state is any number. Not for secrets. */
uint64_t tag_random(uint64_t *state);

/* Write stream bytes [@offset, @offset + @length) to @buffer. */
void tag_fill(struct tag_stream stream, uint64_t offset, void *buffer, size_t length);

/* Compare @data with stream bytes from @offset on. TAG_FOREIGN: the wrong bytes belong to another
 * connection; TAG_DIFFERENT: to this one, elsewhere, or to none. @ret_fault is written unless
 * TAG_SAME is returned. */
enum tag_result tag_check(struct tag_stream stream, uint64_t offset, const void *data,
                          size_t length, struct tag_fault *ret_fault);

#endif
