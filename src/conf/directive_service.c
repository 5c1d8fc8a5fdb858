#include <string.h>

#include "lb4/conf/handlers.h"
#include "lb4/conf/value.h"

void directive_balance(struct reader *reader, const struct lex_line *line)
{
    static const char *const policies[] = {
        [CONF_BALANCE_LEASTCONN] = "leastconn",
        [CONF_BALANCE_ROUNDROBIN] = "roundrobin",
        [CONF_BALANCE_SOURCE] = "source",
        [CONF_BALANCE_RANDOM] = "random",
        NULL,
    };
    size_t policy;

    if (value_choice(reader, line, 1, policies, &policy))
        reader_service(reader)->balance = (enum conf_balance)policy;
}

void directive_tries(struct reader *reader, const struct lex_line *line)
{
    uint64_t n;

    if (value_number(reader, line, 1, (struct value_range){1, CONF_TRIES_MAX}, &n))
        reader_service(reader)->tries = (uint32_t)n;
}

void directive_timeout(struct reader *reader, const struct lex_line *line)
{
    bool is_service = reader->accepts & SECTION_SERVICE;
    struct conf_timeouts *timeouts =
        is_service ? &reader_service(reader)->timeouts : &reader->conf->defaults;
    const struct {
        const char *word;
        uint64_t *ms;
    } kinds[] = {
        {"connect", &timeouts->connect_ms},
        {"idle", &timeouts->idle_ms},
        {"half-close", &timeouts->half_close_ms},
        {"udp", &timeouts->udp_ms},
    };

    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++)
        if (strcmp(kinds[k].word, line->words[1].text) == 0)
            value_duration(reader, line, 2, kinds[k].ms);
}
