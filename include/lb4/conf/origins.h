/* From where the servers of a service are reached: `source`, and `interface` and `mark` of a
 * server. Thread: main at the start, control at a reload. */
#ifndef LB4_CONF_ORIGINS_H
#define LB4_CONF_ORIGINS_H

#include <stdbool.h>
#include <stdio.h>

#include "lb4/base/origin.h"
#include "lb4/conf/model.h"
#include "lb4/conf/report.h"

enum {
    /* " source A,A interface I mark N", with the NUL */
    CONF_ORIGIN_TEXT_MAX = 32 + ORIGIN_SOURCES_MAX * ADDR_TEXT_MAX + 12 + IF_NAMESIZE + 16
};

/* What counts for a server of the service: `source` where it has none of its own. */
void conf_origin(const struct origin *service_source, const struct origin *own, struct origin *ret);

/* Is one of the sources of the server's family? A name may have addresses of any. */
void conf_check_origins(const struct conf_service *service, struct conf_report *report);

/* Has a server a mark? */
bool conf_has_marks(const struct conf *conf);

/* As in the file, a blank before each word; "" for NULL. Returns `text`. */
const char *conf_format_origin(const struct origin *origin, char text[static CONF_ORIGIN_TEXT_MAX]);

/* A line about the difference of two servers' own. Returns how many: 0 or 1. */
long conf_diff_origin(const char *service, const struct conf_server *before,
                      const struct conf_server *after, FILE *stream);

#endif
