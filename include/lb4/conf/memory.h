/* Life of a struct conf: everything in it is on the heap and belongs to it alone.
 *
 * Places (struct conf_place) point to file names that the conf owns: what holds places, a
 * conf_report for one, must not outlive it. Thread: main, or control for a reload. */
#ifndef LB4_CONF_MEMORY_H
#define LB4_CONF_MEMORY_H

#include "lb4/conf/model.h"

/* An empty configuration: built-in values, no service. A timeout of 0 is "not said yet" until
 * conf_check() fills it in. */
void conf_init(struct conf *conf);

/* Free all; `conf` is then as after conf_init(). */
void conf_free(struct conf *conf);
/* The texts of a check; it has none then. */
void conf_free_check(struct conf_check *check);

/* Append one zeroed object and return it, or NULL: no memory. It moves at the next call. */
struct conf_service *conf_add_service(struct conf *conf);
struct conf_listen *conf_add_listen(struct conf_service *service);
struct conf_server *conf_add_server(struct conf_service *service);

/* Free the servers of a service and their names; it is then as before the first. The same for those
 * that were written. */
void conf_free_servers(struct conf_service *service);
void conf_free_written(struct conf_service *service);

/* Keep a copy of a file's name for places; NULL: no memory. */
/* A copy that lives as long as the conf. */
const struct origin *conf_add_origin(struct conf *conf, const struct origin *origin);

const char *conf_add_file(struct conf *conf, const char *name);

#endif
