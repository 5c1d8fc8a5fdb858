#include "lb4/lb4ctl/top_columns.h"

void top_columns_natural(const struct top_table *table, const struct screen *screen,
                         struct top_widths *ret)
{
    char text[TOP_CELL_MAX];

    for (size_t i = 0; i < table->n_columns; i++) {
        const struct top_column *column = &table->columns[i];

        ret->n[i] = column->least;
        for (size_t row = 0; row < table->n_rows; row++) {
            const struct top_cell *cell = &table->rows[row].cells[i];
            size_t n = screen_width(screen, top_cell_text(column->kind, cell, text));

            ret->n[i] = n > ret->n[i] ? n : ret->n[i];
        }
    }
}

size_t top_columns_sum(const struct top_table *table, const struct top_widths *widths)
{
    size_t n = 0;

    for (size_t i = 0; i < table->n_columns; i++)
        n += widths->n[i] ? widths->n[i] + (n > 0) : 0;
    return n;
}

static void drop_least(const struct top_table *table, struct top_widths *widths)
{
    size_t least = 0;

    for (size_t i = 1; i < table->n_columns; i++)
        if (widths->n[i] && (least == 0 || table->columns[i].worth < table->columns[least].worth))
            least = i;
    widths->n[least] = 0;
}

static size_t count(const struct top_table *table, const struct top_widths *widths)
{
    size_t n = 0;

    for (size_t i = 0; i < table->n_columns; i++)
        n += widths->n[i] > 0;
    return n;
}

void top_columns_fit(const struct top_table *table, const struct top_widths *natural, size_t width,
                     struct top_widths *ret)
{
    size_t left;

    for (size_t i = 0; i < table->n_columns; i++) {
        size_t least = table->columns[i].least;

        ret->n[i] = least < natural->n[i] ? least : natural->n[i];
    }
    while (count(table, ret) > 1 && top_columns_sum(table, ret) > width)
        drop_least(table, ret);
    left = top_columns_sum(table, ret);
    left = left < width ? width - left : 0;
    for (size_t i = 0; i < table->n_columns; i++) {
        size_t more = ret->n[i] ? natural->n[i] - ret->n[i] : 0;

        more = more < left ? more : left;
        ret->n[i] += more;
        left -= more;
    }
}
