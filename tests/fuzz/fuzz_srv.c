/* Any bytes as an answer to a question for SRV records. The first byte says how many bytes of the
 * name that was asked for follow; the rest is the answer. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/probe/srv.h"

enum { RECORDS_MAX = 4 };

static void check_record(const struct srv_record *record)
{
    if (record->port == 0 || !record->target[0] || strpbrk(record->target, "\\\"; \t\r\n"))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    struct srv_record records[RECORDS_MAX];
    struct srv_set set = {.records = records, .max = RECORDS_MAX};
    char name[256] = "";
    size_t n_name;
    int n;

    if (n_bytes == 0 || data[0] > n_bytes - 1)
        return 0;
    n_name = data[0];
    memcpy(name, data + 1, n_name);
    n = srv_parse(data + 1 + n_name, n_bytes - 1 - n_name, name, &set);
    if (n < SRV_MALFORMED || n > RECORDS_MAX)
        abort();
    for (int i = 0; i < n; i++)
        check_record(&records[i]);
    return 0;
}
