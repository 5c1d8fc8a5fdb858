/* Files of networks, for `allow file:` and `deny file:`: one network or address a line, '#' begins
 * a comment, empty lines do not count. Thread: who reads the configuration. */
#ifndef LB4_CONF_PREFIX_LIST_H
#define LB4_CONF_PREFIX_LIST_H

#include "lb4/conf/model.h"
#include "lb4/conf/report.h"

/* The list of this file, read once for each configuration. One that somebody writes to is waited
 * for, at most two seconds. NULL: reported, at `place` if it cannot be read, else at its own lines.
 */
const struct conf_prefix_list *prefix_list_read(struct conf *conf, const char *path,
                                                const struct conf_place *place,
                                                struct conf_report *report);

/* The same of a text, which stays the caller's. 0, -EINVAL (reported) or -ENOMEM. The list's name
 * is set; what it has is freed by prefix_list_fini(), also after an error. */
int prefix_list_parse(struct conf_prefix_list *list, const char *text, size_t n_bytes,
                      struct conf_report *report);
void prefix_list_fini(struct conf_prefix_list *list);

/* All of a configuration. */
void prefix_list_free_all(struct conf *conf);

/* Networks that only `after` has, and only `before`. */
void prefix_list_compare(const struct conf_prefix_list *before,
                         const struct conf_prefix_list *after, size_t *ret_added,
                         size_t *ret_removed);

#endif
