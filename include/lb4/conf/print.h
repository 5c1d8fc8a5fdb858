/* The effective configuration as text (lb4 -T). */
#ifndef LB4_CONF_PRINT_H
#define LB4_CONF_PRINT_H

#include <stdio.h>

#include "lb4/conf/model.h"

/* Write every value, defaults too, in the grammar of the file: conf_read_text() and conf_check()
 * make the same configuration of it. `conf` is checked. Errors stay in the stream (ferror(3)). */
void conf_print(const struct conf *conf, FILE *stream);

/* "tcp", "udp", "both". */
const char *conf_transport_word(enum conf_transport transport);

/* "leastconn" ... */
const char *conf_balance_word(enum conf_balance balance);

enum { CONF_LISTEN_TEXT_MAX = ADDR_TEXT_MAX + 8 }; /* with the NUL */

/* "10.0.0.1:80", ":80", ":9000-9100"; returns `text`. */
const char *conf_format_listen(const struct conf_listen *listen,
                               char text[static CONF_LISTEN_TEXT_MAX]);

/* Parts of it: the directives outside of services; those of a service but for its addresses, a line
 * each, indented. */
void conf_print_globals(const struct conf *conf, FILE *stream);
void conf_print_policy(const struct conf_service *service, FILE *stream);

#endif
