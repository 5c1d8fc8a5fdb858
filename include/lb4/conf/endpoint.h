/* The address forms of the configuration, as text into data. No look-ups, no I/O.
 *
 *   10.0.0.5:5432  [2001:db8::1]:5432  db.example:5432  :5432  unix:/path
 *   unix:@name  and but for these each with a range of ports, ":9000-9100", or (but for ":5432")
 *   without a port */
#ifndef LB4_CONF_ENDPOINT_H
#define LB4_CONF_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/base/addr.h"

enum { ENDPOINT_ERROR_MAX = 160 };

enum endpoint_kind {
    ENDPOINT_ADDR, /* a numeric address */
    ENDPOINT_ANY,  /* ":5432" */
    ENDPOINT_HOST, /* a host name (RFC 1123 letters, and "_") */
    ENDPOINT_UNIX  /* "unix:/path", absolute, or "unix:@name": at most CONF_PATH_MAX bytes */
};

struct endpoint {
    enum endpoint_kind kind;
    struct addr addr; /* for ENDPOINT_ADDR and ENDPOINT_ANY ([::]), normalised, with first_port */
    uint16_t first_port; /* 0 = none was written; a written 0 is an error */
    uint16_t last_port;  /* = first_port unless a range was written */
};

/* On false, `reterr` says what is wrong, without the input; *ret is then undefined. */
bool endpoint_parse(const char *text, struct endpoint *ret, char reterr[static ENDPOINT_ERROR_MAX]);

/* A network, "10.0.0.0/8", or one address. Judged only: nothing of this version uses it. */
bool endpoint_check_cidr(const char *text, char reterr[static ENDPOINT_ERROR_MAX]);

/* Can a server have this address, can a listener? false = no, with the reason in *reterr. */
bool endpoint_can_connect(const struct addr *addr, const char **reterr);
bool endpoint_can_listen(const struct addr *addr, const char **reterr);

#endif
