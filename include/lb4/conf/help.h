/* The text of lb4 -h. */
#ifndef LB4_CONF_HELP_H
#define LB4_CONF_HELP_H

#include <stdio.h>

void help_write(FILE *stream);

#endif
