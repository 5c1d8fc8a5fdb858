/* Where the log goes, and in which form. Plain data, part of conf/model.h. */
#ifndef LB4_CONF_LOG_PLACE_H
#define LB4_CONF_LOG_PLACE_H

#include <stdbool.h>

#include "lb4/conf/bounds.h"

enum conf_log_kind { CONF_LOG_STDERR, CONF_LOG_FILE, CONF_LOG_SYSLOG };
enum { CONF_FACILITY_DAEMON = 3 }; /* RFC 3164 4.1.1 */

struct conf_log {
    enum conf_log_kind kind;
    bool is_json;
    int facility;                 /* CONF_LOG_SYSLOG: see log_facility_word() */
    char path[CONF_FILE_MAX + 1]; /* CONF_LOG_FILE: absolute */
};

#endif
