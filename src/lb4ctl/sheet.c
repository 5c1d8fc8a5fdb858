#include "lb4/lb4ctl/sheet.h"

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

int sheet_init(struct sheet *rows, char *text)
{
    size_t n_lines = 0;
    char *rest = text;
    char *line;

    *rows = (struct sheet){.text = text, .n_columns = count_columns(text)};
    rows->cells = calloc(count_lines(text) * rows->n_columns, sizeof(*rows->cells));
    if (!rows->cells) {
        sheet_fini(rows);
        return -ENOMEM;
    }
    while ((line = strsep(&rest, "\n"))) {
        if (*line)
            split_line(line, rows->cells + n_lines++ * rows->n_columns, rows->n_columns);
    }
    rows->n_rows = n_lines > 0 ? n_lines - 1 : 0;
    return 0;
}

void sheet_fini(struct sheet *rows)
{
    free(rows->cells);
    free(rows->text);
    *rows = (struct sheet){0};
}

const char *sheet_text(const struct sheet *rows, size_t row, const char *column)
{
    for (size_t i = 0; row < rows->n_rows && i < rows->n_columns; i++)
        if (strcmp(rows->cells[i], column) == 0)
            return rows->cells[(row + 1) * rows->n_columns + i];
    return "";
}

bool sheet_number(const struct sheet *rows, size_t row, const char *column, uint64_t *ret)
{
    *ret = 0;
    return number_parse(sheet_text(rows, row, column), 0, UINT64_MAX, ret) == 0;
}

const char *sheet_value(const struct sheet *rows, const char *name)
{
    for (size_t row = 0; row < rows->n_rows; row++)
        if (strcmp(sheet_text(rows, row, "name"), name) == 0)
            return sheet_text(rows, row, "value");
    return "";
}
