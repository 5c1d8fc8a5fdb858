/* The effective configuration as text (lb4 -T). */
#ifndef LB4_CONF_PRINT_H
#define LB4_CONF_PRINT_H

#include <stdio.h>

#include "lb4/conf/model.h"

/* Write every value, defaults too, in the grammar of the file: conf_read_text() and conf_check()
 * make the same configuration of it. `conf` is checked. Errors stay in the stream (ferror(3)). */
void conf_print(const struct conf *conf, FILE *stream);

#endif
