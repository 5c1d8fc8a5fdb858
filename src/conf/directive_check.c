/* check KIND ARGUMENTS OPTIONS: judged whole. Of the kinds `none` and `tcp` are built, and for
 * services that listen on UDP only `send` and `dns`, which shows at the end of the block. */
#include <stdlib.h>
#include <string.h>

#include "lb4/base/number.h"
#include "lb4/conf/check.h"
#include "lb4/conf/directive.h"
#include "lb4/conf/value.h"

enum { STATUS_MIN = 100, STATUS_MAX = 599, PORT_MAX = 65535 };

enum check_kind {
    CHECK_NONE,
    CHECK_TCP,
    CHECK_HTTP,
    CHECK_SEND,
    CHECK_REDIS,
    CHECK_POSTGRES,
    CHECK_MYSQL,
    CHECK_DNS,
    CHECK_EXEC
};

static const char *const kind_words[] = {"none",     "tcp",   "http", "send", "redis",
                                         "postgres", "mysql", "dns",  "exec", NULL};

static bool word_is(const struct lex_line *line, size_t i, const char *text)
{
    return i < line->n_words && strcmp(line->words[i].text, text) == 0;
}

static bool require(struct reader *reader, const struct lex_line *line, size_t i, const char *what)
{
    if (i < line->n_words)
        return true;
    reader_error(reader, line, line->n_words - 1, "check: an argument is missing: %s", what);
    return false;
}

static bool require_path(struct reader *reader, const struct lex_line *line, const char *what)
{
    char quote[CONF_QUOTE_MAX];

    if (!require(reader, line, 2, what))
        return false;
    if (line->words[2].text[0] == '/' && strlen(line->words[2].text) == line->words[2].n_bytes)
        return true;
    reader_error(reader, line, 2, "check: %s must begin with '/': %s",
                 conf_quote(line->words[2].text, line->words[2].n_bytes, quote), what);
    return false;
}

/* "200" or "200-399" */
static bool judge_status(struct reader *reader, const struct lex_line *line, size_t i)
{
    char first[8] = "";
    char quote[CONF_QUOTE_MAX];
    const char *text;
    const char *last;
    uint64_t from;
    uint64_t to;

    if (!require(reader, line, i, "status 200-399"))
        return false;
    text = line->words[i].text;
    last = strchr(text, '-');
    if (strcspn(text, "-") < sizeof(first))
        memcpy(first, text, strcspn(text, "-"));
    if (number_parse(first, STATUS_MIN, STATUS_MAX, &from) == 0 &&
        number_parse(last ? last + 1 : first, from, STATUS_MAX, &to) == 0)
        return true;
    reader_error(reader, line, i, "status: %s is not a range in %d..%d, such as 200-399",
                 conf_quote(text, line->words[i].n_bytes, quote), STATUS_MIN, STATUS_MAX);
    return false;
}

static bool judge_http(struct reader *reader, const struct lex_line *line, size_t *ret_next)
{
    bool has_status = word_is(line, 3, "status");

    *ret_next = has_status ? 5 : 3;
    return require_path(reader, line, "check http /path [status 200-399]") &&
           (!has_status || judge_status(reader, line, 4));
}

static bool judge_text(struct reader *reader, const struct lex_line *line, size_t i, size_t min)
{
    size_t n = line->words[i].n_bytes;

    if (n >= min && n <= CONF_TEXT_MAX)
        return true;
    reader_error(reader, line, i, "%s: a text of %zu bytes, accepted: %zu..%d",
                 line->words[i - 1].text, n, min, CONF_TEXT_MAX);
    return false;
}

/* To expect nothing in particular is fine: then any answer will do. */
static bool judge_send(struct reader *reader, const struct lex_line *line, size_t *ret_next)
{
    static const char *const expect[] = {"expect", NULL};
    size_t choice;

    *ret_next = 5;
    return require(reader, line, 4, "check send TEXT expect TEXT") &&
           value_choice(reader, line, 3, expect, &choice) && judge_text(reader, line, 2, 1) &&
           judge_text(reader, line, 4, 0);
}

static bool judge_redis(struct reader *reader, const struct lex_line *line, size_t *ret_next)
{
    static const char *const roles[] = {"master", "replica", NULL};
    bool has_role = word_is(line, 2, "role");
    size_t choice;

    *ret_next = has_role ? 4 : 2;
    return !has_role || (require(reader, line, 3, "role master|replica") &&
                         value_choice(reader, line, 3, roles, &choice));
}

static bool judge_dns(struct reader *reader, const struct lex_line *line, size_t *ret_next)
{
    struct endpoint name;
    char reason[ENDPOINT_ERROR_MAX];
    char quote[CONF_QUOTE_MAX];

    *ret_next = 3;
    if (!require(reader, line, 2, "check dns NAME"))
        return false;
    if (endpoint_parse(line->words[2].text, &name, reason) && name.kind == ENDPOINT_HOST &&
        name.first_port == 0)
        return true;
    reader_error(reader, line, 2, "check dns: %s is not a host name of at most %d bytes",
                 conf_quote(line->words[2].text, line->words[2].n_bytes, quote), CONF_HOST_MAX);
    return false;
}

/* The words that belong to the kind; *ret_next is the first option. */
static bool judge_kind(struct reader *reader, const struct lex_line *line, enum check_kind kind,
                       size_t *ret_next)
{
    *ret_next = 2;
    switch (kind) {
    case CHECK_NONE:
    case CHECK_TCP:
    case CHECK_POSTGRES:
    case CHECK_MYSQL:
        break;
    case CHECK_HTTP:
        return judge_http(reader, line, ret_next);
    case CHECK_SEND:
        return judge_send(reader, line, ret_next);
    case CHECK_REDIS:
        return judge_redis(reader, line, ret_next);
    case CHECK_DNS:
        return judge_dns(reader, line, ret_next);
    case CHECK_EXEC:
        *ret_next = 3;
        return require_path(reader, line, "check exec /path/to/program");
    }
    return true;
}

enum check_option {
    OPTION_INTERVAL,
    OPTION_TIMEOUT,
    OPTION_FALL,
    OPTION_RISE,
    OPTION_FAST,
    OPTION_PORT
};

static const struct value_option options[] = {
    [OPTION_INTERVAL] = {.word = "interval", .kind = VALUE_DURATION},
    [OPTION_TIMEOUT] = {.word = "timeout", .kind = VALUE_DURATION},
    [OPTION_FALL] = {.word = "fall", .kind = VALUE_NUMBER, .range = {1, CONF_COUNT_MAX}},
    [OPTION_RISE] = {.word = "rise", .kind = VALUE_NUMBER, .range = {1, CONF_COUNT_MAX}},
    [OPTION_FAST] = {.word = "fast", .kind = VALUE_DURATION},
    [OPTION_PORT] = {.word = "port", .kind = VALUE_NUMBER, .range = {1, PORT_MAX}},
    {.word = NULL},
};

/* `first` is the first of the options, each of which is a word and a value. */
static bool judge_fast(struct reader *reader, const struct lex_line *line, size_t first,
                       const struct conf_check *check)
{
    uint64_t interval_ms = check->interval_ms ? check->interval_ms : CONF_CHECK_INTERVAL_MS;
    char interval[NUMBER_TEXT_MAX];

    if (check->fast_ms <= interval_ms)
        return true;
    while (!word_is(line, first, options[OPTION_FAST].word))
        first += 2;
    reader_error(reader, line, first + 1, "fast: %.40s is outside 1ms..%s, the interval",
                 line->words[first + 1].text, number_format_duration(interval_ms, interval));
    return false;
}

static bool read_options(struct reader *reader, const struct lex_line *line, size_t first,
                         struct conf_check *ret)
{
    uint64_t values[VALUE_OPTIONS_MAX] = {0};

    if (!value_options(reader, line, first, options, values))
        return false;
    ret->interval_ms = values[OPTION_INTERVAL];
    ret->timeout_ms = values[OPTION_TIMEOUT];
    ret->fall = (uint32_t)values[OPTION_FALL];
    ret->rise = (uint32_t)values[OPTION_RISE];
    ret->fast_ms = values[OPTION_FAST];
    ret->port = (uint16_t)values[OPTION_PORT];
    return judge_fast(reader, line, first, ret);
}

static bool store_text(struct reader *reader, const struct lex_line *line, size_t i, char **ret,
                       size_t *ret_n)
{
    const struct lex_word *word = &line->words[i];

    *ret = malloc(word->n_bytes + 1);
    if (!*ret) {
        reader_error(reader, line, 0, "out of memory");
        return false;
    }
    memcpy(*ret, word->text, word->n_bytes + 1);
    *ret_n = word->n_bytes;
    return true;
}

static void store_check(struct reader *reader, const struct lex_line *line, enum check_kind kind,
                        struct conf_check *check)
{
    if (kind == CHECK_SEND || kind == CHECK_DNS) {
        check->kind = kind == CHECK_DNS ? CONF_CHECK_DNS : CONF_CHECK_SEND;
        reader->udp_check = (struct reader_claim){kind_words[kind], reader_place(reader, line, 1)};
        if (!store_text(reader, line, 2, &check->send, &check->n_send))
            return;
    } else if (kind == CHECK_TCP) {
        check->kind = CONF_CHECK_TCP;
    } else if (kind != CHECK_NONE) {
        reader_refuse(reader, line, 1);
    }
    if (kind == CHECK_SEND)
        store_text(reader, line, 4, &check->expect, &check->n_expect);
    reader_service(reader)->check = *check;
}

void directive_check(struct reader *reader, const struct lex_line *line)
{
    struct conf_check check = {.kind = CONF_CHECK_NONE};
    size_t kind;
    size_t next;

    if (!value_choice(reader, line, 1, kind_words, &kind))
        return;
    if (kind == CHECK_NONE && line->n_words > 2) {
        reader_error(reader, line, 2, "check none takes no options");
        return;
    }
    if (!judge_kind(reader, line, (enum check_kind)kind, &next) ||
        !read_options(reader, line, next, &check))
        return;
    store_check(reader, line, (enum check_kind)kind, &check);
}
