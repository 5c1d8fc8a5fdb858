/* A table as lb4 sends it: lines of cells with tabs between, the first of which has the names of
 * the columns. Cells are found by name, so that another lb4 may have more columns, or fewer. */
#ifndef LB4_LB4CTL_SHEET_H
#define LB4_LB4CTL_SHEET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sheet {
    char *text;   /* malloc */
    char **cells; /* malloc; the names, then row after row */
    size_t n_columns;
    size_t n_rows; /* without the names */
};

/* `text` is from malloc, and taken over, also on failure. Returns 0 or -ENOMEM; then it is empty.
 */
int sheet_init(struct sheet *rows, char *text);
void sheet_fini(struct sheet *rows); /* also one that is all zero */

/* "" = there is no such column, or no cell. */
const char *sheet_text(const struct sheet *rows, size_t row, const char *column);
/* false: it is no number, as "-"; *ret is 0 then. */
bool sheet_number(const struct sheet *rows, size_t row, const char *column, uint64_t *ret);

/* Of a table of "name" and "value". */
const char *sheet_value(const struct sheet *rows, const char *name);

#endif
