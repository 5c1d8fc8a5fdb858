#include "lb4/probe/dialogue_send.h"

#include <string.h>

/* REG_STARTEND, an extension of glibc: the bytes may hold NULs. They need none behind them either,
 * but sanitizers take them for a string. */
static bool matches_regex(const regex_t *regex, const uint8_t *bytes, size_t n_bytes)
{
    char text[DIALOGUE_SEND_REGEX_MAX + 1];
    size_t n = n_bytes < DIALOGUE_SEND_REGEX_MAX ? n_bytes : DIALOGUE_SEND_REGEX_MAX;
    regmatch_t whole = {.rm_so = 0, .rm_eo = (regoff_t)n};

    memcpy(text, bytes, n);
    text[n] = '\0';
    return regexec(regex, text, 1, &whole, REG_STARTEND) == 0;
}

bool dialogue_send_matches(const struct service_check *check, const uint8_t *bytes, size_t n_bytes)
{
    if (check->regex)
        return matches_regex(check->regex, bytes, n_bytes);
    return check->n_expect == 0 || memmem(bytes, n_bytes, check->expect, check->n_expect);
}

enum talk_step dialogue_send_open(struct talk *talk)
{
    if (talk->check->n_send == 0)
        return TALK_MORE;
    return talk_say(talk, talk->check->send, talk->check->n_send);
}

static enum talk_step mismatch(struct talk *talk)
{
    return talk_wrong_words(talk, "answer ", talk->in, talk->n_in, " does not match");
}

/* In a full buffer a text may still begin at the end. */
static enum talk_step go_on(struct talk *talk)
{
    if (talk->check->regex && talk->n_in >= DIALOGUE_SEND_REGEX_MAX)
        return mismatch(talk);
    if (talk->n_in < TALK_IN_MAX)
        return TALK_MORE;
    talk_consume(talk, talk->n_in - (talk->check->n_expect - 1));
    return TALK_MORE;
}

enum talk_step dialogue_send_hear(struct talk *talk)
{
    if (talk->n_in == 0)
        return TALK_MORE;
    return dialogue_send_matches(talk->check, talk->in, talk->n_in) ? TALK_GOOD : go_on(talk);
}

enum talk_step dialogue_send_end(struct talk *talk)
{
    return talk->n_in > 0 ? mismatch(talk) : talk_hung_up(talk);
}
