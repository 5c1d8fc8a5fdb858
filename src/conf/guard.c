#include "lb4/conf/guard.h"

#include "lb4/base/number.h"

static void print_prefixes(const struct conf_guard *guard, FILE *stream)
{
    if (guard->prefix4 && guard->prefix4 != CONF_PREFIX4)
        fprintf(stream, " prefix4 %u", guard->prefix4);
    if (guard->prefix6 && guard->prefix6 != CONF_PREFIX6)
        fprintf(stream, " prefix6 %u", guard->prefix6);
}

static char unit_of(const struct conf_rate *rate)
{
    for (size_t i = 0; i < CONF_RATE_UNITS; i++)
        if (conf_rate_units[i].ms == rate->unit_ms)
            return conf_rate_units[i].letter;
    return '?';
}

static void print_rate(const char *word, const struct conf_rate *rate, FILE *stream)
{
    if (rate->n > 0)
        fprintf(stream, "    %s %u/%c burst %u\n", word, rate->n, unit_of(rate), rate->burst);
}

void conf_print_guard(const struct conf_guard *guard, FILE *stream)
{
    char within[NUMBER_TEXT_MAX];
    char out[NUMBER_TEXT_MAX];

    if (guard->maxconn > 0)
        fprintf(stream, "    maxconn %u\n", guard->maxconn);
    if (guard->per_source > 0) {
        fprintf(stream, "    limit per-source %u", guard->per_source);
        print_prefixes(guard, stream);
        fputc('\n', stream);
    }
    print_rate("rate per-source", &guard->rate_source, stream);
    print_rate("rate datagrams per-source", &guard->rate_datagrams, stream);
    print_rate("rate", &guard->rate, stream);
    if (guard->ban.n_refused > 0)
        fprintf(stream, "    ban after %u refused in %s for %s\n", guard->ban.n_refused,
                number_format_duration(guard->ban.within_ms, within),
                number_format_duration(guard->ban.for_ms, out));
}
