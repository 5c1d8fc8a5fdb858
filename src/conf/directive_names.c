/* Words about servers that are given by name. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lb4/base/number.h"
#include "lb4/conf/directive_parts.h"
#include "lb4/conf/value.h"

enum { RESOLVE_MIN_MS = 1000 }; /* chosen: name servers are others' machines */

static const char srv_prefix[] = "srv:";

void directive_resolve(struct reader *reader, const struct lex_line *line)
{
    const char *text = line->words[1].text;
    uint64_t *ms = reader->accepts & SECTION_SERVICE ? &reader_service(reader)->resolve_ms
                                                     : &reader->conf->default_resolve_ms;
    char quote[CONF_QUOTE_MAX];
    uint64_t value = CONF_RESOLVE_OFF;
    int error = strcmp(text, "off") == 0
                    ? 0
                    : number_parse_duration(text, RESOLVE_MIN_MS, CONF_DURATION_MAX_MS, &value);

    if (error == -ERANGE)
        reader_error(reader, line, 1, "resolve: %.40s is outside 1s..365d", text);
    else if (error)
        reader_error(reader, line, 1,
                     "resolve: %s is neither 'off' nor a duration in 1s..365d; the unit is needed: "
                     "ms s m h d",
                     conf_quote(text, line->words[1].n_bytes, quote));
    else
        *ms = value;
}

bool directive_is_srv(const struct lex_line *line)
{
    return strncmp(line->words[2].text, srv_prefix, sizeof(srv_prefix) - 1) == 0;
}

/* What the record says is not to be said beside it. */
static bool judge_options(struct reader *reader, const struct lex_line *line)
{
    for (size_t i = 3; i < line->n_words; i++) {
        if (strcmp(line->words[i].text, "weight") != 0)
            continue;
        reader_error(reader, line, i,
                     "server: weight: SRV records have weights of their own; accepted behind "
                     "srv:NAME: backup, priority, maxconn");
        return false;
    }
    return true;
}

bool directive_read_srv(struct reader *reader, const struct lex_line *line,
                        char ret[static CONF_HOST_MAX + 1])
{
    const char *name = line->words[2].text + sizeof(srv_prefix) - 1;
    size_t n = strlen(name);
    char reason[ENDPOINT_ERROR_MAX];
    char quote[CONF_QUOTE_MAX];
    struct endpoint at;

    if (n > 1 && name[n - 1] == '.')
        n--;
    if (n <= CONF_HOST_MAX) {
        memcpy(ret, name, n);
        ret[n] = '\0';
        if (!strchr(ret, ':') && endpoint_parse(ret, &at, reason) && at.kind == ENDPOINT_HOST)
            return judge_options(reader, line);
    }
    reader_error(
        reader, line, 2,
        "server: %s: not the name of SRV records; accepted: srv:_pg._tcp.db.example, of at "
        "most %d bytes, without a port",
        conf_quote(line->words[2].text, line->words[2].n_bytes, quote), CONF_HOST_MAX);
    return false;
}
