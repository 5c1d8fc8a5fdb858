/* Any bytes as what a server says to a probe over TCP, in pieces of any size. The first byte
 * chooses the check, the second the size of the pieces and whether the server hangs up; the rest is
 * said. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lb4/base/pattern.h"
#include "lb4/probe/talk.h"

enum { HEAR_MAX = 64 * 1024, N_CHECKS = 9, HANGS_UP = 0x80 };

static uint8_t texts[3][32] = {"ns.example", "needle", "/"};

/* What the fuzzer is given to find. */
static const struct service_check *checks(size_t index)
{
    static regex_t regex;
    static struct service_check all[N_CHECKS] = {
        {.kind = CONF_CHECK_HTTP,
         .send = texts[2],
         .n_send = 1,
         .status_min = 200,
         .status_max = 399},
        {.kind = CONF_CHECK_SEND, .send = texts[1], .n_send = 6, .expect = texts[1], .n_expect = 6},
        {.kind = CONF_CHECK_SEND, .expect = texts[1], .regex = &regex},
        {.kind = CONF_CHECK_REDIS},
        {.kind = CONF_CHECK_REDIS, .role = CONF_ROLE_MASTER},
        {.kind = CONF_CHECK_REDIS, .role = CONF_ROLE_REPLICA},
        {.kind = CONF_CHECK_DNS, .send = texts[0], .n_send = 10},
        {.kind = CONF_CHECK_POSTGRES},
        {.kind = CONF_CHECK_MYSQL},
    };
    char error[PATTERN_ERROR_MAX];

    if (!regex.buffer && !pattern_compile(&regex, "^a.*(b|c+)[0-9]{1,3}", error))
        abort();
    return &all[index % N_CHECKS];
}

static void check_step(const struct talk *talk, enum talk_step step)
{
    if (step == TALK_MORE && talk->n_in >= TALK_IN_MAX)
        abort();
    if (step == TALK_SAY && talk->n_out == 0)
        abort();
    if (step != TALK_WRONG)
        return;
    if (!talk->reason || !talk->reason[0] || strlen(talk->reason) >= TALK_REASON_MAX)
        abort();
    for (const char *at = talk->reason; *at; at++)
        if (*at < ' ' || *at > '~')
            abort();
}

/* As if it were sent whole at once. */
static enum talk_step say_all(struct talk *talk, enum talk_step step)
{
    for (int i = 0; step == TALK_SAY; i++) {
        if (i == 100)
            abort();
        check_step(talk, step);
        talk->n_out = 0;
        step = talk->is_last_word ? TALK_GOOD : talk_hear(talk);
    }
    check_step(talk, step);
    return step;
}

static enum talk_step converse(struct talk *talk, const uint8_t *data, size_t n_bytes, size_t piece)
{
    enum talk_step step = say_all(talk, talk_open(talk));
    size_t at = 0;

    while (step == TALK_MORE && at < n_bytes && at < HEAR_MAX) {
        size_t n = n_bytes - at < piece ? n_bytes - at : piece;

        if (n > TALK_IN_MAX - talk->n_in)
            n = TALK_IN_MAX - talk->n_in;
        memcpy(talk->in + talk->n_in, data + at, n);
        talk->n_in += n;
        at += n;
        step = say_all(talk, talk_hear(talk));
    }
    return step;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    struct talk *talk = malloc(sizeof(*talk));
    enum talk_step step;

    if (n_bytes >= 2 && talk) {
        talk_begin(talk, checks(data[0]));
        step = converse(talk, data + 2, n_bytes - 2, (data[1] & ~HANGS_UP) + 1u);
        if (step == TALK_MORE && data[1] & HANGS_UP) {
            step = talk_end(talk);
            if (step != TALK_GOOD && step != TALK_WRONG)
                abort();
            check_step(talk, step);
        } else if (step == TALK_MORE) {
            const char *reason = talk_give_up(talk);

            check_step(talk, reason ? TALK_WRONG : TALK_MORE);
        }
    }
    free(talk);
    return 0;
}
