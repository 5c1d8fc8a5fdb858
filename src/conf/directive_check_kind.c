/* The words of `check` that belong to one kind, before the options that all have. */
#include <stdlib.h>
#include <string.h>

#include "lb4/base/number.h"
#include "lb4/base/pattern.h"
#include "lb4/conf/directive_parts.h"
#include "lb4/conf/value.h"

enum { STATUS_DEFAULT_MIN = 200, STATUS_DEFAULT_MAX = 399 };

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

static bool store(struct reader *reader, const struct lex_line *line, const char *bytes, size_t n,
                  char **ret)
{
    *ret = malloc(n + 1);
    if (!*ret) {
        reader_error(reader, line, 0, "out of memory");
        return false;
    }
    memcpy(*ret, bytes, n);
    (*ret)[n] = '\0';
    return true;
}

static bool store_word(struct reader *reader, const struct lex_line *line, size_t i, char **ret,
                       size_t *ret_n)
{
    *ret_n = line->words[i].n_bytes;
    return store(reader, line, line->words[i].text, *ret_n, ret);
}

bool directive_check_path(struct reader *reader, const struct lex_line *line, const char *what)
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

/* --- http ------------------------------------------------------------------------------------- */

/* What goes into a request as it is: no blank, no line end. */
static bool judge_visible(struct reader *reader, const struct lex_line *line, size_t i, size_t max)
{
    const struct lex_word *word = &line->words[i];
    char quote[CONF_QUOTE_MAX];
    size_t n = 0;

    while (n < word->n_bytes && word->text[n] > ' ' && word->text[n] < 0x7f)
        n++;
    if (n == word->n_bytes && n >= 1 && n <= max)
        return true;
    reader_error(reader, line, i, "check: %s: accepted: 1..%zu bytes, visible ASCII without blanks",
                 conf_quote(word->text, word->n_bytes, quote), max);
    return false;
}

/* "200" or "200-399" */
static bool read_status(struct reader *reader, const struct lex_line *line, size_t i,
                        struct conf_check *check)
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
    if (number_parse(first, CONF_STATUS_MIN, CONF_STATUS_MAX, &from) == 0 &&
        number_parse(last ? last + 1 : first, from, CONF_STATUS_MAX, &to) == 0) {
        check->status_min = (uint16_t)from;
        check->status_max = (uint16_t)to;
        return true;
    }
    reader_error(reader, line, i, "status: %s is not a range in %d..%d, such as 200-399",
                 conf_quote(text, line->words[i].n_bytes, quote), CONF_STATUS_MIN, CONF_STATUS_MAX);
    return false;
}

static bool read_host(struct reader *reader, const struct lex_line *line, size_t i,
                      struct conf_check *check)
{
    return require(reader, line, i, "host NAME") && judge_visible(reader, line, i, CONF_HOST_MAX) &&
           store(reader, line, line->words[i].text, line->words[i].n_bytes, &check->host);
}

/* `status` and `host` in any order, each once, at `next`. */
static bool read_http_words(struct reader *reader, const struct lex_line *line,
                            struct conf_check *check, size_t *next)
{
    check->status_min = check->status_max = 0;
    for (;; *next += 2) {
        bool is_status = word_is(line, *next, "status");

        if (!is_status && !word_is(line, *next, "host"))
            break;
        if (is_status ? check->status_min != 0 : check->host != NULL) {
            reader_error(reader, line, *next, "check: '%s' is given twice",
                         line->words[*next].text);
            return false;
        }
        if (!(is_status ? read_status : read_host)(reader, line, *next + 1, check))
            return false;
    }
    if (check->status_min == 0) {
        check->status_min = STATUS_DEFAULT_MIN;
        check->status_max = STATUS_DEFAULT_MAX;
    }
    return true;
}

static bool read_http(struct reader *reader, const struct lex_line *line, struct conf_check *check,
                      size_t *next)
{
    *next = 3;
    return directive_check_path(reader, line, "check http /path [status 200-399] [host NAME]") &&
           judge_visible(reader, line, 2, CONF_TEXT_MAX) &&
           store_word(reader, line, 2, &check->send, &check->n_send) &&
           read_http_words(reader, line, check, next);
}

/* --- send ------------------------------------------------------------------------------------- */

static bool judge_length(struct reader *reader, const struct lex_line *line, size_t i, size_t n)
{
    if (n <= CONF_TEXT_MAX)
        return true;
    reader_error(reader, line, i, "%s: a text of %zu bytes, accepted: 0..%d",
                 line->words[i - 1].text, n, CONF_TEXT_MAX);
    return false;
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Pairs of digits into the bytes that they name. */
static bool store_hex(struct reader *reader, const struct lex_line *line, size_t i, char **ret,
                      size_t *ret_n)
{
    const struct lex_word *word = &line->words[i];
    char quote[CONF_QUOTE_MAX];

    if (!judge_length(reader, line, i, word->n_bytes / 2) ||
        !store(reader, line, word->text, word->n_bytes, ret))
        return false;
    *ret_n = word->n_bytes / 2;
    for (size_t k = 0; k < word->n_bytes; k += 2) {
        int high = digit_of(word->text[k]);
        int low = digit_of(word->text[k + 1]); /* of an odd number the last is the NUL */

        if (high < 0 || low < 0) {
            reader_error(reader, line, i,
                         "hex: %s is not pairs of hexadecimal digits, such as 0d0a",
                         conf_quote(word->text, word->n_bytes, quote));
            return false;
        }
        (*ret)[k / 2] = (char)(high << 4 | low);
    }
    (*ret)[*ret_n] = '\0';
    return true;
}

static bool judge_regex(struct reader *reader, const struct lex_line *line, size_t i)
{
    const struct lex_word *word = &line->words[i];
    char quote[CONF_QUOTE_MAX];
    char reason[PATTERN_ERROR_MAX];
    regex_t regex;

    if (!judge_length(reader, line, i, word->n_bytes))
        return false;
    if (strlen(word->text) != word->n_bytes || word->n_bytes == 0) {
        reader_error(reader, line, i, "regex: accepted: 1..%d bytes without NUL", CONF_TEXT_MAX);
        return false;
    }
    if (pattern_compile(&regex, word->text, reason)) {
        regfree(&regex);
        return true;
    }
    reader_error(reader, line, i, "regex: %s: %s", conf_quote(word->text, word->n_bytes, quote),
                 reason);
    return false;
}

/* A text, or `hex DIGITS`, at *next. */
static bool read_text(struct reader *reader, const struct lex_line *line, size_t *next, char **ret,
                      size_t *ret_n)
{
    size_t i = (*next)++;

    if (word_is(line, i, "hex")) {
        i = (*next)++;
        return require(reader, line, i, "hex DIGITS") && store_hex(reader, line, i, ret, ret_n);
    }
    return judge_length(reader, line, i, line->words[i].n_bytes) &&
           store_word(reader, line, i, ret, ret_n);
}

/* The same, or `regex EXPRESSION`. */
static bool read_expect(struct reader *reader, const struct lex_line *line,
                        struct conf_check *check, size_t *next)
{
    if (!word_is(line, *next, "regex"))
        return read_text(reader, line, next, &check->expect, &check->n_expect);
    check->is_regex = true;
    *next += 2;
    return require(reader, line, *next - 1, "regex EXPRESSION") &&
           judge_regex(reader, line, *next - 1) &&
           store_word(reader, line, *next - 1, &check->expect, &check->n_expect);
}

/* To expect nothing in particular is fine: then any answer will do. To send nothing, too, over TCP:
 * then the server speaks first. */
static bool read_send(struct reader *reader, const struct lex_line *line, struct conf_check *check,
                      size_t *next)
{
    static const char *const expect[] = {"expect", NULL};
    static const char form[] = "check send TEXT expect TEXT";
    size_t choice;

    *next = 2;
    if (!require(reader, line, 2, form) ||
        !read_text(reader, line, next, &check->send, &check->n_send) ||
        !require(reader, line, *next, form) || !value_choice(reader, line, *next, expect, &choice))
        return false;
    if (check->n_send == 0)
        reader->tcp_check = (struct reader_claim){"send", reader_place(reader, line, *next - 1)};
    ++*next;
    return require(reader, line, *next, form) && read_expect(reader, line, check, next);
}

/* --- the others ------------------------------------------------------------------------------- */

static bool read_redis(struct reader *reader, const struct lex_line *line, struct conf_check *check,
                       size_t *next)
{
    static const char *const roles[] = {"master", "replica", NULL};
    size_t choice;

    if (!word_is(line, 2, "role"))
        return true;
    *next = 4;
    if (!require(reader, line, 3, "role master|replica") ||
        !value_choice(reader, line, 3, roles, &choice))
        return false;
    check->role = choice == 0 ? CONF_ROLE_MASTER : CONF_ROLE_REPLICA;
    return true;
}

/* check postgres|mysql [user NAME] */
static bool read_user(struct reader *reader, const struct lex_line *line, struct conf_check *check,
                      size_t *next)
{
    char quote[CONF_QUOTE_MAX];
    const struct lex_word *name = &line->words[3];

    if (!word_is(line, 2, "user"))
        return true;
    *next = 4;
    if (!require(reader, line, 3, "user NAME"))
        return false;
    if (name->n_bytes >= 1 && name->n_bytes <= CONF_USER_MAX && strlen(name->text) == name->n_bytes)
        return store_word(reader, line, 3, &check->send, &check->n_send);
    reader_error(reader, line, 3, "user: %s: accepted: 1..%d bytes without NUL",
                 conf_quote(name->text, name->n_bytes, quote), CONF_USER_MAX);
    return false;
}

static bool read_dns(struct reader *reader, const struct lex_line *line, struct conf_check *check,
                     size_t *next)
{
    struct endpoint name;
    char reason[ENDPOINT_ERROR_MAX];
    char quote[CONF_QUOTE_MAX];

    *next = 3;
    if (!require(reader, line, 2, "check dns NAME"))
        return false;
    if (endpoint_parse(line->words[2].text, &name, reason) && name.kind == ENDPOINT_HOST &&
        name.first_port == 0 && strlen(line->words[2].text) == line->words[2].n_bytes)
        return store_word(reader, line, 2, &check->send, &check->n_send);
    reader_error(reader, line, 2, "check dns: %s is not a host name of at most %d bytes",
                 conf_quote(line->words[2].text, line->words[2].n_bytes, quote), CONF_HOST_MAX);
    return false;
}

static bool read_exec(struct reader *reader, const struct lex_line *line, struct conf_check *check,
                      size_t *next)
{
    *next = 3;
    return directive_check_path(reader, line, "check exec /path/to/program") &&
           directive_judge_program(reader, line, 2) &&
           store_word(reader, line, 2, &check->send, &check->n_send);
}

bool directive_check_kind(struct reader *reader, const struct lex_line *line,
                          struct conf_check *check, size_t *ret_next)
{
    *ret_next = 2;
    switch (check->kind) {
    case CONF_CHECK_AUTO:
    case CONF_CHECK_NONE:
    case CONF_CHECK_TCP:
        return true;
    case CONF_CHECK_POSTGRES:
    case CONF_CHECK_MYSQL:
        return read_user(reader, line, check, ret_next);
    case CONF_CHECK_HTTP:
        return read_http(reader, line, check, ret_next);
    case CONF_CHECK_SEND:
        return read_send(reader, line, check, ret_next);
    case CONF_CHECK_REDIS:
        return read_redis(reader, line, check, ret_next);
    case CONF_CHECK_DNS:
        return read_dns(reader, line, check, ret_next);
    case CONF_CHECK_EXEC:
        return read_exec(reader, line, check, ret_next);
    }
    return false;
}
