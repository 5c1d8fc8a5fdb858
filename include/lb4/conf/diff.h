/* The difference between two configurations, for people: what a reload is about to do, or has done.
 *
 *    + service dns                       + listener udp :53 of dns
 *    - server db/db3 10.0.0.13:5432      ~ weight db/db1 1 -> 2
 *    ~ timeout idle of db 1h -> 2h       ~ workers 2 -> 4 (at the next start)
 *
 * Pure, but for memory. */
#ifndef LB4_CONF_DIFF_H
#define LB4_CONF_DIFF_H

#include <stddef.h>
#include <stdio.h>

#include "lb4/conf/model.h"

/* Both are checked, and names have become addresses. Write a line for each difference. Returns how
 * many, or -ENOMEM. */
long conf_diff(const struct conf *before, const struct conf *after, FILE *stream);

/* The same for one service, both of the same name. */
long conf_diff_service(const struct conf_service *before, const struct conf_service *after,
                       FILE *stream);

/* NULL: there is none. */
const struct conf_service *conf_find_service(const struct conf *conf, const char *name);

#endif
