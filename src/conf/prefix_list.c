#include "lb4/conf/prefix_list.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lb4/conf/file.h"
#include "lb4/conf/memory.h"

enum {
    SETTLE_MS = 100, /* one that was written to less long ago may not be complete; chosen */
    LOOK_MS = 20,
    LOOKS = 100 /* then it counts as being written */
};

/* --- a text ----------------------------------------------------------------------------------- */

struct row {
    struct prefix prefix;
    uint32_t line;
};

struct rows {
    struct row *rows;
    size_t n;
    size_t cap;
};

static int rows_add(struct rows *rows, const struct row *row)
{
    if (rows->n == rows->cap) {
        size_t cap = rows->cap ? 2 * rows->cap : 256;
        void *moved = reallocarray(rows->rows, cap, sizeof(*rows->rows));

        if (!moved)
            return -ENOMEM;
        rows->rows = moved;
        rows->cap = cap;
    }
    rows->rows[rows->n++] = *row;
    return 0;
}

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\r';
}

/* The word of a line, [*from, *to). false: there is none. */
static bool find_word(const char *line, size_t n, size_t *from, size_t *to)
{
    const char *comment = memchr(line, '#', n);
    size_t at = 0;

    if (comment)
        n = (size_t)(comment - line);
    while (n > 0 && is_blank(line[n - 1]))
        n--;
    while (at < n && is_blank(line[at]))
        at++;
    *from = at;
    *to = n;
    return at < n;
}

/* `place`: of the line. */
static int take_line(struct rows *rows, struct conf_place place, const char *line, size_t n,
                     struct conf_report *report)
{
    struct row row = {.line = place.line};
    char error[PREFIX_ERROR_MAX];
    char quote[CONF_QUOTE_MAX];
    size_t from;
    size_t to;

    if (!find_word(line, n, &from, &to))
        return 0;
    place.column = (uint32_t)from + 1;
    if (rows->n == CONF_PREFIXES_MAX) {
        conf_report_error(report, &place, "more than %d networks", CONF_PREFIXES_MAX);
        return -E2BIG;
    }
    if (prefix_parse(line + from, to - from, &row.prefix, NULL, error))
        return rows_add(rows, &row);
    conf_report_error(report, &place, "%s: %s; one of them a line, '#' begins a comment",
                      conf_quote(line + from, to - from, quote), error);
    return 0;
}

static int take_lines(struct rows *rows, const char *file, const char *text, size_t n_bytes,
                      struct conf_report *report)
{
    static const char byte_order_mark[] = "\xef\xbb\xbf";
    const char *end = text + n_bytes;
    uint32_t number = 0;
    int error = 0;

    if (n_bytes >= 3 && memcmp(text, byte_order_mark, 3) == 0)
        text += 3;
    while (!error && text < end && !report->has_more_errors) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        const char *next = stop ? stop + 1 : end;

        error = take_line(rows, (struct conf_place){file, ++number, 1}, text,
                          (size_t)((stop ? stop : end) - text), report);
        text = next;
    }
    return error;
}

static int compare_rows(const void *left, const void *right)
{
    const struct row *a = left;
    const struct row *b = right;
    int order = prefix_compare(&a->prefix, &b->prefix);

    return order != 0 ? order : (a->line > b->line) - (a->line < b->line);
}

static int put_rows(struct conf_prefix_list *list, struct rows *rows)
{
    list->prefixes = calloc(rows->n + 1, sizeof(*list->prefixes));
    list->lines = calloc(rows->n + 1, sizeof(*list->lines));
    if (!list->prefixes || !list->lines)
        return -ENOMEM;
    if (rows->n > 0)
        qsort(rows->rows, rows->n, sizeof(*rows->rows), compare_rows);
    for (size_t i = 0; i < rows->n; i++) {
        if (i > 0 && prefix_compare(&rows->rows[i].prefix, &rows->rows[i - 1].prefix) == 0)
            continue;
        list->prefixes[list->n] = rows->rows[i].prefix;
        list->lines[list->n++] = rows->rows[i].line;
    }
    return 0;
}

int prefix_list_parse(struct conf_prefix_list *list, const char *text, size_t n_bytes,
                      struct conf_report *report)
{
    size_t n_before = report->n_errors;
    struct rows rows = {0};
    int error = take_lines(&rows, list->file, text, n_bytes, report);

    if (!error && report->n_errors == n_before)
        error = put_rows(list, &rows);
    free(rows.rows);
    if (error == -ENOMEM)
        return error;
    return report->n_errors == n_before ? 0 : -EINVAL;
}

void prefix_list_fini(struct conf_prefix_list *list)
{
    free(list->prefixes);
    free(list->lines);
    list->prefixes = NULL;
    list->lines = NULL;
    list->n = 0;
}

/* --- files ------------------------------------------------------------------------------------ */

static bool is_settled(const struct stat *status)
{
    struct timespec now;
    int64_t age_ms;

    clock_gettime(CLOCK_REALTIME, &now);
    age_ms = (now.tv_sec - status->st_mtim.tv_sec) * (int64_t)1000 +
             (now.tv_nsec - status->st_mtim.tv_nsec) / 1000000;
    return age_ms < 0 || age_ms >= SETTLE_MS;
}

static ssize_t load_settled(const char *path, char **ret_text, struct stat *ret_status)
{
    const struct timespec look = {.tv_nsec = LOOK_MS * 1000000L};

    for (int i = 0; i < LOOKS; i++) {
        ssize_t n = conf_load(path, CONF_LIST_MAX_BYTES, ret_text, ret_status);

        if (n < 0 || is_settled(ret_status))
            return n;
        free(*ret_text);
        *ret_text = NULL;
        nanosleep(&look, NULL);
    }
    return -EAGAIN;
}

static int fill(struct conf_prefix_list *list, const struct conf_place *place,
                struct conf_report *report)
{
    struct stat status = {0};
    char *text = NULL;
    ssize_t n = load_settled(list->file, &text, &status);
    char quote[CONF_QUOTE_MAX];
    int error;

    if (n < 0) {
        conf_report_error(report, place, "%s: %s",
                          conf_quote(list->file, strlen(list->file), quote),
                          n == -EFBIG ? "larger than 64 MiB" : conf_load_error_text((int)n));
        return (int)n;
    }
    error = prefix_list_parse(list, text, (size_t)n, report);
    free(text);
    list->read_s = status.st_mtim.tv_sec;
    list->read_ns = status.st_mtim.tv_nsec;
    if (error == -ENOMEM)
        conf_report_error(report, place, "out of memory");
    return error;
}

static struct conf_prefix_list *list_new(struct conf *conf, const char *path)
{
    struct conf_prefix_list *list = calloc(1, sizeof(*list));

    if (!list)
        return NULL;
    list->next = conf->lists;
    list->file = conf_add_file(conf, path);
    conf->lists = list;
    return list->file ? list : NULL;
}

/* One that was bad is not told of again. */
const struct conf_prefix_list *prefix_list_read(struct conf *conf, const char *path,
                                                const struct conf_place *place,
                                                struct conf_report *report)
{
    struct conf_prefix_list *list;

    for (list = conf->lists; list; list = list->next)
        if (list->file && strcmp(list->file, path) == 0)
            return list;
    list = list_new(conf, path);
    if (!list)
        conf_report_error(report, place, "out of memory");
    return list && fill(list, place, report) == 0 ? list : NULL;
}

void prefix_list_free_all(struct conf *conf)
{
    while (conf->lists) {
        struct conf_prefix_list *list = conf->lists;

        conf->lists = list->next;
        prefix_list_fini(list);
        free(list);
    }
}

void prefix_list_compare(const struct conf_prefix_list *before,
                         const struct conf_prefix_list *after, size_t *ret_added,
                         size_t *ret_removed)
{
    size_t i = 0;
    size_t k = 0;

    *ret_added = 0;
    *ret_removed = 0;
    while (i < before->n && k < after->n) {
        int order = prefix_compare(&before->prefixes[i], &after->prefixes[k]);

        *ret_removed += order < 0;
        *ret_added += order > 0;
        i += order <= 0;
        k += order >= 0;
    }
    *ret_removed += before->n - i;
    *ret_added += after->n - k;
}
