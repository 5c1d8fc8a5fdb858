/* A binary heap whose root is the last of those that are kept: the one to give way. */
#include "lb4/control/topmost.h"

#include <stdlib.h>
#include <string.h>

#include "lb4/base/number.h"

enum { ROW_MAX = 256 };

bool topmost_init(struct topmost *top, size_t most, size_t row_bytes,
                  int (*compare)(const void *a, const void *b))
{
    *top = (struct topmost){.row_bytes = row_bytes, .most = most, .compare = compare};
    top->rows = calloc(most, row_bytes);
    return top->rows && row_bytes <= ROW_MAX;
}

void topmost_fini(struct topmost *top)
{
    free(top->rows);
    *top = (struct topmost){0};
}

static char *at(const struct topmost *top, size_t i)
{
    return top->rows + i * top->row_bytes;
}

const void *topmost_row(const struct topmost *top, size_t i)
{
    return at(top, i);
}

static bool comes_before(const struct topmost *top, size_t i, size_t k)
{
    return top->compare(at(top, i), at(top, k)) < 0;
}

static void exchange(const struct topmost *top, size_t i, size_t k)
{
    char row[ROW_MAX];

    memcpy(row, at(top, i), top->row_bytes);
    memcpy(at(top, i), at(top, k), top->row_bytes);
    memcpy(at(top, k), row, top->row_bytes);
}

static void sift_up(const struct topmost *top, size_t i)
{
    for (; i > 0 && comes_before(top, (i - 1) / 2, i); i = (i - 1) / 2)
        exchange(top, i, (i - 1) / 2);
}

static void sift_down(const struct topmost *top)
{
    size_t i = 0;

    for (;;) {
        size_t last = i;

        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < top->n; child++)
            if (comes_before(top, last, child))
                last = child;
        if (last == i)
            return;
        exchange(top, i, last);
        i = last;
    }
}

void topmost_offer(struct topmost *top, const void *row)
{
    if (top->n < top->most) {
        memcpy(at(top, top->n), row, top->row_bytes);
        sift_up(top, top->n++);
    } else if (top->compare(row, top->rows) < 0) {
        memcpy(top->rows, row, top->row_bytes);
        sift_down(top);
    }
}

void topmost_sort(struct topmost *top)
{
    qsort(top->rows, top->n, top->row_bytes, top->compare);
}

/* --- the request ------------------------------------------------------------------------------ */

static bool read_number(struct command_call *call, size_t i, size_t *ret)
{
    uint64_t n;

    if (i == call->n_words || number_parse(call->words[i], 1, TOPMOST_MAX, &n) < 0) {
        command_fail(call, "%s %s: --busiest needs a number, 1..%d", call->words[0], call->words[1],
                     TOPMOST_MAX);
        return false;
    }
    *ret = (size_t)n;
    return true;
}

struct service *topmost_read(struct command_call *call, size_t *ret_n)
{
    const char *name = NULL;
    size_t n_names = 0;
    struct service *service;

    *ret_n = TOPMOST_USUAL;
    for (size_t i = 2; i < call->n_words; i++) {
        if (strcmp(call->words[i], "--busiest") == 0) {
            if (!read_number(call, ++i, ret_n))
                return NULL;
            continue;
        }
        name = call->words[i];
        n_names++;
    }
    if (n_names != 1) {
        command_fail(call, "usage: %s %s [--busiest N] SERVICE", call->words[0], call->words[1]);
        return NULL;
    }
    service = snapshot_find_service(call->from, name);
    if (!service)
        command_fail(call, "no service '%.64s'", name);
    return service;
}
