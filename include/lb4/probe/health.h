/* What the outcomes of probes make of a server: rise and fall. Pure: time comes in as an argument.
 *
 *            fall failures in a row, or one refusal while clients suspect it
 *    usable  ------------------------------------------------------------->  unusable
 *            <-------------------------------------------------------------
 *                              rise successes in a row
 *
 * At start a server is usable until its first probe fails: that one decides alone, both ways.
 * What is reported follows, but for a server that falls again within 2 * (fall + rise) intervals
 * (the hold) of its last reported fall: it is flapping. Then its changes still count for choice,
 * but are not reported before the hold is over. So reported falls are at least a hold apart, each
 * with one return at most, and the first fall and return are told at once (FAULTS.md F50). */
#ifndef LB4_PROBE_HEALTH_H
#define LB4_PROBE_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

enum health_outcome {
    HEALTH_OK,
    HEALTH_REFUSED, /* nobody listens: as sure as it gets */
    HEALTH_FAILED,  /* timed out, unreachable, reset */
    HEALTH_UNKNOWN  /* our own trouble: says nothing about the server */
};

/* What there is to report. */
enum health_report {
    HEALTH_NOTHING,
    HEALTH_DOWN,
    HEALTH_UP,
    HEALTH_FLAPPING, /* once: down again too soon, see above; silence until the hold is over */
    HEALTH_STEADY    /* the hold is over, and the server that flapped is usable */
};

struct health_rules {
    uint32_t fall;        /* 1..CONF_COUNT_MAX */
    uint32_t rise;        /* 1..CONF_COUNT_MAX */
    uint64_t interval_ns; /* between probes */
};

/* Reported up is who is usable or flapping. */
struct health {
    bool is_usable;
    bool is_judged;      /* a probe has decided since the start */
    bool is_flapping;    /* changes are not reported */
    bool has_fallen;     /* fell_ns is valid */
    uint32_t n_against;  /* outcomes in a row that speak against the present state: below fall or
  rise,  as that many turn it */
    uint32_t n_falls;    /* since the last reported one, with it; saturates */
    uint64_t fell_ns;    /* the last reported fall */
    uint64_t changed_ns; /* since when is_usable is what it is */
};

void health_init(struct health *health, uint64_t now_ns);

/* Take one outcome in. `is_suspect`: clients' connects to it fail. Updates is_usable, returns what
 * is to be reported. The hold ends with the first outcome after it: HEALTH_DOWN or HEALTH_STEADY.
 * `now_ns` never goes back. */
enum health_report health_take(struct health *health, const struct health_rules *rules,
                               enum health_outcome outcome, bool is_suspect, uint64_t now_ns);

/* No outcome, but a decision from elsewhere (probe/evict.h), what it is from now on. Without a
 * change of state it is a look whether the hold is over. */
enum health_report health_decide(struct health *health, const struct health_rules *rules,
                                 bool is_usable, uint64_t now_ns);

/* For so long after a reported fall the next one is not reported: 2 * (fall + rise) intervals. */
uint64_t health_hold_ns(const struct health_rules *rules);

/* Is a state changing, so that probes go at the fast interval? */
bool health_is_changing(const struct health *health);

#endif
