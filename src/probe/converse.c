#include "lb4/probe/converse.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

void converse_keep_reason(struct attempt *attempt, const char *reason)
{
    attempt->reason = reason;
    if (reason != attempt->talk->reason_text)
        return;
    memcpy(attempt->reason_text, reason, sizeof(attempt->reason_text));
    attempt->reason = attempt->reason_text;
}

static enum talk_step after_saying(struct talk *talk)
{
    return talk->is_last_word ? TALK_GOOD : talk_hear(talk);
}

/* A server that hangs up on us may have said why before: what it has said is heard first, and the
 * error is kept for the end. A goodbye that it does not wait for is nothing to it. */
static int say(struct attempt *attempt, enum talk_step *ret_step)
{
    struct talk *talk = attempt->talk;

    while (talk->n_out > 0) {
        ssize_t n = send(attempt->source.fd, talk->out, talk->n_out, MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN)
            return -EAGAIN;
        if (n < 0) {
            attempt->error = errno;
            attempt->told |= EPOLLERR;
            talk->n_out = 0;
            *ret_step = talk->is_last_word ? TALK_GOOD : TALK_MORE;
            return 0;
        }
        talk->out += n;
        talk->n_out -= (size_t)n;
    }
    *ret_step = after_saying(talk);
    return 0;
}

/* Whatever is not judged by then is too much. */
static enum talk_step limit(struct attempt *attempt, enum talk_step step)
{
    const char *reason;

    if (step != TALK_MORE || attempt->n_heard < ATTEMPT_HEAR_MAX)
        return step;
    reason = talk_give_up(attempt->talk);
    return talk_wrong(attempt->talk, reason ? reason : "answer is too long");
}

/* The bytes of one recv(2), or the end. */
static int listen_on(struct attempt *attempt, enum talk_step *ret_step)
{
    struct talk *talk = attempt->talk;
    ssize_t n = attempt_recv(attempt, talk->in + talk->n_in, TALK_IN_MAX - talk->n_in);

    if (n < 0)
        return (int)n;
    if (n > 0) {
        talk->n_in += (size_t)n;
        attempt->n_heard += (uint32_t)n;
        *ret_step = limit(attempt, talk_hear(talk));
        return 0;
    }
    *ret_step = talk_end(talk);
    return *ret_step == TALK_WRONG && attempt->n_heard == 0 ? -attempt->error : 0;
}

/* From this step on, until the kernel has to be waited for. */
static int go_on(struct attempt *attempt, enum talk_step step)
{
    int error = 0;

    while (!error) {
        switch (step) {
        case TALK_MORE:
            error = listen_on(attempt, &step);
            break;
        case TALK_SAY:
            error = say(attempt, &step);
            break;
        case TALK_GOOD:
            return 0;
        case TALK_WRONG:
            converse_keep_reason(attempt, attempt->talk->reason);
            return -EBADMSG;
        }
    }
    return error;
}

int converse_open(struct attempt *attempt)
{
    return go_on(attempt, talk_open(attempt->talk));
}

int converse(struct attempt *attempt)
{
    return go_on(attempt, attempt->talk->n_out > 0 ? TALK_SAY : TALK_MORE);
}
