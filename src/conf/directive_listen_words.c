/* The words behind a listener's address. */
#include "lb4/base/unix_path.h"
#include "lb4/conf/directive_parts.h"
#include "lb4/conf/value.h"

enum {
    WORD_INTERFACE,
    WORD_V6ONLY,
    WORD_FASTOPEN,
    WORD_DEFER_ACCEPT,
    WORD_MARK,
    WORD_MODE,
    N_WORDS,
    MS_PER_S = 1000
};

static const char *const interface_forms[] = {"eth0", NULL};
static const char *const mode_forms[] = {"0..0777", NULL};

static const struct value_option options[] = {
    [WORD_INTERFACE] = {.word = "interface", .kind = VALUE_WORD, .choices = interface_forms},
    [WORD_V6ONLY] = {.word = "v6only", .kind = VALUE_FLAG},
    [WORD_FASTOPEN] = {.word = "fastopen", .kind = VALUE_NUMBER, .range = {1, CONF_FASTOPEN_MAX}},
    [WORD_DEFER_ACCEPT] = {.word = "defer-accept", .kind = VALUE_DURATION},
    [WORD_MARK] = {.word = "mark", .kind = VALUE_NUMBER, .range = {1, UINT32_MAX}},
    [WORD_MODE] = {.word = "mode", .kind = VALUE_WORD, .choices = mode_forms},
    [N_WORDS] = {.word = NULL},
};

static bool report(struct reader *reader, const struct lex_line *line, const char *text)
{
    reader_error(reader, line, 3, "listen: %s", text);
    return false;
}

static bool judge_defer(struct reader *reader, const struct lex_line *line, uint64_t ms)
{
    if (ms % MS_PER_S == 0 && ms <= CONF_DEFER_MAX_S * (uint64_t)MS_PER_S)
        return true;
    return report(reader, line, "defer-accept takes whole seconds in 1s..1h");
}

static bool judge(struct reader *reader, const struct lex_line *line,
                  const uint64_t values[static N_WORDS], const struct conf_listen *listen)
{
    if (listen->transport != CONF_TCP && (values[WORD_FASTOPEN] || values[WORD_DEFER_ACCEPT]))
        return report(reader, line,
                      "fastopen and defer-accept are of TCP: give UDP a listen line "
                      "of its own");
    if (values[WORD_V6ONLY] && listen->addr.sa.sa_family != AF_INET6)
        return report(reader, line, "v6only is of :PORT and of IPv6 addresses");
    return judge_defer(reader, line, values[WORD_DEFER_ACCEPT]);
}

/* `i`: where it stands; 0 = nowhere. */
static bool read_mode(struct reader *reader, const struct lex_line *line, size_t i,
                      const struct addr *addr, uint32_t *ret)
{
    bool is_file = addr_is_unix(addr) && !unix_path_is_abstract(addr->un.number);

    *ret = is_file ? CONF_MODE : 0;
    if (i > 0 && !is_file)
        return report(reader, line, "mode is of a Unix socket that is a file: unix:/path");
    return i == 0 || directive_read_mode(reader, line, i, ret);
}

bool directive_read_listen_words(struct reader *reader, const struct lex_line *line, size_t end,
                                 struct conf_listen *listen)
{
    struct lex_line words = *line;
    uint64_t values[VALUE_OPTIONS_MAX] = {0};
    struct conf_listen_words *ret = &listen->words;

    words.n_words = end;
    if (!value_options(reader, &words, 3, options, values) ||
        !judge(reader, &words, values, listen) ||
        (values[WORD_INTERFACE] &&
         !directive_read_interface(reader, &words, (size_t)values[WORD_INTERFACE],
                                   ret->interface)) ||
        !read_mode(reader, &words, (size_t)values[WORD_MODE], &listen->addr, &ret->mode))
        return false;
    ret->is_v6only = values[WORD_V6ONLY];
    ret->fastopen = (uint32_t)values[WORD_FASTOPEN];
    ret->defer_s = (uint32_t)(values[WORD_DEFER_ACCEPT] / MS_PER_S);
    ret->mark = (uint32_t)values[WORD_MARK];
    if (ret->is_v6only)
        listen->is_any = false; /* its address is [::] already */
    return true;
}
