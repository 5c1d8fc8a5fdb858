/* What a service lets in of one source and of all: limits, rates, bans. Plain data, part of
 * conf/model.h; all zero = nothing is limited.
 *
 * A source is a network of prefix4 or prefix6 bits, by default one IPv4 address, or the /64 of an
 * IPv6 one, as that is what a single host has at its disposal. */
#ifndef LB4_CONF_GUARD_H
#define LB4_CONF_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    CONF_RATE_MAX = 1000000, /* events in a unit of time, and the burst; chosen */
    CONF_BAN_MAX = 10000,    /* refusals until a ban; chosen */
    CONF_PREFIX4 = 32,
    CONF_PREFIX6 = 64
};

static const struct {
    char letter;
    uint32_t ms;
} conf_rate_units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}};

enum { CONF_RATE_UNITS = sizeof(conf_rate_units) / sizeof(conf_rate_units[0]) };

/* So many in a unit of time, and so many at once after a pause: as many as in a unit, unless
 * `burst` says otherwise. */
struct conf_rate {
    uint32_t n;       /* 1..CONF_RATE_MAX; 0 = no limit */
    uint32_t unit_ms; /* of a second, minute, or hour */
    uint32_t burst;   /* 1..CONF_RATE_MAX */
};

/* So many refusals of a source within a time from the first: it is refused at once for a while. */
struct conf_ban {
    uint32_t n_refused; /* 1..CONF_BAN_MAX; 0 = never */
    uint64_t within_ms;
    uint64_t for_ms;
};

struct conf_guard {
    uint32_t per_source;          /* live connections and UDP sessions of a source; 0 = no limit */
    uint8_t prefix4;              /* 1..32; 0 = CONF_PREFIX4 */
    uint8_t prefix6;              /* 1..128; 0 = CONF_PREFIX6 */
    uint32_t maxconn;             /* live connections of the service; 0 = no limit */
    struct conf_rate rate_source; /* connections and UDP sessions of a source that begin */
    struct conf_rate rate_datagrams; /* datagrams from a source */
    struct conf_rate rate;           /* connections and UDP sessions of all that begin */
    struct conf_ban ban;
};

/* Does a word need to know of each source? */
static inline bool conf_guards_sources(const struct conf_guard *guard)
{
    return guard->per_source > 0 || guard->rate_source.n > 0 || guard->rate_datagrams.n > 0 ||
           guard->ban.n_refused > 0;
}

/* Its directives, a line each, indented; those that limit nothing are left out. */
void conf_print_guard(const struct conf_guard *guard, FILE *stream);

#endif
