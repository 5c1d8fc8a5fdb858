/* The words behind a listener's address: interface, v6only, fastopen, defer-accept, mark, mode.
 * Thread: main at the start, control at a reload. */
#ifndef LB4_CONF_LISTEN_WORDS_H
#define LB4_CONF_LISTEN_WORDS_H

#include <stdbool.h>

#include "lb4/conf/model.h"
#include "lb4/conf/report.h"

enum { CONF_LISTEN_WORDS_MAX = 128 }; /* with the NUL */

/* As in the file, a blank before each word; "" when there are none. Returns `text`. */
const char *conf_format_listen_words(const struct conf_listen *listen,
                                     char text[static CONF_LISTEN_WORDS_MAX]);

bool conf_listen_words_equal(const struct conf_listen *a, const struct conf_listen *b);

/* Warn of a defer-accept that makes clients wait, as the server speaks first. */
void conf_check_listen_words(const struct conf_service *service, struct conf_report *report);

#endif
