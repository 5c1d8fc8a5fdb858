#include "lb4/lb4ctl/top_table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lb4/lb4ctl/columns.h"
#include "lb4/lb4ctl/figures.h"

/* --- columns ---------------------------------------------------------------------------------- */

enum { SERVICE, UP, SERVICE_ACTIVE, WAITING, SERVICE_NEW, SERVICE_IN, SERVICE_OUT, UDP };

static const struct top_column service_columns[] = {
    [SERVICE] = {"SERVICE", TOP_TEXT, 10, 100},      [UP] = {"UP", TOP_PART_OF, 5, 90},
    [SERVICE_ACTIVE] = {"ACTIVE", TOP_COUNT, 6, 80}, [WAITING] = {"WAIT", TOP_COUNT, 4, 75},
    [SERVICE_NEW] = {"NEW/S", TOP_RATE, 5, 70},      [SERVICE_IN] = {"IN/S", TOP_BYTES, 5, 61},
    [SERVICE_OUT] = {"OUT/S", TOP_BYTES, 5, 60},     [UDP] = {"UDP", TOP_COUNT, 5, 50},
};

enum { SERVER, STATE, SINCE, SERVER_ACTIVE, SERVER_NEW, WEIGHT, FAILS, WHY };

static const struct top_column server_columns[] = {
    [SERVER] = {"SERVER", TOP_TEXT, 12, 100},     [STATE] = {"STATE", TOP_STATE, 7, 95},
    [SINCE] = {"SINCE", TOP_SECONDS_FULL, 6, 70}, [SERVER_ACTIVE] = {"ACTIVE", TOP_COUNT, 6, 80},
    [SERVER_NEW] = {"NEW/S", TOP_RATE, 5, 60},    [WEIGHT] = {"WT", TOP_COUNT, 3, 30},
    [FAILS] = {"FAILS", TOP_COUNT, 5, 50},        [WHY] = {"WHY", TOP_TEXT, 8, 65},
};

enum { CLIENT, VIA, AGE, IDLE, IN, OUT, TOTAL, C_RTT, C_RETR, S_RTT, S_RETR };

static const struct top_column connection_columns[] = {
    [CLIENT] = {"CLIENT", TOP_TEXT, 17, 100}, [VIA] = {"SERVER", TOP_TEXT, 10, 75},
    [AGE] = {"AGE", TOP_SECONDS, 4, 40},      [IDLE] = {"IDLE", TOP_SECONDS, 4, 20},
    [IN] = {"IN/S", TOP_BYTES, 5, 91},        [OUT] = {"OUT/S", TOP_BYTES, 5, 90},
    [TOTAL] = {"TOTAL", TOP_BYTES, 5, 30},    [C_RTT] = {"C-RTT", TOP_MICROSECONDS, 5, 70},
    [C_RETR] = {"C-RX", TOP_COUNT, 4, 60},    [S_RTT] = {"S-RTT", TOP_MICROSECONDS, 5, 69},
    [S_RETR] = {"S-RX", TOP_COUNT, 4, 59},
};

#define LENGTH(array) (sizeof(array) / sizeof(*(array)))

const struct top_column *top_columns(enum top_part part, size_t *ret_n)
{
    static const struct {
        const struct top_column *columns;
        size_t n;
    } parts[TOP_PARTS] = {
        [TOP_SERVICES] = {service_columns, LENGTH(service_columns)},
        [TOP_SERVERS] = {server_columns, LENGTH(server_columns)},
        [TOP_CONNECTIONS] = {connection_columns, LENGTH(connection_columns)},
    };

    *ret_n = parts[part].n;
    return parts[part].columns;
}

int top_find_column(enum top_part part, const char *title)
{
    size_t n;
    const struct top_column *columns = top_columns(part, &n);

    for (size_t i = 0; i < n; i++)
        if (strcasecmp(columns[i].title, title) == 0)
            return (int)i;
    return TOP_UNSORTED;
}

/* --- filling ---------------------------------------------------------------------------------- */

static uint64_t number_of(const struct sheet *rows, size_t at, const char *column)
{
    uint64_t number;

    sheet_number(rows, at, column, &number);
    return number;
}

static struct top_cell number_cell(const struct sheet *rows, size_t at, const char *column)
{
    uint64_t number;

    if (!sheet_number(rows, at, column, &number))
        return (struct top_cell){.value = -1};
    return (struct top_cell){.value = (double)number};
}

static struct top_cell text_cell(const char *text)
{
    return (struct top_cell){.text = text};
}

/* Rates that are not known yet. */
static void clear_cells(struct top_row *row)
{
    for (size_t i = 0; i < TOP_COLUMNS_MAX; i++)
        row->cells[i] = (struct top_cell){.value = -1};
}

static void fill_service(struct top_row *row, const struct sheet *rows, size_t at)
{
    uint64_t n_up = number_of(rows, at, "servers_up");
    uint64_t n_servers = number_of(rows, at, "servers");

    snprintf(row->name, sizeof(row->name), "%s", sheet_text(rows, at, "service"));
    row->counts[0] = number_of(rows, at, "total") + number_of(rows, at, "udp_total");
    row->counts[1] = number_of(rows, at, "bytes_in");
    row->counts[2] = number_of(rows, at, "bytes_out");
    row->cells[SERVICE] = text_cell(row->name);
    snprintf(row->usable, sizeof(row->usable), "%llu/%llu", (unsigned long long)n_up,
             (unsigned long long)n_servers);
    row->cells[UP] = (struct top_cell){.text = row->usable,
                                       .value = n_servers > n_up ? (double)(n_servers - n_up) : 0};
    row->cells[SERVICE_ACTIVE] = number_cell(rows, at, "active");
    row->cells[WAITING] = number_cell(rows, at, "waiting");
    row->cells[UDP] = number_cell(rows, at, "udp_active");
}

/* The worst has the highest value. */
static double badness(const char *state)
{
    static const char *const states[] = {"up",    "new",     "removed",    "drain",
                                         "maint", "suspect", "unresolved", "down"};

    for (size_t i = 0; i < LENGTH(states); i++)
        if (strcmp(states[i], state) == 0)
            return (double)i;
    return 1;
}

static void fill_server(struct top_row *row, const struct sheet *rows, size_t at)
{
    const char *state = sheet_text(rows, at, "state");

    snprintf(row->name, sizeof(row->name), "%.70s/%.70s", sheet_text(rows, at, "service"),
             sheet_text(rows, at, "server"));
    row->counts[0] = number_of(rows, at, "total");
    row->cells[SERVER] = text_cell(row->name);
    row->cells[STATE] = (struct top_cell){.text = state, .value = badness(state)};
    row->cells[SINCE] = number_cell(rows, at, "since");
    row->cells[SERVER_ACTIVE] = number_cell(rows, at, "active");
    row->cells[WEIGHT] = number_cell(rows, at, "weight");
    row->cells[FAILS] = number_cell(rows, at, "connect_failures");
    row->cells[WHY] = text_cell(sheet_text(rows, at, "why"));
}

static void fill_connection(struct top_row *row, const struct sheet *rows, size_t at)
{
    snprintf(row->name, sizeof(row->name), "%.70s/%.70s", sheet_text(rows, at, "service"),
             sheet_text(rows, at, "server"));
    row->cells[CLIENT] = text_cell(sheet_text(rows, at, "client"));
    row->cells[VIA] = text_cell(row->name);
    row->cells[AGE] = number_cell(rows, at, "age");
    row->cells[IDLE] = number_cell(rows, at, "idle");
    row->cells[IN] = number_cell(rows, at, "in_per_s");
    row->cells[OUT] = number_cell(rows, at, "out_per_s");
    row->cells[TOTAL].value =
        (double)(number_of(rows, at, "bytes_in") + number_of(rows, at, "bytes_out"));
    row->cells[C_RTT] = number_cell(rows, at, "client_rtt_us");
    row->cells[C_RETR] = number_cell(rows, at, "client_retransmits");
    row->cells[S_RTT] = number_cell(rows, at, "server_rtt_us");
    row->cells[S_RETR] = number_cell(rows, at, "server_retransmits");
}

static void fill(struct top_row *row, enum top_part part, const struct sheet *rows, size_t at)
{
    clear_cells(row);
    switch (part) {
    case TOP_SERVICES:
        fill_service(row, rows, at);
        break;
    case TOP_SERVERS:
        fill_server(row, rows, at);
        break;
    case TOP_CONNECTIONS:
    case TOP_PARTS:
        fill_connection(row, rows, at);
        break;
    }
}

int top_table_init(struct top_table *table, enum top_part part, struct sheet *reading,
                   const char *only)
{
    *table = (struct top_table){.reading = *reading};
    *reading = (struct sheet){0};
    table->columns = top_columns(part, &table->n_columns);
    table->rows = calloc(table->reading.n_rows + 1, sizeof(*table->rows));
    table->sorted = calloc(table->reading.n_rows + 1, sizeof(struct top_row *));
    if (!table->rows || !table->sorted) {
        top_table_fini(table);
        return -ENOMEM;
    }
    for (size_t at = 0; at < table->reading.n_rows; at++) {
        if (*only && strcmp(sheet_text(&table->reading, at, "service"), only) != 0)
            continue;
        table->sorted[table->n_rows] = &table->rows[table->n_rows];
        fill(&table->rows[table->n_rows++], part, &table->reading, at);
    }
    return 0;
}

void top_table_fini(struct top_table *table)
{
    sheet_fini(&table->reading);
    free(table->rows);
    free(table->sorted);
    *table = (struct top_table){0};
}

/* --- rates ------------------------------------------------------------------------------------ */

/* Most stand where they stood. */
static const struct top_row *find_row(const struct top_table *table, const char *name, size_t guess)
{
    if (guess < table->n_rows && strcmp(table->rows[guess].name, name) == 0)
        return &table->rows[guess];
    for (size_t i = 0; i < table->n_rows; i++)
        if (strcmp(table->rows[i].name, name) == 0)
            return &table->rows[i];
    return NULL;
}

/* Counters of one that was removed and has come back begin anew. */
static double rate_of(const struct top_row *row, const struct top_row *past, size_t count,
                      double seconds)
{
    if (row->counts[count] < past->counts[count])
        return -1;
    return (double)(row->counts[count] - past->counts[count]) / seconds;
}

void top_table_rate(struct top_table *table, const struct top_table *before)
{
    double seconds = (double)(table->read_ns - before->read_ns) / 1e9;
    bool are_services = table->columns == service_columns;

    if (before->read_ns == 0 || table->read_ns <= before->read_ns ||
        table->columns == connection_columns)
        return;
    for (size_t i = 0; i < table->n_rows; i++) {
        struct top_row *row = &table->rows[i];
        const struct top_row *past = find_row(before, row->name, i);

        if (!past)
            continue;
        row->cells[are_services ? SERVICE_NEW : SERVER_NEW].value = rate_of(row, past, 0, seconds);
        if (are_services) {
            row->cells[SERVICE_IN].value = rate_of(row, past, 1, seconds);
            row->cells[SERVICE_OUT].value = rate_of(row, past, 2, seconds);
        }
    }
}

/* --- sorting ---------------------------------------------------------------------------------- */

struct order {
    enum top_kind kind;
    int column;
    bool is_reversed;
};

static int compare_cells(enum top_kind kind, const struct top_cell *a, const struct top_cell *b)
{
    if (kind == TOP_TEXT)
        return strcmp(a->text, b->text);
    return a->value > b->value ? -1 : a->value < b->value;
}

/* Equals stand as they were read. */
static int compare_rows(const void *left, const void *right, void *context)
{
    const struct top_row *a = *(struct top_row *const *)left;
    const struct top_row *b = *(struct top_row *const *)right;
    const struct order *order = context;
    int place = a < b ? -1 : a > b;
    int result = place;

    if (order->column != TOP_UNSORTED)
        result = compare_cells(order->kind, &a->cells[order->column], &b->cells[order->column]);
    if (order->is_reversed)
        result = -result;
    return result ? result : place;
}

void top_table_sort(struct top_table *table, int column, bool is_reversed)
{
    struct order order = {.column = column, .is_reversed = is_reversed};

    if (column != TOP_UNSORTED)
        order.kind = table->columns[column].kind;
    qsort_r(table->sorted, table->n_rows, sizeof(struct top_row *), compare_rows, &order);
}

/* --- text ------------------------------------------------------------------------------------- */

const char *top_cell_text(enum top_kind kind, const struct top_cell *cell,
                          char text[static TOP_CELL_MAX])
{
    uint64_t number = cell->value > 0 ? (uint64_t)cell->value : 0;

    if (cell->text)
        return *cell->text ? cell->text : "-";
    if (cell->value < 0)
        return "-";
    switch (kind) {
    case TOP_TEXT:
    case TOP_STATE:
    case TOP_PART_OF:
        break;
    case TOP_COUNT:
        return figures_count(number, text);
    case TOP_RATE:
        return figures_rate(cell->value, text);
    case TOP_BYTES:
        return figures_short(number, text);
    case TOP_SECONDS:
        return figures_span(number, text);
    case TOP_SECONDS_FULL:
        return columns_duration(number, text);
    case TOP_MICROSECONDS:
        return figures_us(number, text);
    }
    return "-";
}
