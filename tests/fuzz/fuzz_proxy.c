/* Any bytes as a PROXY header. The first byte says how it is read: as a datagram or a stream, and
 * which versions are accepted. A verdict holds for every longer input, and what a header says is
 * written back as a header that says the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/relay/proxy_header.h"

static void check_written(const struct proxy_header *header, bool is_datagram)
{
    for (int version = is_datagram ? 2 : 1; version <= 2; version++) {
        struct proxy_header back = {0};
        uint8_t out[PROXY_SEND_MAX];
        const char *reason;
        size_t n = proxy_header_write(out, version, is_datagram, &header->client, &header->asked);

        if (n > PROXY_SEND_MAX ||
            proxy_header_read(out, n, is_datagram ? PROXY_ACCEPTS_DATAGRAM : 3, &back, &reason) !=
                PROXY_GOOD ||
            back.n_bytes != n || back.is_local != header->is_local)
            abort();
        if (!back.is_local && (!addr_equal(&back.client, &header->client) ||
                               !addr_equal(&back.asked, &header->asked)))
            abort();
    }
}

/* Of the same bytes, one less. */
static void check_shorter(const uint8_t *bytes, size_t n, unsigned accepts,
                          enum proxy_verdict verdict)
{
    struct proxy_header header;
    const char *reason;
    enum proxy_verdict before = proxy_header_read(bytes, n - 1, accepts, &header, &reason);

    if (before != PROXY_MORE && before != verdict)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    struct proxy_header header = {0};
    const char *reason = NULL;
    enum proxy_verdict verdict;
    bool is_datagram;
    unsigned accepts;

    if (n_bytes < 2)
        return 0;
    accepts = (data[0] & 7) ? data[0] & 7 : 3;
    is_datagram = accepts & PROXY_ACCEPTS_DATAGRAM;
    verdict = proxy_header_read(data + 1, n_bytes - 1, accepts, &header, &reason);
    if ((verdict == PROXY_BAD) != (reason != NULL))
        abort();
    if (verdict == PROXY_MORE && (is_datagram || n_bytes - 1 >= PROXY_V2_MAX))
        abort();
    if (verdict == PROXY_GOOD && (header.n_bytes > n_bytes - 1 || header.n_bytes > PROXY_V2_MAX))
        abort();
    if (verdict == PROXY_GOOD)
        check_written(&header, is_datagram);
    if (!is_datagram)
        check_shorter(data + 1, n_bytes - 1, accepts, verdict);
    return 0;
}
