/* RESP2: https://redis.io/docs/latest/develop/reference/protocol-spec/ */
#include "lb4/probe/dialogue_redis.h"

#include <string.h>

enum talk_step dialogue_redis_open(struct talk *talk)
{
    return talk_say_text(talk, talk->check->role == CONF_ROLE_ANY ? "*1\r\n$4\r\nPING\r\n"
                                                                  : "*1\r\n$4\r\nROLE\r\n");
}

static bool is_text(const uint8_t *bytes, size_t n, const char *text)
{
    return n == strlen(text) && memcmp(bytes, text, n) == 0;
}

static bool begins_with(const uint8_t *bytes, size_t n, const char *text)
{
    return n >= strlen(text) && memcmp(bytes, text, strlen(text)) == 0;
}

static enum talk_step judge_role(struct talk *talk, const uint8_t *role, size_t n)
{
    bool wants_master = talk->check->role == CONF_ROLE_MASTER;

    if (is_text(role, n, wants_master ? "master" : "slave"))
        return TALK_GOOD;
    if (is_text(role, n, "slave"))
        return talk_wrong(talk, "wanted role master, it is a replica");
    if (is_text(role, n, "master"))
        return talk_wrong(talk, "wanted role replica, it is a master");
    return talk_wrong_words(
        talk, wants_master ? "wanted role master, it is " : "wanted role replica, it is ", role, n,
        "");
}

/* An array whose first element is a string: the role. */
static enum talk_step hear_role(struct talk *talk, size_t next)
{
    size_t at = next;
    size_t n;

    if (!talk_line(talk, at, &n, &next))
        return TALK_MORE;
    if (n == 0 || talk->in[at] != '$')
        return talk_wrong_words(talk, "not an answer to ROLE: ", talk->in, talk->n_in, "");
    at = next;
    if (!talk_line(talk, at, &n, &next))
        return TALK_MORE;
    return judge_role(talk, talk->in + at, n);
}

static enum talk_step hear_error(struct talk *talk, size_t n)
{
    if (!begins_with(talk->in, n, "-NOAUTH"))
        return talk_wrong_words(talk, "answer ", talk->in, n, "");
    if (talk->check->role == CONF_ROLE_ANY)
        return TALK_GOOD;
    return talk_wrong(talk, talk->check->role == CONF_ROLE_MASTER
                                ? "wanted role master, it wants a password"
                                : "wanted role replica, it wants a password");
}

enum talk_step dialogue_redis_hear(struct talk *talk)
{
    size_t next;
    size_t n;

    if (!talk_line(talk, 0, &n, &next))
        return TALK_MORE;
    if (talk->in[0] == '-')
        return hear_error(talk, n);
    if (talk->check->role != CONF_ROLE_ANY && talk->in[0] == '*')
        return hear_role(talk, next);
    if (talk->check->role == CONF_ROLE_ANY && is_text(talk->in, n, "+PONG")) {
        talk->has_all = talk->n_in == next;
        return TALK_GOOD;
    }
    return talk_wrong_words(talk, "not a Redis answer: ", talk->in, n, "");
}

enum talk_step dialogue_redis_end(struct talk *talk)
{
    return talk_hung_up(talk);
}
