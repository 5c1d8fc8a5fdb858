#include "lb4/lb4ctl/columns.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/base/number.h"
#include "lb4/base/scope.h"

struct column {
    size_t width;
    bool is_number; /* every cell is one, or "-" */
    bool is_duration;
    bool is_state;
};

/* Cells of all rows, row after row; the first row has the names. */
struct grid {
    char **cells;
    size_t n_columns;
    size_t n_rows;
    struct column *columns;
};

/* Columns, and names in a record, that hold seconds. */
static const char *const column_words[] = {"since", "age", "idle", "left", "ban_left", NULL};
static const char *const record_words[] = {"uptime", "last_reload_ago", "undone_in", NULL};

static bool is_one_of(const char *word, const char *const *words)
{
    while (*words && strcmp(*words, word) != 0)
        words++;
    return *words;
}

static const char RED[] = "\033[31m";
static const char YELLOW[] = "\033[33m";
static const char PLAIN[] = "\033[0m";

bool columns_are_in(const char *text)
{
    return memchr(text, '\t', strcspn(text, "\n"));
}

const char *columns_duration(uint64_t seconds, char text[static COLUMNS_DURATION_MAX])
{
    uint64_t minutes = seconds / 60;
    uint64_t hours = minutes / 60;

    if (minutes == 0)
        snprintf(text, COLUMNS_DURATION_MAX, "%" PRIu64 "s", seconds);
    else if (hours == 0)
        snprintf(text, COLUMNS_DURATION_MAX, "%" PRIu64 "m%" PRIu64 "s", minutes, seconds % 60);
    else if (hours < 24)
        snprintf(text, COLUMNS_DURATION_MAX, "%" PRIu64 "h%" PRIu64 "m", hours, minutes % 60);
    else
        snprintf(text, COLUMNS_DURATION_MAX, "%" PRIu64 "d%" PRIu64 "h", hours / 24, hours % 24);
    return text;
}

/* --- reading ---------------------------------------------------------------------------------- */

static size_t count(const char *text, char wanted)
{
    size_t n = 0;

    for (; *text; text++)
        n += *text == wanted;
    return n;
}

/* Missing cells are empty; those beyond the names are left out. */
static void split_row(char *line, char **cells, size_t n_columns)
{
    static char nothing[] = "";

    for (size_t i = 0; i < n_columns; i++) {
        char *cell = line ? strsep(&line, "\t") : nothing;

        cells[i] = cell;
    }
}

static int grid_init(struct grid *grid, char *text)
{
    char *rest = text;
    char *line;

    *grid = (struct grid){.n_columns = 1};
    for (const char *at = text; *at && *at != '\n'; at++)
        grid->n_columns += *at == '\t';
    grid->cells = calloc((count(text, '\n') + 1) * grid->n_columns, sizeof(*grid->cells));
    grid->columns = calloc(grid->n_columns, sizeof(*grid->columns));
    if (!grid->cells || !grid->columns)
        return -ENOMEM;
    while ((line = strsep(&rest, "\n"))) {
        if (*line)
            split_row(line, grid->cells + grid->n_rows++ * grid->n_columns, grid->n_columns);
    }
    return 0;
}

static void grid_fini(struct grid *grid)
{
    free(grid->cells);
    free(grid->columns);
}

static char *cell_at(const struct grid *grid, size_t row, size_t column)
{
    return grid->cells[row * grid->n_columns + column];
}

/* --- what is in a column ---------------------------------------------------------------------- */

static bool is_number(const char *text)
{
    return *text && text[strspn(text, "0123456789")] == '\0';
}

/* What is written for a cell; `text` is used where it is not the cell itself. */
static const char *shown(const struct column *column, const char *cell,
                         char text[static COLUMNS_DURATION_MAX])
{
    uint64_t seconds;

    if (column->is_duration && number_parse(cell, 0, UINT64_MAX, &seconds) == 0)
        return columns_duration(seconds, text);
    return cell;
}

static void measure(struct grid *grid, size_t index)
{
    struct column *column = &grid->columns[index];
    char text[COLUMNS_DURATION_MAX];

    column->is_duration = is_one_of(cell_at(grid, 0, index), column_words);
    column->is_state = strcmp(cell_at(grid, 0, index), "state") == 0;
    column->is_number = grid->n_rows > 1;
    column->width = strlen(cell_at(grid, 0, index));
    for (size_t row = 1; row < grid->n_rows; row++) {
        const char *cell = cell_at(grid, row, index);
        size_t width = strlen(shown(column, cell, text));

        column->width = width > column->width ? width : column->width;
        column->is_number = column->is_number && (is_number(cell) || strcmp(cell, "-") == 0);
    }
}

/* --- writing ---------------------------------------------------------------------------------- */

static const char *colour_of(const char *state)
{
    static const char *const yellow[] = {"suspect", "drain", "maint", "new"};

    if (strcmp(state, "down") == 0)
        return RED;
    for (size_t i = 0; i < sizeof(yellow) / sizeof(yellow[0]); i++) {
        if (strcmp(state, yellow[i]) == 0)
            return YELLOW;
    }
    return "";
}

static void write_cell(const struct grid *grid, size_t index, const char *text, const char *colour,
                       FILE *stream)
{
    const struct column *column = &grid->columns[index];
    int pad = (int)(column->width - strlen(text));

    if (index > 0)
        fputs("  ", stream);
    if (column->is_number)
        fprintf(stream, "%*s", pad, "");
    fprintf(stream, "%s%s%s", colour, text, *colour ? PLAIN : "");
    if (!column->is_number && index + 1 < grid->n_columns)
        fprintf(stream, "%*s", pad, "");
}

static void raise_case(char *text)
{
    for (; *text; text++) {
        if (*text >= 'a' && *text <= 'z')
            *text = (char)(*text - 'a' + 'A');
    }
}

static void write_names(const struct grid *grid, FILE *stream)
{
    for (size_t i = 0; i < grid->n_columns; i++) {
        char *name = cell_at(grid, 0, i);

        raise_case(name);
        write_cell(grid, i, name, "", stream);
    }
    fputc('\n', stream);
}

static void write_row(const struct grid *grid, size_t row, bool is_coloured, FILE *stream)
{
    char text[COLUMNS_DURATION_MAX];

    for (size_t i = 0; i < grid->n_columns; i++) {
        const struct column *column = &grid->columns[i];
        const char *cell = cell_at(grid, row, i);

        write_cell(grid, i, shown(column, cell, text),
                   is_coloured && column->is_state ? colour_of(cell) : "", stream);
    }
    fputc('\n', stream);
}

/* Names and values: no line of names, and the uptime is a duration. */
static void write_record(struct grid *grid, FILE *stream)
{
    static const struct column duration = {.is_duration = true};
    char text[COLUMNS_DURATION_MAX];

    for (size_t row = 1; row < grid->n_rows; row++) {
        bool is_duration = is_one_of(cell_at(grid, row, 0), record_words);
        const char *cell = cell_at(grid, row, 1);

        write_cell(grid, 0, cell_at(grid, row, 0), "", stream);
        fprintf(stream, "  %s\n", is_duration ? shown(&duration, cell, text) : cell);
    }
}

int columns_write(char *text, bool is_coloured, FILE *stream)
{
    struct grid grid;
    int error = grid_init(&grid, text);

    for (size_t i = 0; !error && i < grid.n_columns; i++)
        measure(&grid, i);
    if (!error && grid.n_columns == 2 && strcmp(cell_at(&grid, 0, 0), "name") == 0) {
        write_record(&grid, stream);
    } else if (!error) {
        write_names(&grid, stream);
        for (size_t row = 1; row < grid.n_rows; row++)
            write_row(&grid, row, is_coloured, stream);
    }
    grid_fini(&grid);
    return error;
}
