#include <string.h>

#include "lb4/conf/directive_parts.h"
#include "lb4/conf/proxies.h"
#include "lb4/conf/value.h"

static bool judge_words(struct reader *reader, const struct lex_line *line, size_t first)
{
    static const char *const from[] = {"from", NULL};
    size_t choice;

    if (line->n_words > first + 1 && !value_choice(reader, line, first + 1, from, &choice))
        return false;
    if (line->n_words > first + 2)
        return true;
    reader_error(reader, line, first, "an argument is missing: accept-proxy from CIDR [CIDR...]");
    return false;
}

static bool add_network(struct reader *reader, const struct lex_line *line, size_t i,
                        struct conf_listen *listen)
{
    char reason[PREFIX_ERROR_MAX];
    char quote[CONF_QUOTE_MAX];
    struct prefix prefix;

    if (!prefix_parse(line->words[i].text, line->words[i].n_bytes, &prefix, NULL, reason)) {
        reader_error(reader, line, i, "accept-proxy: %s: %s",
                     conf_quote(line->words[i].text, line->words[i].n_bytes, quote), reason);
        return false;
    }
    if (conf_proxies_add(listen, &prefix))
        return true;
    reader_error(reader, line, i, "out of memory");
    return false;
}

size_t directive_find_accept_proxy(const struct lex_line *line)
{
    size_t i = 3;

    while (i < line->n_words && strcmp(line->words[i].text, "accept-proxy") != 0)
        i++;
    return i;
}

bool directive_accept_proxy(struct reader *reader, const struct lex_line *line, size_t first,
                            struct conf_listen *listen)
{
    if (first >= line->n_words)
        return true;
    if (!judge_words(reader, line, first))
        return false;
    for (size_t i = first + 2; i < line->n_words; i++)
        if (!add_network(reader, line, i, listen))
            return false;
    if (conf_proxies_compile(listen))
        return true;
    reader_error(reader, line, first, "out of memory");
    return false;
}
