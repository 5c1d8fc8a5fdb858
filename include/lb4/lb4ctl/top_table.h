/* The three parts of lb4ctl top: services, servers, connections. A part is a table of cells with a
 * value each, made of what lb4 says, with rates by the difference to the reading before; and sorted
 * by any column. */
#ifndef LB4_LB4CTL_TOP_TABLE_H
#define LB4_LB4CTL_TOP_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/lb4ctl/sheet.h"

enum top_part { TOP_SERVICES, TOP_SERVERS, TOP_CONNECTIONS, TOP_PARTS };

enum {
    TOP_COLUMNS_MAX = 12,
    TOP_NAME_MAX = 160, /* of a row: SERVICE/SERVER, or an address; with the NUL */
    TOP_CELL_MAX = 64,
    TOP_COUNTS = 3,
    TOP_UNSORTED = -1 /* as lb4 sends them: services and servers of the configuration in its order,
                         the busiest connection first */
};

/* How a value is written, and sorted. */
enum top_kind {
    TOP_TEXT,
    TOP_STATE,   /* the value is how bad it is */
    TOP_PART_OF, /* "2/3": the value is what is missing */
    TOP_COUNT,
    TOP_RATE, /* of events */
    TOP_BYTES,
    TOP_SECONDS,      /* one unit */
    TOP_SECONDS_FULL, /* two */
    TOP_MICROSECONDS
};

struct top_column {
    const char *title;
    enum top_kind kind;
    size_t least; /* columns of the screen */
    int worth;    /* where there is no room, the least goes first */
};

struct top_cell {
    const char *text; /* of texts and states; points into the reading */
    double value;     /* < 0 = unknown */
};

struct top_row {
    char name[TOP_NAME_MAX];
    char usable[TOP_CELL_MAX];   /* of a service */
    uint64_t counts[TOP_COUNTS]; /* what rates are made of */
    struct top_cell cells[TOP_COLUMNS_MAX];
};

struct top_table {
    const struct top_column *columns;
    size_t n_columns;
    struct sheet reading;
    struct top_row *rows;    /* malloc; as they were read */
    struct top_row **sorted; /* malloc; the same, as they are shown */
    size_t n_rows;
    uint64_t read_ns; /* 0 = never, or by an lb4 that has gone */
};

/* By part. */
const struct top_column *top_columns(enum top_part part, size_t *ret_n);

/* The reading is taken over, also on failure. All of services other than `only` is left out; "" =
 * nothing is. Returns 0 or -ENOMEM: it is empty then. */
int top_table_init(struct top_table *table, enum top_part part, struct sheet *reading,
                   const char *only);
void top_table_fini(struct top_table *table); /* also one that is all zero */

/* Fill the rates in, by the reading before. */
void top_table_rate(struct top_table *table, const struct top_table *before);

/* By a column: texts from A, numbers from the largest, states from the worst; or the other way. */
void top_table_sort(struct top_table *table, int column, bool is_reversed);

/* The column of this title, in any case; TOP_UNSORTED: there is none. */
int top_find_column(enum top_part part, const char *title);

/* What is written in a cell; `text` is used where it is not there already. */
const char *top_cell_text(enum top_kind kind, const struct top_cell *cell,
                          char text[static TOP_CELL_MAX]);

#endif
