/* Who waits for a place on a server: `queue`. Whether a server has a limit shows at the end of the
 * service (conf/check.c). */
#include "lb4/conf/handlers.h"
#include "lb4/conf/value.h"

void directive_queue(struct reader *reader, const struct lex_line *line)
{
    static const struct value_option options[] = {
        {.word = "timeout", .kind = VALUE_DURATION},
        {.word = NULL},
    };
    uint64_t values[VALUE_OPTIONS_MAX] = {CONF_QUEUE_TIMEOUT_MS};
    uint64_t n;

    if (value_number(reader, line, 1, (struct value_range){0, CONF_MAXCONN_MAX}, &n) &&
        value_options(reader, line, 2, options, values))
        reader_service(reader)->queue = (struct conf_queue){true, (uint32_t)n, values[0]};
}
