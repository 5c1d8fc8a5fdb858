/* A cursor walks the records; every length is checked against the end of the message before it is
 * used. Names are glibc's ns_name_uncompress()'s, which does the same, and gives up on pointers
 * that go round. */
#include "lb4/probe/srv.h"

#include <arpa/nameser.h>
#include <resolv.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    CNAMES_MAX = 8, /* from one name to the next; chosen */
    RR_FIXED = 10,  /* behind the owner: type, class, time, length; RFC 1035 4.1.3 */
    SRV_FIXED = 6   /* priority, weight, port; RFC 2782 */
};

/* RFC 1123 letters, and "_"; other bytes come escaped, with "\\". */
static bool is_host(const char *name)
{
    size_t n = strlen(name);

    return n > 0 && n <= CONF_HOST_MAX && name[0] != '.' && name[0] != '-' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == n;
}

static int compare_records(const void *left, const void *right)
{
    const struct srv_record *a = left;
    const struct srv_record *b = right;
    int order = strcasecmp(a->target, b->target);

    if (a->priority != b->priority)
        return a->priority < b->priority ? -1 : 1;
    if (order != 0)
        return order;
    return a->port < b->port ? -1 : a->port > b->port;
}

/* What is being read, and the best records so far. */
struct reading {
    const uint8_t *base;
    const uint8_t *end;
    const uint8_t *answers; /* the first of them */
    unsigned n_answers;
    char owner[NS_MAXDNAME];
    struct srv_record *records;
    size_t n;
    size_t max;
    bool is_cut;
};

/* One record of the answer; RFC 1035 4.1.3. */
struct rr {
    char owner[NS_MAXDNAME];
    unsigned type;
    unsigned class;
    const uint8_t *data;
    size_t n_data;
};

static unsigned get16(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

static size_t left(const struct reading *reading, const uint8_t *at)
{
    return (size_t)(reading->end - at);
}

/* Returns how many bytes the name takes at this place, or 0. */
static size_t read_name(const struct reading *reading, const uint8_t *at,
                        char ret[static NS_MAXDNAME])
{
    int n = at < reading->end
                ? ns_name_uncompress(reading->base, reading->end, at, ret, NS_MAXDNAME)
                : 0;

    return n > 0 ? (size_t)n : 0;
}

/* A name in the data of a record, which has to end where they end. */
static bool read_name_of(const struct reading *reading, const struct rr *rr, size_t from,
                         char ret[static NS_MAXDNAME])
{
    size_t n = from < rr->n_data ? read_name(reading, rr->data + from, ret) : 0;

    return n > 0 && from + n == rr->n_data;
}

/* Returns what follows it; NULL: it does not fit. */
static const uint8_t *read_rr(const struct reading *reading, const uint8_t *at, struct rr *ret)
{
    size_t n = read_name(reading, at, ret->owner);

    if (n == 0 || left(reading, at + n) < RR_FIXED)
        return NULL;
    at += n;
    ret->type = get16(at);
    ret->class = get16(at + 2);
    ret->n_data = get16(at + 8);
    ret->data = at + RR_FIXED;
    return left(reading, ret->data) < ret->n_data ? NULL : ret->data + ret->n_data;
}

static bool is_of(const struct rr *rr, const char *owner, unsigned type)
{
    return rr->class == ns_c_in && rr->type == type && strcasecmp(rr->owner, owner) == 0;
}

/* Behind the header and the one question. */
static bool find_answers(struct reading *reading)
{
    char question[NS_MAXDNAME];
    size_t n;

    if (left(reading, reading->base) < NS_HFIXEDSZ || get16(reading->base + 4) != 1)
        return false;
    reading->n_answers = get16(reading->base + 6);
    reading->answers = reading->base + NS_HFIXEDSZ;
    n = read_name(reading, reading->answers, question);
    if (n == 0 || left(reading, reading->answers + n) < NS_QFIXEDSZ)
        return false;
    reading->answers += n + NS_QFIXEDSZ;
    return true;
}

/* Returns whether the owner has another name. */
static bool follow_cname(struct reading *reading)
{
    const uint8_t *at = reading->answers;
    char target[NS_MAXDNAME];
    struct rr rr;

    for (unsigned i = 0; i < reading->n_answers; i++) {
        at = read_rr(reading, at, &rr);
        if (!at)
            return false;
        if (!is_of(&rr, reading->owner, ns_t_cname) || !read_name_of(reading, &rr, 0, target))
            continue;
        memcpy(reading->owner, target, sizeof(target));
        return true;
    }
    return false;
}

/* Of too many the first in order stay. */
static void keep(struct reading *reading, const struct srv_record *record)
{
    struct srv_record *last = reading->records;

    if (reading->n < reading->max) {
        reading->records[reading->n++] = *record;
        return;
    }
    reading->is_cut = true;
    for (size_t i = 1; i < reading->n; i++)
        if (compare_records(last, &reading->records[i]) < 0)
            last = &reading->records[i];
    if (reading->n > 0 && compare_records(record, last) < 0)
        *last = *record;
}

static void take_record(struct reading *reading, const struct rr *rr)
{
    struct srv_record record = {0};
    char target[NS_MAXDNAME];

    if (!read_name_of(reading, rr, SRV_FIXED, target) || !is_host(target))
        return;
    record.priority = (uint16_t)get16(rr->data);
    record.weight = (uint16_t)get16(rr->data + 2);
    record.port = (uint16_t)get16(rr->data + 4);
    memcpy(record.target, target, strlen(target));
    if (record.port != 0)
        keep(reading, &record);
}

static bool take_records(struct reading *reading)
{
    const uint8_t *at = reading->answers;
    struct rr rr;

    for (unsigned i = 0; i < reading->n_answers; i++) {
        at = read_rr(reading, at, &rr);
        if (!at)
            return false;
        if (is_of(&rr, reading->owner, ns_t_srv))
            take_record(reading, &rr);
    }
    return true;
}

int srv_parse(const uint8_t *answer, size_t n_bytes, const char *name, struct srv_set *ret)
{
    struct reading reading = {
        .base = answer, .end = answer + n_bytes, .records = ret->records, .max = ret->max};

    ret->is_cut = false;
    if (strlen(name) >= sizeof(reading.owner) || !find_answers(&reading))
        return SRV_MALFORMED;
    memcpy(reading.owner, name, strlen(name) + 1);
    for (int i = 0; i < CNAMES_MAX && follow_cname(&reading); i++)
        continue;
    if (!take_records(&reading))
        return SRV_MALFORMED;
    qsort(ret->records, reading.n, sizeof(*ret->records), compare_records);
    ret->is_cut = reading.is_cut;
    return (int)reading.n;
}
