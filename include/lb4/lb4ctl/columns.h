/* A table for people: columns aligned, numbers to the right, durations with units, the states of
 * servers in colour. */
#ifndef LB4_LB4CTL_COLUMNS_H
#define LB4_LB4CTL_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { COLUMNS_DURATION_MAX = 48 }; /* with the NUL */

/* Is it a table: does its first line have a tab? */
bool columns_are_in(const char *text);

/* Write a table of lines with tabs, the first of which has the names; `text` is changed. Seconds in
 * "since" and "uptime" get units. Returns 0 or -ENOMEM. */
int columns_write(char *text, bool is_coloured, FILE *stream);

/* "0s", "59s", "4m5s", "3h2m", "12d3h"; returns `text`. */
const char *columns_duration(uint64_t seconds, char text[static COLUMNS_DURATION_MAX]);

#endif
