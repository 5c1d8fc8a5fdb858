/* Which columns of a part fit on a line, and how wide each is. Pure but for the texts. */
#ifndef LB4_LB4CTL_TOP_COLUMNS_H
#define LB4_LB4CTL_TOP_COLUMNS_H

#include <stddef.h>

#include "lb4/lb4ctl/screen.h"
#include "lb4/lb4ctl/top_table.h"

struct top_widths {
    size_t n[TOP_COLUMNS_MAX]; /* columns of the screen, without the blank before; 0 = left out */
};

/* What every column would like to have: the widest of its texts, at least what it needs. */
void top_columns_natural(const struct top_table *table, const struct screen *screen,
                         struct top_widths *ret);

/* Columns of least worth go first until the rest fits with the least that each needs; what is left
 * then is given to those that would like more, from the left. The first always stays. */
void top_columns_fit(const struct top_table *table, const struct top_widths *natural, size_t width,
                     struct top_widths *ret);

/* With the blanks between. */
size_t top_columns_sum(const struct top_table *table, const struct top_widths *widths);

#endif
