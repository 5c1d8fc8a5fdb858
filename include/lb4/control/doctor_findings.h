/* What `doctor` finds, and the ceiling of connections: pure functions of its facts. Thread: any. */
#ifndef LB4_CONTROL_DOCTOR_FINDINGS_H
#define LB4_CONTROL_DOCTOR_FINDINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/control/doctor_facts.h"

enum { DOCTOR_TEXT_MAX = 320, DOCTOR_FINDINGS_MAX = 40 }; /* the first with its NUL */

enum doctor_level {
    DOCTOR_OK,   /* nothing to do */
    DOCTOR_NOTE, /* good to know: a limit that may be met one day */
    DOCTOR_WARN, /* a limit that is near, or that does harm unseen */
    DOCTOR_BAD   /* clients suffer now */
};

/* "ok", "note", "warn", "bad" */
const char *doctor_level_word(enum doctor_level level);

struct doctor_finding {
    enum doctor_level level;
    bool is_told;                 /* at the start the log says it elsewhere */
    const char *about;            /* one word, a constant */
    char found[DOCTOR_TEXT_MAX];  /* what is so, with the number that was read */
    char limits[DOCTOR_TEXT_MAX]; /* what that limits; "" = nothing */
    char lift[DOCTOR_TEXT_MAX];   /* the command or line of the configuration; "" = none */
};

struct doctor_findings {
    size_t n;
    struct doctor_finding list[DOCTOR_FINDINGS_MAX];
};

/* What ends first when connections come and stay. */
enum doctor_bound {
    DOCTOR_BOUND_DESCRIPTORS, /* RLIMIT_NOFILE */
    DOCTOR_BOUND_CONFIG,      /* maxconn */
    DOCTOR_BOUND_BUILT_IN,
    DOCTOR_BOUND_PORTS,    /* local ports, for each address of a server */
    DOCTOR_BOUND_CONNTRACK /* each connection has two entries: the client's, and ours */
};

struct doctor_ceiling {
    uint64_t n_connections; /* at a time */
    enum doctor_bound bound;
    char limit[DOCTOR_TEXT_MAX]; /* "RLIMIT_NOFILE 20000" */
    char lift[DOCTOR_TEXT_MAX];
};

void doctor_ceiling(const struct doctor_facts *facts, struct doctor_ceiling *ret);

/* All of it, the worst first. */
void doctor_find(const struct doctor_facts *facts, struct doctor_findings *ret);

/* Parts of it. ------------------------------------------------------------------------------------
 */

/* Append one, and say what was found. There is room for all. Returns it. */
struct doctor_finding *doctor_add(struct doctor_findings *findings, enum doctor_level level,
                                  const char *about, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void doctor_limits(struct doctor_finding *finding, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void doctor_lift(struct doctor_finding *finding, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
