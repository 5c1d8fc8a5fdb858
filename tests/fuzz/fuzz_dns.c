/* Any bytes as an answer to a DNS probe, and as the name that is asked for. The first byte says how
 * many bytes of the name follow; the rest is the answer. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/probe/dialogue_dns.h"

enum { ID = 0x1234 };

/* A good answer begins with the query, but for its flags, its counts and the case of letters. */
static void check_good(const struct dialogue_dns_query *query, const uint8_t *answer, size_t n)
{
    if (n < query->n_bytes || memcmp(answer, query->bytes, 2) != 0 || !(answer[2] & 0x80))
        abort();
    for (size_t i = 12; i < query->n_bytes; i++) {
        if ((answer[i] ^ query->bytes[i]) & ~0x20)
            abort();
    }
}

static void check_judge(const struct dialogue_dns_query *query, const uint8_t *answer, size_t n)
{
    const char *reason = NULL;

    switch (dialogue_dns_judge(query, answer, n, &reason)) {
    case DIALOGUE_STRAY:
        if (reason)
            abort();
        break;
    case DIALOGUE_GOOD:
        if (reason)
            abort();
        check_good(query, answer, n);
        break;
    case DIALOGUE_WRONG:
        if (!reason || !*reason)
            abort();
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    struct dialogue_dns_query query;
    size_t n_name;

    if (n_bytes == 0 || data[0] > n_bytes - 1)
        return 0;
    n_name = data[0];
    dialogue_dns_build(&query, data + 1, n_name, ID);
    if (query.n_bytes > DIALOGUE_DNS_QUERY_MAX || (query.n_bytes && query.n_bytes != n_name + 18))
        abort();
    if (query.n_bytes)
        check_judge(&query, data + 1 + n_name, n_bytes - 1 - n_name);
    return 0;
}
