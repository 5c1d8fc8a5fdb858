/* From where connects begin: `source` of a service; `source`, `interface` and `mark` of a server.
 * The words of a listener that are the same are judged here, too. */
#include <string.h>

#include "lb4/conf/directive_parts.h"
#include "lb4/conf/memory.h"
#include "lb4/conf/value.h"

static bool report_source(struct reader *reader, const struct lex_line *line, size_t i,
                          const char *text, const char *reason)
{
    char quote[CONF_QUOTE_MAX];

    reader_error(reader, line, i,
                 "source: %s: %s; accepted: 10.0.0.9, or up to %d of them: "
                 "10.0.0.9,10.0.0.10, 2001:db8::9",
                 conf_quote(text, strlen(text), quote), reason, ORIGIN_SOURCES_MAX);
    return false;
}

static bool is_there(const struct origin *origin, const struct addr *addr)
{
    for (uint32_t i = 0; i < origin->n_sources; i++)
        if (addr_equal(&origin->sources[i], addr))
            return true;
    return false;
}

static bool read_one(struct reader *reader, const struct lex_line *line, size_t i, const char *text,
                     struct origin *ret)
{
    const char *reason = "not an address without a port";
    struct addr addr;

    if (addr_parse(text, &addr) < 0 || !endpoint_can_connect(&addr, &reason))
        return report_source(reader, line, i, text, reason);
    if (is_there(ret, &addr))
        return report_source(reader, line, i, text, "it is given twice");
    if (ret->n_sources == ORIGIN_SOURCES_MAX)
        return report_source(reader, line, i, text, "one address too many");
    ret->sources[ret->n_sources++] = addr;
    return true;
}

bool directive_read_sources(struct reader *reader, const struct lex_line *line, size_t i,
                            struct origin *ret)
{
    char one[ADDR_TEXT_MAX];
    const char *at = line->words[i].text;

    for (;;) {
        size_t n = strcspn(at, ",");

        if (n >= sizeof(one))
            return report_source(reader, line, i, at, "not an address without a port");
        memcpy(one, at, n);
        one[n] = '\0';
        if (!read_one(reader, line, i, one, ret))
            return false;
        if (at[n] == '\0')
            return true;
        at += n + 1;
    }
}

bool directive_read_interface(struct reader *reader, const struct lex_line *line, size_t i,
                              char ret[static IF_NAMESIZE])
{
    const struct lex_word *word = &line->words[i];
    char quote[CONF_QUOTE_MAX];
    bool is_name = word->n_bytes > 0 && word->n_bytes < IF_NAMESIZE &&
                   strcmp(word->text, ".") != 0 && strcmp(word->text, "..") != 0;

    for (size_t k = 0; is_name && k < word->n_bytes; k++)
        is_name = word->text[k] > ' ' && word->text[k] < 0x7f && !strchr("/:", word->text[k]);
    if (!is_name) {
        reader_error(reader, line, i,
                     "interface: %s is no name of an interface: 1..%d bytes, such as eth0",
                     conf_quote(word->text, word->n_bytes, quote), IF_NAMESIZE - 1);
        return false;
    }
    memcpy(ret, word->text, word->n_bytes + 1);
    return true;
}

bool directive_store_origin(struct reader *reader, const struct lex_line *line,
                            const struct origin *origin, const struct origin **ret)
{
    *ret = NULL;
    if (origin_is_none(origin))
        return true;
    *ret = conf_add_origin(reader->conf, origin);
    if (!*ret)
        reader_error(reader, line, 0, "out of memory");
    return *ret;
}

void directive_source(struct reader *reader, const struct lex_line *line)
{
    struct origin origin = {0};

    if (directive_read_sources(reader, line, 1, &origin))
        directive_store_origin(reader, line, &origin, &reader_service(reader)->source);
}
