/* Servers that are given by name become servers with addresses, one for each address of the name.
 *
 * Names: of NAME the first is NAME, further ones are NAME-2, NAME-3 .... An address keeps the name
 * that it has, whatever else comes and goes; one that comes gets the lowest that is free, several
 * in the order of their addresses. Names that the file gives to others are passed over. Of SRV
 * records the weights are 1..256 as they are, or else scaled so that the greatest becomes 256; the
 * lowest priority becomes that of the line, the next one follows, and so on; of a backup all stay
 * backups.
 *
 * What cannot be used is left out, and told in the name's set. Thread: control, or main. */
#ifndef LB4_CONTROL_EXPAND_H
#define LB4_CONTROL_EXPAND_H

#include "lb4/conf/check.h"
#include "lb4/conf/model.h"
#include "lb4/conf/report.h"
#include "lb4/control/name_sets.h"

struct expand {
    const struct name_sets *sets;
    const struct conf *conf;    /* whose listeners no server may be */
    struct conf_report *report; /* takes, of names not used before, what is wrong; may be NULL */
    struct conf_own *own;       /* its own */
};

/* Begin: nothing is told of any set. */
void expand_init(struct expand *expand, const struct name_sets *sets, const struct conf *conf,
                 struct conf_report *report);
void expand_fini(struct expand *expand);

/* The servers of the service, which has names, into `ret`, of which only the servers count.
 * Addresses keep the names that they have in `present`, which may be NULL. Returns 0 or -ENOMEM;
 * `ret` is then empty. */
int expand_service(struct expand *expand, const struct conf_service *service,
                   const struct conf_service *present, struct conf_service *ret);

/* All of a configuration, in place: all or nothing. Returns 0, -ENOMEM, or -EINVAL: the report has
 * errors. */
int expand_conf(struct conf *conf, const struct conf *present, const struct name_sets *sets,
                struct conf_report *report);

#endif
