/* The difference between the servers of one service in two configurations: a part of conf/diff.h.
 * Pure, but for memory. */
#ifndef LB4_CONF_DIFF_SERVERS_H
#define LB4_CONF_DIFF_SERVERS_H

#include <stdio.h>

#include "lb4/conf/model.h"

/* Write a line for each server and each name that came, went or differs. Returns how many, or
 * -ENOMEM. */
long conf_diff_servers(const struct conf_service *before, const struct conf_service *after,
                       FILE *stream);

/* All servers of a service that came ('+') or went ('-') as a whole; returns how many. */
long conf_write_servers(char sign, const struct conf_service *service, FILE *stream);

#endif
