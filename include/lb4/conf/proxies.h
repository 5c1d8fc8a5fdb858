/* The PROXY headers of a configuration: "accept-proxy from CIDR [CIDR...]" of a listener, whose
 * balancers are believed, and "send-proxy v1|v2" of a server. */
#ifndef LB4_CONF_PROXIES_H
#define LB4_CONF_PROXIES_H

#include <stdbool.h>
#include <stdio.h>

#include "lb4/base/prefix.h"
#include "lb4/conf/model.h"
#include "lb4/conf/report.h"

/* One more network. false: no memory. */
bool conf_proxies_add(struct conf_listen *listen, const struct prefix *prefix);
/* All are there: make the map of them. false: no memory. */
bool conf_proxies_compile(struct conf_listen *listen);
void conf_proxies_free(struct conf_listen *listen);

/* " accept-proxy from 10.0.0.0/8 2001:db8::/32", or nothing. */
void conf_proxies_print(const struct conf_listen *listen, FILE *stream);

/* Write a line for each listener of both that takes headers from others than before; returns how
 * many. */
long conf_proxies_diff(const struct conf_service *before, const struct conf_service *after,
                       FILE *stream);

/* "", " send-proxy v1", " send-proxy v2" */
const char *conf_send_proxy_text(const struct conf_server *server);
/* A line if they differ; returns 1 then, or 0. */
long conf_send_proxy_diff(const char *service, const struct conf_server *before,
                          const struct conf_server *after, FILE *stream);

/* A version 1 header is for TCP alone. */
void conf_proxies_check(const struct conf_service *service, struct conf_report *report);

#endif
