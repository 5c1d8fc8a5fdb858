/* Reload: read the configuration anew, compare, and change what serves. SIGHUP and lb4ctl ask for
 * it.
 *
 * A run is: read (in a thread of its own, as names may take seconds), compare, prepare, commit, and
 * be over when every thread has taken it in. Whatever fails before the commit leaves everything as
 * it was. One run at a time; requests that come meanwhile are one more run. A run has a number; who
 * asked waits until that number is done. With a time to confirm, a run undoes itself unless it is
 * confirmed, and with it the runs that came after it; the result is then that of the undoing, which
 * is tried again and again until it succeeds, or somebody confirms.
 * Thread: control. */
#ifndef LB4_CONTROL_RELOAD_H
#define LB4_CONTROL_RELOAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/conf/flags.h"
#include "lb4/conf/model.h"
#include "lb4/conf/report.h"
#include "lb4/control/change.h"
#include "lb4/control/names.h"
#include "lb4/control/retire.h"
#include "lb4/control/runtime.h"

struct reload_wish {
    bool is_wanted;
    bool is_dry;         /* only tell the difference */
    uint64_t confirm_ns; /* undone after so long, unless confirmed; 0 = for good */
};

/* What became of the last run. */
struct reload_result {
    uint64_t number; /* of the run; 0 = there was none */
    bool has_failed;
    bool was_dry;
    long n_changes; /* lines of the difference */
    uint64_t ended_ns;
    char *text; /* the difference, or the errors, a line each; may be NULL */
};

struct reload {
    bool is_reading; /* the thread runs */
    struct runtime *runtime;
    struct mailbox *control; /* is told when the file was read */
    const struct flags *flags;
    struct conf *conf;       /* the present one, the reload's own */
    struct conf *before;     /* to go back to; NULL = none */
    struct name_sets names;  /* of servers of both */
    uint64_t undo_ns;        /* when `before` comes back; UINT64_MAX = never */
    struct reload_wish next; /* the run after this one */
    struct reload_wish now;
    uint64_t n_runs; /* begun; a wish is of run n_runs + 1 until then */
    struct reload_result result;
    uint64_t n_good; /* runs that changed something or had nothing to change */
    uint64_t n_failed;
    uint64_t changed_ns; /* the last commit; 0 = never */
    struct change change;
    bool is_small;    /* the change is no run: a weight, or listeners whose time is over */
    char *difference; /* of the change that is under way */
    long n_changes;
    struct retire retire;
    pthread_t reader;
    struct mailbox done; /* the reader marks MAILBOX_EXIT done */
    struct conf *read;   /* what it has read */
    struct names_found found;
    struct conf_report *report;
    int read_error;
};

/* `conf` is the one that runtime was built from; a reload takes it over and conf_free()s it, with
 * the others. `flags` outlive the reload. Returns 0 or -errno. */
int reload_init(struct reload *reload, struct runtime *runtime, struct mailbox *control,
                const struct flags *flags, struct conf *conf);
/* All threads have ended. */
void reload_fini(struct reload *reload);

/* Ask for a run. Returns its number. A wish that differs from the one that waits already is
 * joined to it as if one had followed the other: dry only if both are, undone if one is to be. */
uint64_t reload_ask(struct reload *reload, const struct reload_wish *wish);

/* NULL: run `number` is not over. */
const struct reload_result *reload_result(const struct reload *reload, uint64_t number);

/* Keep what waits to be confirmed. false: nothing does. */
bool reload_confirm(struct reload *reload);

/* Give a server another weight: at once. Returns 0, -EBUSY while another change is under way, or
 * -ENOMEM. */
int reload_set_weight(struct reload *reload, struct service *service, const struct backend *backend,
                      uint32_t weight);

/* Once a turn of control. `may_begin`: not on the way out. */
void reload_step(struct reload *reload, uint64_t now_ns, bool may_begin);
uint64_t reload_due_ns(const struct reload *reload);

/* A run is under way, for the service manager. */
bool reload_is_busy(const struct reload *reload);
bool reload_is_changing(const struct reload *reload); /* what it has read is being put in force */

#endif
