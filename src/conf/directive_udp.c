/* Words of a service that listens on UDP. Whether it does shows at the end of its block. */
#include <assert.h>

#include "lb4/conf/handlers.h"
#include "lb4/conf/value.h"

void reader_claim_udp(struct reader *reader, const struct lex_line *line, const char *word)
{
    assert(reader->n_udp_words < READER_CLAIMS_MAX); /* each is given once */
    reader->udp_words[reader->n_udp_words++] =
        (struct reader_claim){word, reader_place(reader, line, 0)};
}

void directive_udp_on_down(struct reader *reader, const struct lex_line *line)
{
    static const char *const choices[] = {"rebind", "keep", NULL};
    size_t choice;

    if (!value_choice(reader, line, 1, choices, &choice))
        return;
    reader_service(reader)->udp.keeps_on_down = choice == 1;
    reader_claim_udp(reader, line, "udp-on-down");
}

void directive_udp_responses(struct reader *reader, const struct lex_line *line)
{
    struct conf_udp *udp = &reader_service(reader)->udp;
    uint64_t n;

    if (!value_number(reader, line, 1, (struct value_range){0, CONF_UDP_COUNT_MAX}, &n))
        return;
    udp->has_responses = true;
    udp->responses = (uint32_t)n;
    reader_claim_udp(reader, line, "udp-responses");
}

void directive_udp_sessions(struct reader *reader, const struct lex_line *line)
{
    uint64_t n;

    if (!value_number(reader, line, 1, (struct value_range){1, CONF_UDP_COUNT_MAX}, &n))
        return;
    reader_service(reader)->udp.max_sessions = (uint32_t)n;
    reader_claim_udp(reader, line, "udp-sessions");
}
