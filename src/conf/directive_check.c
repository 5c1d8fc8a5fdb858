/* check KIND ARGUMENTS OPTIONS: judged whole. */
#include <string.h>

#include "lb4/base/number.h"
#include "lb4/conf/check.h"
#include "lb4/conf/directive_parts.h"
#include "lb4/conf/memory.h"
#include "lb4/conf/value.h"

enum { PORT_MAX = 65535 };

/* In the order of kind_words. */
static const enum conf_check_kind kinds[] = {
    CONF_CHECK_NONE,     CONF_CHECK_TCP,   CONF_CHECK_HTTP, CONF_CHECK_SEND, CONF_CHECK_REDIS,
    CONF_CHECK_POSTGRES, CONF_CHECK_MYSQL, CONF_CHECK_DNS,  CONF_CHECK_EXEC};

static const char *const kind_words[] = {"none",     "tcp",   "http", "send", "redis",
                                         "postgres", "mysql", "dns",  "exec", NULL};

/* --- options ---------------------------------------------------------------------------------- */

enum check_option {
    OPTION_INTERVAL,
    OPTION_TIMEOUT,
    OPTION_FALL,
    OPTION_RISE,
    OPTION_FAST,
    OPTION_PORT,
    OPTION_JITTER,
    OPTION_ADDRESS,
    OPTION_SOURCE,
    N_OPTIONS
};

static const char *const address_forms[] = {"10.0.0.5", "2001:db8::5", NULL};

static const struct value_option options[] = {
    [OPTION_INTERVAL] = {.word = "interval", .kind = VALUE_DURATION},
    [OPTION_TIMEOUT] = {.word = "timeout", .kind = VALUE_DURATION},
    [OPTION_FALL] = {.word = "fall", .kind = VALUE_NUMBER, .range = {1, CONF_COUNT_MAX}},
    [OPTION_RISE] = {.word = "rise", .kind = VALUE_NUMBER, .range = {1, CONF_COUNT_MAX}},
    [OPTION_FAST] = {.word = "fast", .kind = VALUE_DURATION},
    [OPTION_PORT] = {.word = "port", .kind = VALUE_NUMBER, .range = {1, PORT_MAX}},
    [OPTION_JITTER] = {.word = "jitter", .kind = VALUE_NUMBER, .range = {0, CONF_JITTER_MAX}},
    [OPTION_ADDRESS] = {.word = "address", .kind = VALUE_WORD, .choices = address_forms},
    [OPTION_SOURCE] = {.word = "source", .kind = VALUE_WORD, .choices = address_forms},
    [N_OPTIONS] = {.word = NULL},
};

/* Not a range of the table, as it depends on the interval. */
static bool judge_fast(struct reader *reader, const struct lex_line *line, size_t first,
                       const struct conf_check *check)
{
    uint64_t interval_ms = check->interval_ms ? check->interval_ms : CONF_CHECK_INTERVAL_MS;
    char interval[NUMBER_TEXT_MAX];

    if (check->fast_ms <= interval_ms)
        return true;
    while (strcmp(line->words[first].text, options[OPTION_FAST].word) != 0)
        first += 2;
    reader_error(reader, line, first + 1, "fast: %.40s is outside 1ms..%s, the interval",
                 line->words[first + 1].text, number_format_duration(interval_ms, interval));
    return false;
}

/* An address without a port, if the option is there (`i` > 0). */
static bool read_address(struct reader *reader, const struct lex_line *line, size_t i,
                         struct addr *ret)
{
    char quote[CONF_QUOTE_MAX];
    struct endpoint endpoint;
    char unused[ENDPOINT_ERROR_MAX];
    const char *reason = "not an address without a port";

    if (i == 0)
        return true;
    if (addr_parse(line->words[i].text, ret) == 0 && endpoint_can_connect(ret, &reason))
        return true;
    if (line->words[i].text[0] == '[' && endpoint_parse(line->words[i].text, &endpoint, unused) &&
        endpoint.first_port == 0 && endpoint_can_connect(&endpoint.addr, &reason)) {
        *ret = endpoint.addr;
        return true;
    }
    reader_error(reader, line, i, "%s: %s: %s; accepted: 10.0.0.5, 2001:db8::5",
                 line->words[i - 1].text,
                 conf_quote(line->words[i].text, line->words[i].n_bytes, quote), reason);
    return false;
}

static bool read_addresses(struct reader *reader, const struct lex_line *line,
                           const uint64_t values[static N_OPTIONS], struct conf_check *ret)
{
    if (!read_address(reader, line, (size_t)values[OPTION_ADDRESS], &ret->address) ||
        !read_address(reader, line, (size_t)values[OPTION_SOURCE], &ret->source))
        return false;
    if (!values[OPTION_ADDRESS] || !values[OPTION_SOURCE] ||
        ret->address.sa.sa_family == ret->source.sa.sa_family)
        return true;
    reader_error(reader, line, (size_t)values[OPTION_SOURCE],
                 "source: an IPv%d address cannot reach 'address', which is IPv%d",
                 ret->source.sa.sa_family == AF_INET ? 4 : 6,
                 ret->address.sa.sa_family == AF_INET ? 4 : 6);
    return false;
}

static bool is_option(const char *word)
{
    for (size_t i = 0; options[i].word; i++)
        if (strcmp(options[i].word, word) == 0)
            return true;
    return false;
}

/* Words that only one kind has stand before the options. */
static bool judge_words(struct reader *reader, const struct lex_line *line, size_t first,
                        enum conf_check_kind kind)
{
    static const char *const own[] = {
        [CONF_CHECK_HTTP] = "status 200-399, host NAME",
        [CONF_CHECK_REDIS] = "role master|replica",
        [CONF_CHECK_POSTGRES] = "user NAME",
        [CONF_CHECK_MYSQL] = "user NAME",
    };
    const char *words = (size_t)kind < sizeof(own) / sizeof(own[0]) ? own[kind] : NULL;
    char quote[CONF_QUOTE_MAX];

    for (size_t i = first; words && i < line->n_words; i += 2) {
        if (is_option(line->words[i].text))
            continue;
        reader_error(reader, line, i,
                     "check %s: unknown word %s, accepted here: %s; and behind that interval, "
                     "timeout, fall, rise, fast, port, jitter, address, source",
                     line->words[1].text,
                     conf_quote(line->words[i].text, line->words[i].n_bytes, quote), words);
        return false;
    }
    return true;
}

static bool read_options(struct reader *reader, const struct lex_line *line, size_t first,
                         struct conf_check *ret)
{
    uint64_t values[VALUE_OPTIONS_MAX] = {[OPTION_JITTER] = UINT64_MAX};

    if (!judge_words(reader, line, first, ret->kind) ||
        !value_options(reader, line, first, options, values))
        return false;
    ret->interval_ms = values[OPTION_INTERVAL];
    ret->timeout_ms = values[OPTION_TIMEOUT];
    ret->fall = (uint32_t)values[OPTION_FALL];
    ret->rise = (uint32_t)values[OPTION_RISE];
    ret->fast_ms = values[OPTION_FAST];
    ret->port = (uint16_t)values[OPTION_PORT];
    ret->has_jitter = values[OPTION_JITTER] != UINT64_MAX;
    ret->jitter = ret->has_jitter ? (uint32_t)values[OPTION_JITTER] : 0;
    return judge_fast(reader, line, first, ret) && read_addresses(reader, line, values, ret);
}

/* --- the directive ---------------------------------------------------------------------------- */

void directive_check(struct reader *reader, const struct lex_line *line)
{
    struct conf_check check = {.kind = CONF_CHECK_NONE};
    size_t kind;
    size_t next;

    if (!value_choice(reader, line, 1, kind_words, &kind))
        return;
    check.kind = kinds[kind];
    if (check.kind == CONF_CHECK_NONE && line->n_words > 2) {
        reader_error(reader, line, 2, "check none takes no options");
        return;
    }
    reader_service(reader)->check_place = reader_place(reader, line, 1);
    if (directive_check_kind(reader, line, &check, &next) &&
        read_options(reader, line, next, &check))
        reader_service(reader)->check = check;
    else
        conf_free_check(&check);
}
