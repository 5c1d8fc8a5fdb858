#include "lb4/lb4ctl/top_view.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "lb4/lb4ctl/keys.h"
#include "lb4/lb4ctl/top_columns.h"

enum { ALL_PARTS_LINES = 9 }; /* with fewer only the part in focus is shown; chosen */

static const char *const help_lines[] = {
    "q, Ctrl-C     quit               Ctrl-Z      stop, `fg` brings it back",
    "1 2 3, Tab    go to a part       again, Enter  that part alone, and back",
    "< > or arrows, s   sort by the column beside     r   the other way",
    "up, down, PgUp, PgDn, Home, End   scroll          p   pause",
    "",
    "Sorted by no column, connections stand with the busiest first, services and",
    "servers as in the configuration. Rates are per second, 1.2k = 1,200.",
    "UP        servers that take clients now, of all",
    "WAIT      clients that wait for a server, or for a place on one",
    "UDP       sessions            FAILS   connects to the server that failed",
    "C-, S-    the client's and the server's leg of a connection:",
    "RTT, RX   round-trip time, and segments sent again since it began",
    "-         not known: a UDP session, a connect under way, the first reading",
};

/* --- readings --------------------------------------------------------------------------------- */

void top_view_init(struct top_view *view)
{
    *view = (struct top_view){.focus = TOP_CONNECTIONS};
    for (size_t i = 0; i < TOP_PARTS; i++) {
        view->sorts[i].column = TOP_UNSORTED;
        view->tables[i].columns = top_columns((enum top_part)i, &view->tables[i].n_columns);
    }
    view->sorts[TOP_SERVERS].column = top_find_column(TOP_SERVERS, "STATE");
}

void top_view_fini(struct top_view *view)
{
    for (size_t i = 0; i < TOP_PARTS; i++)
        top_table_fini(&view->tables[i]);
}

static void sort(struct top_view *view, enum top_part part)
{
    const struct top_sort *how = &view->sorts[part];

    if (view->tables[part].n_rows > 0)
        top_table_sort(&view->tables[part], how->column, how->is_reversed);
}

bool top_view_sort_by(struct top_view *view, const char *title)
{
    bool is_rate = strcasecmp(title, "rate") == 0;
    bool is_found = is_rate;

    for (size_t i = 0; i < TOP_PARTS; i++) {
        int column = top_find_column((enum top_part)i, title);

        if (column == TOP_UNSORTED && !(is_rate && i == TOP_CONNECTIONS))
            continue;
        view->sorts[i] = (struct top_sort){.column = column};
        is_found = true;
    }
    return is_found;
}

void top_view_take(struct top_view *view, enum top_part part, struct top_table *table)
{
    top_table_rate(table, &view->tables[part]);
    top_table_fini(&view->tables[part]);
    view->tables[part] = *table;
    *table = (struct top_table){0};
    sort(view, part);
}

/* --- keys ------------------------------------------------------------------------------------- */

/* -1 is a place as the others are: the order in which lb4 sends. */
static void move_sort(struct top_view *view, int step)
{
    struct top_sort *how = &view->sorts[view->focus];
    int n = (int)view->tables[view->focus].n_columns + 1;

    how->column = (how->column + 1 + step + n) % n - 1;
    how->is_reversed = false;
    sort(view, view->focus);
}

static void focus(struct top_view *view, enum top_part part)
{
    view->is_expanded = part == view->focus && !view->is_expanded;
    view->focus = part;
}

static void next_part(struct top_view *view, int step)
{
    view->focus = (enum top_part)(((int)view->focus + step + TOP_PARTS) % TOP_PARTS);
}

/* Beyond the end is put right when it is drawn. */
static void scroll(struct top_view *view, long step)
{
    size_t *at = &view->scrolled[view->focus];

    *at = step < 0 && *at < (size_t)-step ? 0 : *at + (size_t)step;
}

static bool scroll_key(struct top_view *view, int key)
{
    enum { PAGE = 10 };

    switch (key) {
    case KEY_UP:
        scroll(view, -1);
        return true;
    case KEY_DOWN:
        scroll(view, 1);
        return true;
    case KEY_PAGE_UP:
        scroll(view, -PAGE);
        return true;
    case KEY_PAGE_DOWN:
        scroll(view, PAGE);
        return true;
    case KEY_HOME:
        view->scrolled[view->focus] = 0;
        return true;
    case KEY_END:
        view->scrolled[view->focus] = view->tables[view->focus].n_rows;
        return true;
    default:
        return false;
    }
}

static bool sort_key(struct top_view *view, int key)
{
    struct top_sort *how = &view->sorts[view->focus];

    switch (key) {
    case 's':
    case '>':
    case KEY_RIGHT:
        move_sort(view, 1);
        return true;
    case '<':
    case KEY_LEFT:
        move_sort(view, -1);
        return true;
    case 'r':
        how->is_reversed = !how->is_reversed;
        sort(view, view->focus);
        return true;
    default:
        return false;
    }
}

static bool part_key(struct top_view *view, int key)
{
    switch (key) {
    case '1':
    case '2':
    case '3':
        focus(view, (enum top_part)(key - '1'));
        return true;
    case KEY_TAB:
        next_part(view, 1);
        return true;
    case KEY_BACK_TAB:
        next_part(view, -1);
        return true;
    case KEY_ENTER:
        view->is_expanded = !view->is_expanded;
        return true;
    default:
        return false;
    }
}

bool top_view_key(struct top_view *view, int key)
{
    if (key == '?' || key == 'h' || view->has_help) {
        view->has_help = !view->has_help;
        return true;
    }
    return sort_key(view, key) || part_key(view, key) || scroll_key(view, key);
}

/* --- lines of each part ----------------------------------------------------------------------- */

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* A quarter for services, four tenths for servers, the rest for connections; what one does not need
 * goes to the next. */
void top_view_share(const size_t n_rows[TOP_PARTS], size_t n_lines, size_t ret[TOP_PARTS])
{
    size_t left = n_lines > TOP_PARTS ? n_lines - TOP_PARTS : 0;
    size_t n_services = least(n_rows[TOP_SERVICES], left / 4 + (left % 4 > 0));
    size_t n_servers = least(n_rows[TOP_SERVERS], left * 2 / 5);
    size_t n_connections = least(n_rows[TOP_CONNECTIONS], left - n_services - n_servers);
    size_t n_spare = left - n_services - n_servers - n_connections;
    size_t more = least(n_spare, n_rows[TOP_SERVERS] - n_servers);

    n_servers += more;
    n_services += least(n_spare - more, n_rows[TOP_SERVICES] - n_services);
    ret[TOP_SERVICES] = 1 + n_services;
    ret[TOP_SERVERS] = 1 + n_servers;
    ret[TOP_CONNECTIONS] = n_lines > ret[TOP_SERVICES] + ret[TOP_SERVERS]
                               ? n_lines - ret[TOP_SERVICES] - ret[TOP_SERVERS]
                               : 0;
}

static void share(const struct top_view *view, size_t n_lines, size_t ret[TOP_PARTS])
{
    size_t n_rows[TOP_PARTS];

    for (size_t i = 0; i < TOP_PARTS; i++) {
        n_rows[i] = view->tables[i].n_rows;
        ret[i] = 0;
    }
    if (view->is_expanded || n_lines < ALL_PARTS_LINES)
        ret[view->focus] = n_lines;
    else
        top_view_share(n_rows, n_lines, ret);
}

/* --- drawing ---------------------------------------------------------------------------------- */

static bool is_right(const struct top_column *column)
{
    return column->kind != TOP_TEXT && column->kind != TOP_STATE;
}

static void write_cell(struct screen *screen, const struct top_column *column,
                       enum screen_style style, const char *text, size_t width)
{
    if (is_right(column))
        screen_right(screen, style, text, width);
    else
        screen_left(screen, style, text, width);
}

static const char *sort_mark(const struct top_view *view, const struct screen *screen,
                             enum top_part part, size_t column)
{
    const struct top_sort *how = &view->sorts[part];
    bool is_up = view->tables[part].columns[column].kind == TOP_TEXT;

    if (how->column != (int)column || !screen->is_styled)
        return "";
    if (how->is_reversed)
        is_up = !is_up;
    if (screen->is_utf8)
        return is_up ? "\xe2\x96\xb2" : "\xe2\x96\xbc";
    return is_up ? "^" : "v";
}

/* The first has the number of the part, and how many rows are below the last; the mark of the
 * sorting may stand in the blank before a title. */
static void write_names(const struct top_view *view, struct screen *screen, enum top_part part,
                        const struct top_widths *widths, size_t n_below)
{
    const struct top_table *table = &view->tables[part];
    enum screen_style style =
        part == view->focus && screen->is_styled ? SCREEN_REVERSE : SCREEN_BOLD;
    char text[TOP_CELL_MAX];

    for (size_t i = 0; i < table->n_columns; i++) {
        const struct top_column *column = &table->columns[i];
        bool is_blank_before = i > 0 && !is_right(column);
        int n = 0;

        if (widths->n[i] == 0)
            continue;
        if (i == 0 && screen->is_styled)
            n = snprintf(text, sizeof(text), "%d:", (int)part + 1);
        n += snprintf(text + n, sizeof(text) - (size_t)n, "%s%s", column->title,
                      sort_mark(view, screen, part, i));
        if (i == 0 && n_below > 0)
            snprintf(text + n, sizeof(text) - (size_t)n, " +%zu", n_below);
        if (is_blank_before)
            screen_left(screen, style, "", 1);
        write_cell(screen, column, style, text, widths->n[i] + (i > 0 && !is_blank_before));
    }
    screen_left(screen, style, "", screen->is_styled ? screen->width : 0);
}

static enum screen_style cell_style(const struct top_column *column, const struct top_cell *cell)
{
    if (column->kind == TOP_STATE && strcmp(cell->text, "up") != 0)
        return strcmp(cell->text, "down") == 0 ? SCREEN_RED : SCREEN_YELLOW;
    if (column->kind == TOP_PART_OF && cell->value > 0)
        return strncmp(cell->text, "0/", 2) == 0 ? SCREEN_RED : SCREEN_YELLOW;
    return SCREEN_PLAIN;
}

static void write_row(const struct top_table *table, struct screen *screen,
                      const struct top_row *row, const struct top_widths *widths)
{
    char text[TOP_CELL_MAX];

    for (size_t i = 0; i < table->n_columns; i++) {
        const struct top_column *column = &table->columns[i];
        const struct top_cell *cell = &row->cells[i];

        if (widths->n[i] == 0)
            continue;
        if (i > 0)
            screen_left(screen, SCREEN_PLAIN, "", 1);
        write_cell(screen, column, cell_style(column, cell),
                   top_cell_text(column->kind, cell, text), widths->n[i]);
    }
}

static void draw_part(struct top_view *view, struct screen *screen, enum top_part part,
                      size_t n_lines)
{
    const struct top_table *table = &view->tables[part];
    size_t n_shown = n_lines > 0 ? least(table->n_rows, n_lines - 1) : 0;
    size_t first = least(view->scrolled[part], table->n_rows - n_shown);
    struct top_widths natural;
    struct top_widths widths;

    if (n_lines == 0)
        return;
    view->scrolled[part] = first;
    top_columns_natural(table, screen, &natural);
    top_columns_fit(table, &natural, screen->width, &widths);
    write_names(view, screen, part, &widths, table->n_rows - n_shown - first);
    screen_next(screen);
    for (size_t i = 0; i < n_lines - 1; i++) {
        if (i < n_shown)
            write_row(table, screen, table->sorted[first + i], &widths);
        screen_next(screen);
    }
}

static void draw_help(struct screen *screen, size_t n_lines)
{
    static const size_t n_help = sizeof(help_lines) / sizeof(help_lines[0]);

    for (size_t i = 0; i < n_lines; i++) {
        screen_left(screen, SCREEN_PLAIN, i < n_help ? help_lines[i] : "", screen->width);
        screen_next(screen);
    }
}

static void draw_foot(const struct top_view *view, struct screen *screen)
{
    if (*view->message)
        screen_left(screen, SCREEN_REVERSE, view->message, screen->width);
    else if (view->has_help)
        screen_left(screen, SCREEN_PLAIN, "any key: back", screen->width);
    else
        screen_left(screen, SCREEN_PLAIN,
                    "q quit  ? help  s < > sort  r reverse  1 2 3 Tab part  p pause",
                    screen->width);
}

static void draw_head(const struct top_view *view, struct screen *screen)
{
    if (view->is_paused)
        screen_left(screen, SCREEN_REVERSE, "PAUSED ", 7);
    screen_left(screen, SCREEN_BOLD, view->head, screen->width);
}

void top_view_draw(struct top_view *view, struct screen *screen)
{
    size_t n_lines = screen->height > 2 ? screen->height - 2 : 0;
    size_t lines[TOP_PARTS];

    draw_head(view, screen);
    screen_next(screen);
    share(view, n_lines, lines);
    if (view->has_help)
        draw_help(screen, n_lines);
    for (size_t i = 0; !view->has_help && i < TOP_PARTS; i++)
        draw_part(view, screen, (enum top_part)i, lines[i]);
    if (screen->height > 1)
        draw_foot(view, screen);
}

/* --- lists ------------------------------------------------------------------------------------ */

void top_view_measure(const struct top_view *view, const struct screen *screen, size_t *ret_width,
                      size_t *ret_height)
{
    *ret_width = screen_width(screen, view->head) + 1;
    *ret_height = 2; /* and then with a line between */
    for (size_t i = 0; i < TOP_PARTS; i++) {
        struct top_widths natural;
        size_t width;

        top_columns_natural(&view->tables[i], screen, &natural);
        width = top_columns_sum(&view->tables[i], &natural);
        *ret_width = width > *ret_width ? width : *ret_width;
        *ret_height += view->tables[i].n_rows + 1 + (i > 0);
    }
}

void top_view_list(struct top_view *view, struct screen *screen)
{
    screen_left(screen, SCREEN_PLAIN, view->head, screen->width);
    screen_next(screen);
    screen_next(screen);
    for (size_t i = 0; i < TOP_PARTS; i++) {
        draw_part(view, screen, (enum top_part)i, view->tables[i].n_rows + 1);
        screen_next(screen);
    }
}
