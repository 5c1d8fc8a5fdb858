/* Who is let in: `limit`, `rate`, `ban`, and `maxconn` of a service. */
#include <string.h>

#include "lb4/base/number.h"
#include "lb4/conf/handlers.h"
#include "lb4/conf/value.h"

static const struct value_range count_range = {1, CONF_MAXCONN_MAX};
static const struct value_range rate_range = {1, CONF_RATE_MAX};

void directive_service_maxconn(struct reader *reader, const struct lex_line *line)
{
    uint64_t n;

    if (value_number(reader, line, 1, count_range, &n))
        reader_service(reader)->guard.maxconn = (uint32_t)n;
}

void directive_limit(struct reader *reader, const struct lex_line *line)
{
    static const struct value_option options[] = {
        {.word = "prefix4", .kind = VALUE_NUMBER, .range = {1, 32}},
        {.word = "prefix6", .kind = VALUE_NUMBER, .range = {1, 128}},
        {.word = NULL},
    };
    uint64_t values[VALUE_OPTIONS_MAX] = {CONF_PREFIX4, CONF_PREFIX6};
    struct conf_guard *guard = &reader_service(reader)->guard;
    uint64_t n;

    if (!value_number(reader, line, 2, count_range, &n) ||
        !value_options(reader, line, 3, options, values))
        return;
    guard->per_source = (uint32_t)n;
    guard->prefix4 = (uint8_t)values[0];
    guard->prefix6 = (uint8_t)values[1];
}

/* "10/s" */
static bool read_rate(struct reader *reader, const struct lex_line *line, size_t i,
                      struct conf_rate *ret)
{
    const char *slash = strchr(line->words[i].text, '/');
    char digits[NUMBER_TEXT_MAX] = "";
    char quote[CONF_QUOTE_MAX];
    uint64_t n;

    if (slash && slash[1] && !slash[2] && (size_t)(slash - line->words[i].text) < sizeof(digits))
        memcpy(digits, line->words[i].text, (size_t)(slash - line->words[i].text));
    if (slash && number_parse(digits, rate_range.min, rate_range.max, &n) == 0) {
        for (size_t k = 0; k < CONF_RATE_UNITS; k++) {
            if (conf_rate_units[k].letter != slash[1])
                continue;
            *ret = (struct conf_rate){(uint32_t)n, conf_rate_units[k].ms, (uint32_t)n};
            return true;
        }
    }
    reader_error(reader, line, i, "rate: %s is not a rate: 1..%d and its unit, as 10/s, 10/m, 10/h",
                 conf_quote(line->words[i].text, line->words[i].n_bytes, quote), CONF_RATE_MAX);
    return false;
}

static void read_rate_line(struct reader *reader, const struct lex_line *line, size_t i,
                           struct conf_rate *ret)
{
    static const struct value_option options[] = {
        {.word = "burst", .kind = VALUE_NUMBER, .range = {1, CONF_RATE_MAX}},
        {.word = NULL},
    };
    uint64_t values[VALUE_OPTIONS_MAX] = {0};
    struct conf_rate rate;

    if (!read_rate(reader, line, i, &rate) || !value_options(reader, line, i + 1, options, values))
        return;
    if (values[0] > 0)
        rate.burst = (uint32_t)values[0];
    *ret = rate;
}

void directive_rate(struct reader *reader, const struct lex_line *line)
{
    read_rate_line(reader, line, 1, &reader_service(reader)->guard.rate);
}

void directive_rate_source(struct reader *reader, const struct lex_line *line)
{
    read_rate_line(reader, line, 2, &reader_service(reader)->guard.rate_source);
}

void directive_rate_datagrams(struct reader *reader, const struct lex_line *line)
{
    char quote[CONF_QUOTE_MAX];

    if (strcmp(line->words[2].text, "per-source") != 0) {
        reader_error(
            reader, line, 2,
            "rate: %s stands where 'per-source' is wanted: rate datagrams per-source 100/s",
            conf_quote(line->words[2].text, line->words[2].n_bytes, quote));
        return;
    }
    read_rate_line(reader, line, 3, &reader_service(reader)->guard.rate_datagrams);
    reader_claim_udp(reader, line, "rate datagrams");
}

/* "after N refused in T for D" */
void directive_ban(struct reader *reader, const struct lex_line *line)
{
    static const struct {
        size_t i;
        const char *word;
    } words[] = {{1, "after"}, {3, "refused"}, {4, "in"}, {6, "for"}};
    const struct value_range range = {1, CONF_BAN_MAX};
    struct conf_ban ban = {0};
    uint64_t n;

    for (size_t k = 0; k < sizeof(words) / sizeof(words[0]); k++) {
        const struct lex_word *word = &line->words[words[k].i];
        char quote[CONF_QUOTE_MAX];

        if (strcmp(word->text, words[k].word) == 0)
            continue;
        reader_error(reader, line, words[k].i,
                     "ban: %s stands where '%s' is wanted: ban after 20 refused in 1m for 10m",
                     conf_quote(word->text, word->n_bytes, quote), words[k].word);
        return;
    }
    if (!value_number(reader, line, 2, range, &n) ||
        !value_duration(reader, line, 5, &ban.within_ms) ||
        !value_duration(reader, line, 7, &ban.for_ms))
        return;
    ban.n_refused = (uint32_t)n;
    reader_service(reader)->guard.ban = ban;
}
