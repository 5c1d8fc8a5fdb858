#include "lb4/control/why_guard.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lb4/base/clock.h"

enum { RATE_TEXT_MAX = 64 };

static void add(char text[static WHY_GUARD_MAX], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add(char text[static WHY_GUARD_MAX], const char *format, ...)
{
    size_t n = strlen(text);
    va_list args;

    va_start(args, format);
    vsnprintf(text + n, WHY_GUARD_MAX - n, format, args);
    va_end(args);
}

/* "10/s burst 20" */
static const char *format_rate(const struct conf_rate *rate, char text[static RATE_TEXT_MAX])
{
    char unit = '?';

    for (size_t i = 0; i < CONF_RATE_UNITS; i++)
        if (conf_rate_units[i].ms == rate->unit_ms)
            unit = conf_rate_units[i].letter;
    snprintf(text, RATE_TEXT_MAX, "%" PRIu32 "/%c burst %" PRIu32, rate->n, unit, rate->burst);
    return text;
}

/* --- refused ---------------------------------------------------------------------------------- */

static void tell_banned(const struct conf_service *service, const struct guard_outlook *outlook,
                        char *text)
{
    add(text, "%s is banned for %" PRIu64 " s more; lb4ctl unban %s %s lets it in", outlook->source,
        (outlook->banned_ns + CLOCK_NS_PER_S - 1) / CLOCK_NS_PER_S, service->name, outlook->source);
}

static void tell_rate_source(const struct conf_guard *guard, const struct guard_outlook *outlook,
                             char *text)
{
    bool is_arrivals = outlook->rate_room == 0;
    char rate[RATE_TEXT_MAX];

    add(text, "%s has used up rate %sper-source %s", outlook->source,
        is_arrivals ? "" : "datagrams ",
        format_rate(is_arrivals ? &guard->rate_source : &guard->rate_datagrams, rate));
}

static void tell_refusal(const struct conf_service *service, const struct guard_outlook *outlook,
                         char *text)
{
    const struct conf_guard *guard = &service->guard;
    char rate[RATE_TEXT_MAX];

    switch (outlook->refusal) {
    case REFUSAL_BANNED:
        tell_banned(service, outlook, text);
        break;
    case REFUSAL_RATE_SOURCE:
        tell_rate_source(guard, outlook, text);
        break;
    case REFUSAL_PER_SOURCE:
        add(text, "%s has %" PRIu32 " of %" PRIu32 " (limit per-source)", outlook->source,
            outlook->n_live, guard->per_source);
        break;
    case REFUSAL_RATE:
        add(text, "the service has used up rate %s", format_rate(&guard->rate, rate));
        break;
    case REFUSAL_MAXCONN:
        add(text, "the service has %" PRIu32 " connections (maxconn %" PRIu32 ")",
            outlook->n_connections, guard->maxconn);
        break;
    case REFUSAL_DENIED:
    case REFUSAL_PEER:
    case REFUSAL_HEADER:
    case REFUSAL_HEADER_LATE:
    case REFUSAL_HEADER_FULL:
    case REFUSAL_NONE:
        break; /* no words of limits */
    }
}

/* --- let in ----------------------------------------------------------------------------------- */

static void tell_source(const struct conf_guard *guard, const struct guard_outlook *outlook,
                        char *text)
{
    char rate[RATE_TEXT_MAX];

    add(text, "; %s has %" PRIu32, outlook->source, outlook->n_live);
    if (guard->per_source > 0)
        add(text, " of %" PRIu32, guard->per_source);
    add(text, " open");
    if (guard->rate_source.n > 0)
        add(text, ", may begin %" PRIu32 " at once (rate per-source %s)", outlook->rate_room,
            format_rate(&guard->rate_source, rate));
    if (guard->rate_datagrams.n > 0)
        add(text, ", may send %" PRIu32 " datagrams at once", outlook->datagrams_room);
    if (guard->ban.n_refused > 0)
        add(text, ", and %" PRIu32 " of %" PRIu32 " refusals to a ban", outlook->n_refused,
            guard->ban.n_refused);
}

static void tell_room(const struct conf_guard *guard, const struct guard_outlook *outlook,
                      char *text)
{
    char rate[RATE_TEXT_MAX];

    if (conf_guards_sources(guard))
        tell_source(guard, outlook, text);
    if (guard->rate.n > 0)
        add(text, "; the service takes %" PRIu32 " at once (rate %s)", outlook->service_rate_room,
            format_rate(&guard->rate, rate));
    if (guard->maxconn > 0)
        add(text, "; the service has %" PRIu32 " of %" PRIu32 " connections",
            outlook->n_connections, guard->maxconn);
}

bool why_guard(const struct conf_service *service, const struct guard_outlook *outlook,
               char text[static WHY_GUARD_MAX])
{
    const struct conf_guard *guard = &service->guard;
    bool is_in = outlook->refusal == REFUSAL_NONE;

    text[0] = '\0';
    if (!conf_guards_sources(guard) && guard->maxconn == 0 && guard->rate.n == 0)
        return true;
    if (is_in) {
        add(text, "Limits let the client in");
        tell_room(guard, outlook, text);
    } else {
        add(text, "The client would be refused (%s): ", refusal_word(outlook->refusal));
        tell_refusal(service, outlook, text);
    }
    add(text, ".");
    return is_in;
}
