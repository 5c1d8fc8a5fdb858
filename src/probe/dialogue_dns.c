#include "lb4/probe/dialogue_dns.h"

#include <stdbool.h>
#include <string.h>

/* RFC 1035 section 4.1.1 */
enum {
    HEADER_BYTES = 12,
    ID_BYTES = 2,
    AT_FLAGS = 2,
    AT_RCODE = 3,
    AT_N_QUESTIONS = 4,
    FLAG_ANSWER = 0x80,
    FLAG_RECURSION_DESIRED = 0x01,
    OPCODE_MASK = 0x78, /* 0 = a query */
    RCODE_MASK = 0x0f
};

enum { LABEL_MAX = 63, NAME_MAX_BYTES = 253, TYPE_A = 1, CLASS_IN = 1 };

enum { RCODE_NOERROR = 0, RCODE_NXDOMAIN = 3 };

/* RFC 1035 section 4.1.1, RFC 2136 section 2.2 */
static const char *const rcode_texts[] = {
    NULL,
    "DNS answer FORMERR",
    "DNS answer SERVFAIL",
    NULL,
    "DNS answer NOTIMP",
    "DNS answer REFUSED",
    "DNS answer YXDOMAIN",
    "DNS answer YXRRSET",
    "DNS answer NXRRSET",
    "DNS answer NOTAUTH",
    "DNS answer NOTZONE",
};

/* Each label behind its length: as long as the dotted name with a dot before it, and the root.
 * Returns the bytes written, 0 for a bad label. */
static size_t put_name(uint8_t *to, const uint8_t *name, size_t n_name)
{
    size_t length_at = 0;

    for (size_t i = 0; i <= n_name; i++) {
        size_t n_label = i - length_at;

        if (i < n_name && name[i] != '.') {
            to[i + 1] = name[i];
            continue;
        }
        if (n_label == 0 || n_label > LABEL_MAX)
            return 0;
        to[length_at] = (uint8_t)n_label;
        length_at = i + 1;
    }
    to[length_at] = 0;
    return length_at + 1;
}

void dialogue_dns_build(struct dialogue_dns_query *query, const uint8_t *name, size_t n_name,
                        uint16_t id)
{
    static const uint8_t type_class[] = {0, TYPE_A, 0, CLASS_IN};
    size_t n;

    *query = (struct dialogue_dns_query){.n_bytes = 0};
    if (n_name == 0 || n_name > NAME_MAX_BYTES)
        return;
    n = put_name(query->bytes + HEADER_BYTES, name, n_name);
    if (n == 0)
        return;
    query->bytes[0] = (uint8_t)(id >> 8);
    query->bytes[1] = (uint8_t)id;
    query->bytes[AT_FLAGS] = FLAG_RECURSION_DESIRED;
    query->bytes[AT_N_QUESTIONS + 1] = 1;
    memcpy(query->bytes + HEADER_BYTES + n, type_class, sizeof(type_class));
    query->n_bytes = HEADER_BYTES + n + sizeof(type_class);
}

static uint8_t lower(uint8_t byte)
{
    return byte >= 'A' && byte <= 'Z' ? (uint8_t)(byte + 'a' - 'A') : byte;
}

/* Lengths, type and class are below any letter: one comparison does for all of the question. */
static bool repeats_question(const struct dialogue_dns_query *query, const uint8_t *answer,
                             size_t n_answer)
{
    if (n_answer < query->n_bytes ||
        memcmp(answer + AT_N_QUESTIONS, query->bytes + AT_N_QUESTIONS, 2) != 0)
        return false;
    for (size_t i = HEADER_BYTES; i < query->n_bytes; i++) {
        if (lower(answer[i]) != lower(query->bytes[i]))
            return false;
    }
    return true;
}

static const char *rcode_text(uint8_t rcode)
{
    if (rcode < sizeof(rcode_texts) / sizeof(*rcode_texts))
        return rcode_texts[rcode];
    return "DNS answer with an unknown code";
}

/* NULL = nothing is. */
static const char *what_is_wrong(const struct dialogue_dns_query *query, const uint8_t *answer,
                                 size_t n_answer)
{
    uint8_t rcode;

    if (n_answer < HEADER_BYTES || !(answer[AT_FLAGS] & FLAG_ANSWER) ||
        answer[AT_FLAGS] & OPCODE_MASK)
        return "not a DNS answer";
    rcode = answer[AT_RCODE] & RCODE_MASK;
    if (rcode != RCODE_NOERROR && rcode != RCODE_NXDOMAIN)
        return rcode_text(rcode);
    return repeats_question(query, answer, n_answer) ? NULL : "DNS answer to another question";
}

enum dialogue_verdict dialogue_dns_judge(const struct dialogue_dns_query *query,
                                         const uint8_t *answer, size_t n_answer,
                                         const char **ret_reason)
{
    const char *wrong;

    if (n_answer < ID_BYTES || memcmp(answer, query->bytes, ID_BYTES) != 0)
        return DIALOGUE_STRAY;
    wrong = what_is_wrong(query, answer, n_answer);
    if (!wrong)
        return DIALOGUE_GOOD;
    *ret_reason = wrong;
    return DIALOGUE_WRONG;
}

/* --- over TCP --------------------------------------------------------------------------------- */

enum {
    LENGTH_BYTES = 2,
    TCP_ID = 0x6c34 /* any: who is not the server cannot send on a connection */
};

enum talk_step dialogue_dns_open(struct talk *talk)
{
    struct dialogue_dns_query query;

    dialogue_dns_build(&query, talk->check->send, talk->check->n_send, TCP_ID);
    if (query.n_bytes == 0)
        return talk_wrong(talk, "there is no query for this name");
    talk->out_buffer[0] = (uint8_t)(query.n_bytes >> 8);
    talk->out_buffer[1] = (uint8_t)query.n_bytes;
    memcpy(talk->out_buffer + LENGTH_BYTES, query.bytes, query.n_bytes);
    return talk_say(talk, talk->out_buffer, LENGTH_BYTES + query.n_bytes);
}

/* What is judged of an answer is no longer than the query: the records need not be there yet. */
enum talk_step dialogue_dns_hear(struct talk *talk)
{
    struct dialogue_dns_query query;
    const char *reason = "DNS answer to another question";
    size_t n_answer;

    if (talk->n_in < LENGTH_BYTES)
        return TALK_MORE;
    dialogue_dns_build(&query, talk->check->send, talk->check->n_send, TCP_ID);
    n_answer = (size_t)talk->in[0] << 8 | talk->in[1];
    if (n_answer > query.n_bytes)
        n_answer = query.n_bytes;
    if (talk->n_in < LENGTH_BYTES + n_answer)
        return TALK_MORE;
    if (dialogue_dns_judge(&query, talk->in + LENGTH_BYTES, n_answer, &reason) == DIALOGUE_GOOD)
        return TALK_GOOD;
    return talk_wrong(talk, reason);
}

enum talk_step dialogue_dns_end(struct talk *talk)
{
    return talk_hung_up(talk);
}
