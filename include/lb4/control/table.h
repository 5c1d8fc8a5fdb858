/* What a reply says, written once for both forms. A table is text of columns with tabs between and
 * their names in the first line, or a JSON array of objects; a record is the table of "name" and
 * "value", or one JSON object. Thread: control. */
#ifndef LB4_CONTROL_TABLE_H
#define LB4_CONTROL_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/control/reply.h"

struct table {
    struct reply *reply;
    const char *const *columns; /* NULL behind the last */
    size_t n_rows;
    size_t n_cells; /* of the present row */
};

void table_begin(struct table *table, struct reply *reply, const char *const *columns);
void table_end(struct table *table);

/* Begin the next row; then a cell for each column, in order. */
void table_row(struct table *table);
/* Control bytes of a text become blanks; an empty one is "-" in the text form. */
void table_text(struct table *table, const char *text);
void table_number(struct table *table, uint64_t number);
void table_flag(struct table *table, bool flag); /* yes, no; true, false */
void table_unknown(struct table *table);         /* -, null */

/* Behind the last cell of a row, in JSON only: a further field, whose value the caller appends to
 * the reply if this returns true. */
bool table_json_field(struct table *table, const char *name);

struct record {
    struct reply *reply;
    size_t n_fields;
};

void record_begin(struct record *record, struct reply *reply);
void record_end(struct record *record);
void record_text(struct record *record, const char *name, const char *text);
void record_number(struct record *record, const char *name, uint64_t number);
void record_flag(struct record *record, const char *name, bool flag);

#endif
