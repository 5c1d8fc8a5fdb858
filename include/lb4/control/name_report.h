/* What operators hear of names: in `show`, /status.json, /metrics, `why` and `doctor`.
 * Thread: control. */
#ifndef LB4_CONTROL_NAME_REPORT_H
#define LB4_CONTROL_NAME_REPORT_H

#include "lb4/control/command.h"
#include "lb4/control/name_sets.h"
#include "lb4/control/snapshot.h"

enum { NAME_CAUSE_MAX = NAME_PROBLEM_MAX + 32 };

/* `show names`: each name with its addresses, their age, and why a look-up fails. */
enum command_result name_report_show(struct command_call *call);

/* Servers without an address: rows of `show servers`, behind the columns of show.c. `service` and
 * `server` may be "": all. Returns how many. */
struct table;
size_t name_report_rows(const struct snapshot_from *from, const char *service, const char *server,
                        struct table *table);

/* `"names":[...],` of the status. */
void name_report_status(const struct snapshot_from *from, struct reply *reply);

void name_report_metrics(const struct snapshot_from *from, struct reply *reply);

/* Of the service, the nth server without an address: "db, name not resolved: db.example: ...", for
 * `why`. false: there are no more. */
bool name_report_missing(const struct snapshot_from *from, const char *service, size_t nth,
                         char ret[static NAME_CAUSE_MAX + NAME_TEXT_MAX]);

/* How many are "failing" and "unresolved", and the first of them. */
struct name_census {
    size_t n;
    size_t n_failing;
    size_t n_unresolved;
    const struct name_set *first_failing;
    const struct name_set *first_unresolved;
};

void name_report_count(const struct snapshot_from *from, struct name_census *ret);

#endif
