#include "lb4/probe/talk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/probe/dialogue_dns.h"
#include "lb4/probe/dialogue_http.h"
#include "lb4/probe/dialogue_mysql.h"
#include "lb4/probe/dialogue_postgres.h"
#include "lb4/probe/dialogue_redis.h"
#include "lb4/probe/dialogue_send.h"

enum {
    WORDS_MAX = 33
}; /* characters of a server's words, with the NUL; chosen: what is said
      around them fits into a note (shared/note.h) */

/* --- the kinds -------------------------------------------------------------------------------- */

void talk_begin(struct talk *talk, const struct service_check *check)
{
    /* Not the buffers, which are long. */
    memset(talk, 0, offsetof(struct talk, out_buffer));
    talk->check = check;
}

/* Of those kinds that talk. */
static const struct dialogue {
    enum talk_step (*open)(struct talk *talk);
    enum talk_step (*hear)(struct talk *talk);
    enum talk_step (*end)(struct talk *talk);
} dialogues[] = {
    [CONF_CHECK_HTTP] = {dialogue_http_open, dialogue_http_hear, dialogue_http_end},
    [CONF_CHECK_SEND] = {dialogue_send_open, dialogue_send_hear, dialogue_send_end},
    [CONF_CHECK_REDIS] = {dialogue_redis_open, dialogue_redis_hear, dialogue_redis_end},
    [CONF_CHECK_POSTGRES] = {dialogue_postgres_open, dialogue_postgres_hear, dialogue_postgres_end},
    [CONF_CHECK_MYSQL] = {dialogue_mysql_open, dialogue_mysql_hear, dialogue_mysql_end},
    [CONF_CHECK_DNS] = {dialogue_dns_open, dialogue_dns_hear, dialogue_dns_end},
    [CONF_CHECK_EXEC] = {NULL, NULL, NULL}, /* the last kind: each has a place */
};

static const struct dialogue *dialogue_of(const struct talk *talk)
{
    const struct dialogue *dialogue = &dialogues[talk->check->kind];

    if (!dialogue->open)
        abort(); /* it does not talk */
    return dialogue;
}

enum talk_step talk_open(struct talk *talk)
{
    return dialogue_of(talk)->open(talk);
}

enum talk_step talk_hear(struct talk *talk)
{
    enum talk_step step = dialogue_of(talk)->hear(talk);

    if (step == TALK_MORE && talk->n_in == TALK_IN_MAX)
        return talk_wrong_words(talk, "answer ", talk->in, talk->n_in, " is too long");
    return step;
}

enum talk_step talk_end(struct talk *talk)
{
    return dialogue_of(talk)->end(talk);
}

const char *talk_give_up(struct talk *talk)
{
    if (talk->n_in == 0)
        return NULL;
    if (talk->check->kind == CONF_CHECK_SEND)
        dialogue_send_end(talk);
    else
        talk_wrong_words(talk, "timed out waiting for the rest of ", talk->in, talk->n_in, "");
    return talk->reason;
}

/* --- for the dialogues ------------------------------------------------------------------------ */

enum talk_step talk_say(struct talk *talk, const void *bytes, size_t n_bytes)
{
    talk->out = bytes;
    talk->n_out = n_bytes;
    return TALK_SAY;
}

enum talk_step talk_say_text(struct talk *talk, const char *text)
{
    size_t n_bytes = strnlen(text, TALK_OUT_MAX);

    memcpy(talk->out_buffer, text, n_bytes);
    return talk_say(talk, talk->out_buffer, n_bytes);
}

void talk_consume(struct talk *talk, size_t n)
{
    talk->n_in -= n;
    memmove(talk->in, talk->in + n, talk->n_in);
}

enum talk_step talk_wrong(struct talk *talk, const char *reason)
{
    talk->reason = reason;
    return TALK_WRONG;
}

/* One byte, as the configuration would write it. Returns the characters written. */
static size_t escape(uint8_t byte, char to[static 5])
{
    if (byte == '\r' || byte == '\n')
        return (size_t)snprintf(to, 5, "\\%c", byte == '\r' ? 'r' : 'n');
    if (byte == '\\' || byte == '\'')
        return (size_t)snprintf(to, 5, "\\%c", byte);
    if (byte < 0x20 || byte >= 0x7f)
        return (size_t)snprintf(to, 5, "\\x%02x", byte);
    return (size_t)snprintf(to, 5, "%c", byte);
}

enum talk_step talk_wrong_words(struct talk *talk, const char *before, const uint8_t *bytes,
                                size_t n_bytes, const char *after)
{
    char words[WORDS_MAX] = "";
    char one[5];
    size_t at = 0;
    size_t i = 0;

    for (; i < n_bytes; i++) {
        size_t n = escape(bytes[i], one);

        if (at + n >= sizeof(words))
            break;
        memcpy(words + at, one, n + 1);
        at += n;
    }
    snprintf(talk->reason_text, sizeof(talk->reason_text), "%s'%s%s'%s", before, words,
             i < n_bytes ? "..." : "", after);
    return talk_wrong(talk, talk->reason_text);
}

enum talk_step talk_hung_up(struct talk *talk)
{
    if (talk->n_in == 0)
        return talk_wrong(talk, "hung up without an answer");
    return talk_wrong_words(talk, "hung up within its answer ", talk->in, talk->n_in, "");
}

bool talk_line(const struct talk *talk, size_t at, size_t *ret_n, size_t *ret_next)
{
    const uint8_t *end = memchr(talk->in + at, '\n', talk->n_in - at);

    if (!end)
        return false;
    *ret_next = (size_t)(end - talk->in) + 1;
    *ret_n = (size_t)(end - talk->in) - at;
    if (*ret_n > 0 && end[-1] == '\r')
        (*ret_n)--;
    return true;
}
