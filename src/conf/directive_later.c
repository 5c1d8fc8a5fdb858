/* Directives of later versions: judged as if they were built, then refused. */
#include "lb4/conf/directive.h"
#include "lb4/conf/value.h"

void directive_later_duration(struct reader *reader, const struct lex_line *line)
{
    uint64_t ms;

    if (value_duration(reader, line, line->n_words - 1, &ms))
        reader_refuse(reader, line, 0);
}
