/* Configuration text into the model: the engine that walks lines and blocks and calls the handlers
 * of conf/directive.h. Flags enter through the same functions, line by line.
 *
 * Errors never stop the reading before CONF_ERRORS_MAX of them; what could be read is in the model,
 * so that conf_check() may run in any case. Thread: main, or control for a reload. */
#ifndef LB4_CONF_READ_H
#define LB4_CONF_READ_H

#include "lb4/conf/directive.h"
#include "lb4/conf/memory.h"
#include "lb4/conf/report.h"

/* Read `text`, which stays the caller's; `name` is copied, for places. Returns 0, or -EINVAL:
 * errors are in the report. `conf` comes from conf_init(), perhaps with other sources read. */
int conf_read_text(const char *name, const char *text, size_t n_bytes, struct conf *conf,
                   struct conf_report *report);

/* For flags: one line after another, and services as they open. `file` as in struct conf_place. */
void reader_init(struct reader *reader, struct conf *conf, struct conf_report *report,
                 const char *file);
/* Any line but braces. */
void reader_take_directive(struct reader *reader, const struct lex_line *line);
/* Ends the service before, if there is one. The place of the service is that of word `i`. */
void reader_open_service(struct reader *reader, const struct lex_line *line, size_t i,
                         const char *name);
/* End the block we are in: a service without a listener or a server is reported. */
void reader_close_block(struct reader *reader);

#endif
