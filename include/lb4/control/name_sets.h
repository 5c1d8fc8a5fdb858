/* The names of servers, each once, whoever has it: the addresses that it had when it was last
 * found, and how its look-ups go. Thread: control, or main before there are others. */
#ifndef LB4_CONTROL_NAME_SETS_H
#define LB4_CONTROL_NAME_SETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/conf/model.h"
#include "lb4/probe/lookup.h"

enum { NAME_TEXT_MAX = CONF_HOST_MAX + 5, NAME_PROBLEM_MAX = 480 }; /* with the NUL */

struct name_set {
    char *host;
    bool is_srv;
    bool is_used;              /* by the present configuration, or one that may come back */
    struct resolver_name good; /* the last answer that had addresses; n_addrs 0 = there was none */
    uint64_t good_ns;          /* when it came */
    int error;           /* of the last look-up, EAI_...; 0 = it was good, or there was none */
    uint64_t failing_ns; /* since when look-ups fail; 0 = they do not */
    uint64_t n_good;     /* look-ups */
    uint64_t n_failed;
    bool is_other;                  /* `good` has changed; control/naming.c takes it off */
    char problem[NAME_PROBLEM_MAX]; /* with the addresses: what is left out, and why; "" = none */

    /* control/naming.c's own. */
    uint64_t resolve_ms; /* the shortest of its users; CONF_RESOLVE_OFF */
    uint64_t due_ns;     /* of the next look-up; 0 = not known yet */
    uint64_t started_ns;
    uint32_t n_in_a_row; /* that failed */
    bool is_under_way;
    bool is_late;    /* the one under way has been told to fail */
    bool is_put_off; /* it is due, since started_ns, and could not begin */
    bool is_hurt;    /* a server of this name is down */
    bool was_hurt;
    uint64_t told_failing_ns; /* failing_ns when the log heard of it; 0 = it has not */
    char told[NAME_PROBLEM_MAX];
};

struct name_sets {
    struct name_set **sets; /* by host and kind */
    size_t n;
};

void name_sets_fini(struct name_sets *sets);

struct name_set *name_sets_find(const struct name_sets *sets, const char *host, bool is_srv);
/* The same; makes it if there is none. NULL: no memory. */
struct name_set *name_sets_add(struct name_sets *sets, const char *host, bool is_srv);

/* Drop those that are not used, once their last look-up is over. */
void name_sets_tidy(struct name_sets *sets);

/* A look-up is over. Failed, the last good addresses stay. */
void name_set_take(struct name_set *set, const struct resolver_name *answer, uint64_t now_ns);

/* "db.example", "srv:_pg._tcp.example". Returns `text`. */
const char *name_set_format(const struct name_set *set, char text[static NAME_TEXT_MAX]);

/* "ok", "failing" (with the last good addresses), "unresolved" (there never were any). */
const char *name_set_state(const struct name_set *set);

#endif
