#include "lb4/lb4ctl/rows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/base/number.h"

static size_t count_lines(const char *text)
{
    size_t n = 1;

    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static size_t count_columns(const char *text)
{
    size_t n = 1;

    for (; *text && *text != '\n'; text++)
        n += *text == '\t';
    return n;
}

/* Missing cells are empty; those beyond the names are left out. */
static void split_line(char *line, char **cells, size_t n_columns)
{
    static char nothing[] = "";

    for (size_t i = 0; i < n_columns; i++)
        cells[i] = line ? strsep(&line, "\t") : nothing;
}

int rows_init(struct rows *rows, char *text)
{
    size_t n_lines = 0;
    char *rest = text;
    char *line;

    *rows = (struct rows){.text = text, .n_columns = count_columns(text)};
    rows->cells = calloc(count_lines(text) * rows->n_columns, sizeof(*rows->cells));
    if (!rows->cells) {
        rows_fini(rows);
        return -ENOMEM;
    }
    while ((line = strsep(&rest, "\n"))) {
        if (*line)
            split_line(line, rows->cells + n_lines++ * rows->n_columns, rows->n_columns);
    }
    rows->n_rows = n_lines > 0 ? n_lines - 1 : 0;
    return 0;
}

void rows_fini(struct rows *rows)
{
    free(rows->cells);
    free(rows->text);
    *rows = (struct rows){0};
}

const char *rows_text(const struct rows *rows, size_t row, const char *column)
{
    for (size_t i = 0; row < rows->n_rows && i < rows->n_columns; i++)
        if (strcmp(rows->cells[i], column) == 0)
            return rows->cells[(row + 1) * rows->n_columns + i];
    return "";
}

bool rows_number(const struct rows *rows, size_t row, const char *column, uint64_t *ret)
{
    *ret = 0;
    return number_parse(rows_text(rows, row, column), 0, UINT64_MAX, ret) == 0;
}

const char *rows_value(const struct rows *rows, const char *name)
{
    for (size_t row = 0; row < rows->n_rows; row++)
        if (strcmp(rows_text(rows, row, "name"), name) == 0)
            return rows_text(rows, row, "value");
    return "";
}
