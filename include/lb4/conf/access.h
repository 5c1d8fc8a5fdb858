/* Who may come in: what is made of the `allow`, `deny` and `refuse` lines of a configuration. */
#ifndef LB4_CONF_ACCESS_H
#define LB4_CONF_ACCESS_H

#include <stdio.h>

#include "lb4/conf/model.h"
#include "lb4/conf/report.h"

enum { ACCESS_RULE_TEXT_MAX = CONF_FILE_MAX + 16 };

/* Services without rules have those of `defaults`; numbers are judged, and the rules compiled. What
 * is odd is reported as a warning. */
void conf_access_check(struct conf *conf, struct conf_report *report);

/* Of a service, or of `defaults`. */
void conf_access_free(struct conf_access_rules *rules);

/* One more rule, zeroed; NULL: no memory. It moves at the next call. */
struct conf_access_rule *conf_access_add(struct conf_access_rules *rules);

/* How many networks they have, all files together. */
size_t conf_access_count(const struct conf_access_rules *rules);

/* The rule that decides on the address, going through all of them, or NULL: none has it. *ret_line
 * is the line of its file that has it; 0: it has no file. */
const struct conf_access_rule *conf_access_find(const struct conf_access_rules *rules,
                                                const struct addr *addr, uint32_t *ret_line);
/* What counts where no rule has the address: true unless there is an `allow`. */
bool conf_access_allows_others(const struct conf_access_rules *rules);

/* "10.0.0.0/8", "all", "file:blocklist". Returns `text`. */
const char *conf_access_text(const struct conf_access_rule *rule,
                             char text[static ACCESS_RULE_TEXT_MAX]);
const char *conf_refuse_word(enum conf_refuse refuse);

/* The lines, indented. */
void conf_access_print(const struct conf_access_rules *rules, FILE *stream);

/* Write a line for each difference of two services' rules; returns how many:
 *
 *    + deny 10.0.0.0/8 of web         ~ deny file:blocklist of web: +3 -1 prefixes
 *    - allow all of web               ~ order of allow and deny of web */
long conf_access_diff(const struct conf_access_rules *before, const struct conf_access_rules *after,
                      const char *service, FILE *stream);

#endif
