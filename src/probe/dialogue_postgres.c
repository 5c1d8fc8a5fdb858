/* https://www.postgresql.org/docs/current/protocol-message-formats.html
 *
 *     HELLO    the answer to GSSENCRequest: one byte, or an error
 *     LOGIN    the answer to StartupMessage: whom it takes us for, or an error
 *     SESSION  it let us in without a password: all it says until it is ready for a query
 */
#include "lb4/probe/dialogue_postgres.h"

#include <string.h>

enum stage { HELLO, LOGIN, SESSION };

enum {
    TYPE_BYTES = 1,
    LENGTH_BYTES = 4, /* counts itself, not the type before it */
    CODE_BYTES = 4,
    N_CODE = 5 /* characters of an SQLSTATE */
};

static const uint8_t gssenc_request[] = {0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30};
static const uint8_t terminate[] = {'X', 0, 0, 0, 4};

/* Behind the user's name. */
static const char startup_rest[] = "database\0postgres\0application_name\0lb4\0";

/* --- what is said ----------------------------------------------------------------------------- */

static enum talk_step say_startup(struct talk *talk)
{
    static const uint8_t version_user[] = {0, 3, 0, 0, 'u', 's', 'e', 'r', 0};
    const struct service_check *check = talk->check;
    uint8_t *to = talk->out_buffer;
    size_t n = LENGTH_BYTES;

    if (check->n_send > TALK_OUT_MAX / 2)
        return talk_wrong(talk, "the user's name is too long");
    memcpy(to + n, version_user, sizeof(version_user));
    n += sizeof(version_user);
    memcpy(to + n, check->send, check->n_send);
    n += check->n_send;
    to[n++] = 0;
    memcpy(to + n, startup_rest, sizeof(startup_rest));
    n += sizeof(startup_rest);
    memcpy(to, (const uint8_t[]){0, 0, (uint8_t)(n >> 8), (uint8_t)n}, LENGTH_BYTES);
    return talk_say(talk, to, n);
}

enum talk_step dialogue_postgres_open(struct talk *talk)
{
    if (talk->check->n_send == 0)
        return talk_say(talk, gssenc_request, sizeof(gssenc_request));
    talk->stage = LOGIN;
    return say_startup(talk);
}

/* --- what is heard ---------------------------------------------------------------------------- */

static uint32_t number_at(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static enum talk_step not_postgres(struct talk *talk)
{
    return talk_wrong_words(talk, "not a PostgreSQL answer: ", talk->in, talk->n_in, "");
}

/* The field of an error that has this type, a text; NULL = there is none. */
static const uint8_t *find_field(const uint8_t *fields, size_t n_fields, uint8_t type,
                                 size_t *ret_n)
{
    while (n_fields > 1 && fields[0] != 0) {
        const uint8_t *end = memchr(fields, 0, n_fields);

        if (!end)
            return NULL;
        *ret_n = (size_t)(end - fields) - 1;
        if (fields[0] == type)
            return fields + 1;
        n_fields -= (size_t)(end - fields) + 1;
        fields = end + 1;
    }
    return NULL;
}

/* Before PostgreSQL 12 nobody had heard of GSSENCRequest: "unsupported frontend protocol". It
 * lives; so do poolers that say the same. */
static bool is_of_an_old_server(const struct talk *talk, const uint8_t *fields, size_t n_fields)
{
    size_t n;
    const uint8_t *code = find_field(fields, n_fields, 'C', &n);

    return talk->stage == HELLO && code && n == N_CODE && memcmp(code, "0A000", N_CODE) == 0;
}

static enum talk_step judge_error(struct talk *talk, const uint8_t *fields, size_t n_fields)
{
    size_t n;
    const uint8_t *text;

    if (is_of_an_old_server(talk, fields, n_fields))
        return TALK_GOOD;
    text = find_field(fields, n_fields, 'M', &n);
    if (!text)
        return not_postgres(talk);
    return talk_wrong_words(talk, "PostgreSQL error ", text, n, "");
}

/* A postmaster that cannot fork says so in the protocol of 1997: a text up to a NUL. */
static enum talk_step hear_old_error(struct talk *talk)
{
    const uint8_t *text = talk->in + TYPE_BYTES;
    size_t n_most = talk->n_in - TYPE_BYTES;
    size_t n = strnlen((const char *)text, n_most);

    if (n == n_most)
        return TALK_MORE;
    if (n > 0 && text[n - 1] == '\n')
        n--;
    return talk_wrong_words(talk, "PostgreSQL error ", text, n, "");
}

/* Is there a whole message? *ret_n: its bytes, with its type. A text in a length's place is far
 * longer than what fits. */
static enum talk_step find_message(struct talk *talk, size_t *ret_n)
{
    uint32_t length;

    if (talk->n_in < TYPE_BYTES + LENGTH_BYTES)
        return TALK_MORE;
    length = number_at(talk->in + TYPE_BYTES);
    if (length < LENGTH_BYTES || length >= TALK_IN_MAX)
        return TALK_WRONG;
    *ret_n = TYPE_BYTES + length;
    return talk->n_in < *ret_n ? TALK_MORE : TALK_GOOD;
}

static enum talk_step hear_error(struct talk *talk)
{
    enum { HEADER_BYTES = TYPE_BYTES + LENGTH_BYTES };
    size_t n;
    enum talk_step found = find_message(talk, &n);

    if (found == TALK_WRONG)
        return hear_old_error(talk);
    if (found == TALK_MORE)
        return TALK_MORE;
    return judge_error(talk, talk->in + HEADER_BYTES, n - HEADER_BYTES);
}

/* G: encryption by GSSAPI may begin; N: not with this server. Who says more says something else. */
static enum talk_step hear_hello(struct talk *talk)
{
    if (talk->in[0] == 'E')
        return hear_error(talk);
    if (talk->n_in > 1 || (talk->in[0] != 'G' && talk->in[0] != 'N'))
        return not_postgres(talk);
    return TALK_GOOD;
}

/* That it asks for a password, in whatever way, is all that one without can hear. */
static enum talk_step hear_login(struct talk *talk, size_t n)
{
    if (talk->in[0] == 'v' || talk->in[0] == 'N')
        return TALK_MORE;
    if (talk->in[0] != 'R' || n < TYPE_BYTES + LENGTH_BYTES + CODE_BYTES)
        return TALK_WRONG;
    if (number_at(talk->in + TYPE_BYTES + LENGTH_BYTES) != 0)
        return TALK_GOOD;
    talk->stage = SESSION;
    return TALK_MORE;
}

static enum talk_step hear_session(struct talk *talk)
{
    switch (talk->in[0]) {
    case 'S': /* a parameter's value */
    case 'K': /* the key to cancel a query */
    case 'N': /* a notice */
        return TALK_MORE;
    case 'Z':
        talk->is_last_word = true;
        return talk_say(talk, terminate, sizeof(terminate));
    default:
        return TALK_WRONG;
    }
}

static bool is_message_type(const struct talk *talk)
{
    return strchr(talk->stage == LOGIN ? "RvN" : "SKNZ", talk->in[0]) && talk->in[0] != 0;
}

static enum talk_step hear_messages(struct talk *talk)
{
    while (talk->n_in > 0) {
        enum talk_step step;
        size_t n;

        if (talk->in[0] == 'E')
            return hear_error(talk);
        step = is_message_type(talk) ? find_message(talk, &n) : TALK_WRONG;
        if (step == TALK_GOOD)
            step = talk->stage == LOGIN ? hear_login(talk, n) : hear_session(talk);
        else if (step == TALK_MORE)
            return TALK_MORE;
        if (step == TALK_WRONG)
            return not_postgres(talk);
        if (step != TALK_MORE)
            return step;
        talk_consume(talk, n);
    }
    return TALK_MORE;
}

enum talk_step dialogue_postgres_hear(struct talk *talk)
{
    if (talk->n_in == 0)
        return TALK_MORE;
    return talk->stage == HELLO ? hear_hello(talk) : hear_messages(talk);
}

enum talk_step dialogue_postgres_end(struct talk *talk)
{
    return talk_hung_up(talk);
}
