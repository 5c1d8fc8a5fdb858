/* Servers that are given by name are looked up again, off the data path: every `resolve`, and soon
 * where one of them is down or a look-up has failed. Other addresses than before are a change of
 * the running configuration (control/change.h), as a reload would make it; no file is read. One
 * that a reload, a weight or the end of others has under way comes first. Addresses that go serve
 * on while none of those that stay or come can (shared/service_change.h).
 *
 * A look-up that fails changes nothing. Each name is looked up once, whoever has it, and never
 * twice at the same time (probe/lookups.h). Thread: control. */
#ifndef LB4_CONTROL_NAMING_H
#define LB4_CONTROL_NAMING_H

#include <stdbool.h>
#include <stdint.h>

#include "lb4/control/reload.h"
#include "lb4/probe/lookups.h"

struct naming {
    struct reload *reload; /* with the configuration and the sets */
    struct lookups *lookups;
    const struct conf *seen; /* the configuration whose names are in the sets */
    const struct conf *seen_before;
    uint64_t seen_ns;     /* reload->changed_ns then */
    uint64_t seen_end_ns; /* of its last run, which may have left names that nobody uses */
    bool is_dirty;        /* sets may say something else than the configuration has */
    bool keeps;           /* servers that leave may have been kept */
    bool is_told_kept;
    uint64_t kept_ns; /* since when */
    uint64_t try_ns;  /* not before, after a change that failed */
    uint64_t scan_ns; /* of the next look for servers that are down */
    uint64_t due_ns;
    uint64_t random;
    char told[CHANGE_ERROR_MAX]; /* why the last change failed; "" = it did not */
};

/* Returns 0 or -ENOMEM; naming_fini() is due in any case. */
int naming_init(struct naming *naming, struct reload *reload);
/* Before its mailbox and the reload go. */
void naming_fini(struct naming *naming);

/* Once a turn of control, behind reload_step(). `may_begin`: not on the way out. */
void naming_step(struct naming *naming, uint64_t now_ns, bool may_begin);
uint64_t naming_due_ns(const struct naming *naming);

#endif
