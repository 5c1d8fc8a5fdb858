#include "lb4/control/table.h"

#include <assert.h>
#include <inttypes.h>

/* --- values of either form -------------------------------------------------------------------- */

static void append_plain(struct reply *reply, const char *text)
{
    if (!*text)
        reply_text(reply, "-");
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        char shown = byte < 0x20 || byte == 0x7f ? ' ' : *text;

        reply_append(reply, &shown, 1);
    }
}

static void append_text(struct reply *reply, const char *text)
{
    if (reply->is_json)
        reply_json_string(reply, text);
    else
        append_plain(reply, text);
}

static void append_number(struct reply *reply, uint64_t number)
{
    reply_format(reply, "%" PRIu64, number);
}

static void append_flag(struct reply *reply, bool flag)
{
    if (reply->is_json)
        reply_text(reply, flag ? "true" : "false");
    else
        reply_text(reply, flag ? "yes" : "no");
}

static void append_key(struct reply *reply, const char *name, bool is_first)
{
    reply_text(reply, is_first ? "" : ",");
    reply_json_string(reply, name);
    reply_text(reply, ":");
}

/* --- tables ----------------------------------------------------------------------------------- */

void table_begin(struct table *table, struct reply *reply, const char *const *columns)
{
    *table = (struct table){.reply = reply, .columns = columns};
    if (reply->is_json) {
        reply_text(reply, "[");
        return;
    }
    for (size_t i = 0; columns[i]; i++)
        reply_format(reply, "%s%s", i ? "\t" : "", columns[i]);
    reply_text(reply, "\n");
}

static void end_row(struct table *table)
{
    if (table->n_rows > 0)
        reply_text(table->reply, table->reply->is_json ? "}" : "\n");
}

void table_end(struct table *table)
{
    end_row(table);
    if (table->reply->is_json)
        reply_text(table->reply, "]\n");
}

void table_row(struct table *table)
{
    end_row(table);
    if (table->reply->is_json)
        reply_text(table->reply, table->n_rows > 0 ? ",{" : "{");
    table->n_rows++;
    table->n_cells = 0;
}

static void begin_cell(struct table *table)
{
    assert(table->columns[table->n_cells]);
    if (table->reply->is_json)
        append_key(table->reply, table->columns[table->n_cells], table->n_cells == 0);
    else if (table->n_cells > 0)
        reply_text(table->reply, "\t");
    table->n_cells++;
}

void table_text(struct table *table, const char *text)
{
    begin_cell(table);
    append_text(table->reply, text);
}

void table_number(struct table *table, uint64_t number)
{
    begin_cell(table);
    append_number(table->reply, number);
}

void table_flag(struct table *table, bool flag)
{
    begin_cell(table);
    append_flag(table->reply, flag);
}

void table_unknown(struct table *table)
{
    begin_cell(table);
    reply_text(table->reply, table->reply->is_json ? "null" : "-");
}

bool table_json_field(struct table *table, const char *name)
{
    if (table->reply->is_json)
        append_key(table->reply, name, false);
    return table->reply->is_json;
}

/* --- records ---------------------------------------------------------------------------------- */

void record_begin(struct record *record, struct reply *reply)
{
    *record = (struct record){.reply = reply};
    reply_text(reply, reply->is_json ? "{" : "name\tvalue\n");
}

void record_end(struct record *record)
{
    if (record->reply->is_json)
        reply_text(record->reply, "}\n");
}

static void begin_field(struct record *record, const char *name)
{
    if (record->reply->is_json)
        append_key(record->reply, name, record->n_fields == 0);
    else
        reply_format(record->reply, "%s\t", name);
    record->n_fields++;
}

static void end_field(struct record *record)
{
    if (!record->reply->is_json)
        reply_text(record->reply, "\n");
}

void record_text(struct record *record, const char *name, const char *text)
{
    begin_field(record, name);
    append_text(record->reply, text);
    end_field(record);
}

void record_number(struct record *record, const char *name, uint64_t number)
{
    begin_field(record, name);
    append_number(record->reply, number);
    end_field(record);
}

void record_flag(struct record *record, const char *name, bool flag)
{
    begin_field(record, name);
    append_flag(record->reply, flag);
    end_field(record);
}
