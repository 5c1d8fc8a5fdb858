/* What lb4ctl top shows, and how it is laid out on a screen of any size: which columns there is
 * room for, and how many lines each part gets. */
#ifndef LB4_LB4CTL_TOP_VIEW_H
#define LB4_LB4CTL_TOP_VIEW_H

#include <stdbool.h>
#include <stddef.h>

#include "lb4/lb4ctl/screen.h"
#include "lb4/lb4ctl/top_table.h"

struct top_sort {
    int column; /* TOP_UNSORTED ... */
    bool is_reversed;
};

struct top_view {
    struct top_table tables[TOP_PARTS]; /* empty until they are read */
    struct top_sort sorts[TOP_PARTS];
    size_t scrolled[TOP_PARTS]; /* rows above the first that is shown */
    enum top_part focus;
    bool is_expanded; /* that part alone */
    bool has_help;
    bool is_paused;
    char head[512];    /* the first line */
    char message[600]; /* the last line, "" = which keys there are */
};

/* Sorted as they are at the begin; nothing is read yet. */
void top_view_init(struct top_view *view);
void top_view_fini(struct top_view *view);

/* Sort every part that has a column of this title; "rate" = the busiest first. false: none has. */
bool top_view_sort_by(struct top_view *view, const char *title);

/* A new reading of one part, which is taken over, with its time: rates are made, and it is sorted.
 */
void top_view_take(struct top_view *view, enum top_part part, struct top_table *table);

/* Do what a key says. Those that are about the program itself are not known here: false. */
bool top_view_key(struct top_view *view, int key);

/* Of `n_lines` of the screen, those of each part with its line of names; by how many rows each has.
 */
void top_view_share(const size_t n_rows[TOP_PARTS], size_t n_lines, size_t ret[TOP_PARTS]);

/* Write the whole frame, which screen_begin() has begun. */
void top_view_draw(struct top_view *view, struct screen *screen);

/* The first line and all rows in all columns, for a file: the frame it needs, and that written. */
void top_view_measure(const struct top_view *view, const struct screen *screen, size_t *ret_width,
                      size_t *ret_height);
void top_view_list(struct top_view *view, struct screen *screen);

#endif
