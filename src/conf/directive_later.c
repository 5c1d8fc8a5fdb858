/* Directives of later versions: judged as if they were built, then refused. */
#include "lb4/conf/directive.h"
#include "lb4/conf/value.h"

static const struct value_range count_range = {1, CONF_MAXCONN_MAX};

void directive_later_number(struct reader *reader, const struct lex_line *line)
{
    uint64_t n;

    if (value_number(reader, line, line->n_words - 1, count_range, &n))
        reader_refuse(reader, line, 0);
}

void directive_later_duration(struct reader *reader, const struct lex_line *line)
{
    uint64_t ms;

    if (value_duration(reader, line, line->n_words - 1, &ms))
        reader_refuse(reader, line, 0);
}
