/* The effective configuration as text (lb4 -T). */
#ifndef LB4_CONF_PRINT_H
#define LB4_CONF_PRINT_H

#include <stdio.h>

#include "lb4/conf/model.h"

/* Write every value, defaults too, in the grammar of the file: conf_read_text() and conf_check()
 * make the same configuration of it. `conf` is checked. Errors stay in the stream (ferror(3)). */
void conf_print(const struct conf *conf, FILE *stream);

/* Parts of it: the directives outside of services; those of a service but for its addresses, a line
 * each, indented; "tcp 10.0.0.1:80-89". */
void conf_print_globals(const struct conf *conf, FILE *stream);
void conf_print_policy(const struct conf_service *service, FILE *stream);
void conf_print_listen(const struct conf_listen *listen, FILE *stream);

#endif
