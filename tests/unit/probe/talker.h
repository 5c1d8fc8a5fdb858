/* For tests of dialogues: a whole conversation without a network. */
#ifndef TEST_TALKER_H
#define TEST_TALKER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lb4/probe/talk.h"

enum { TALKER_WHOLE = 1 << 24, TALKER_HEAR_MAX = 64 * 1024 }; /* the latter as the attempt's */

/* What was said and how it ended. */
static struct {
    struct talk talk;
    char said[TALK_OUT_MAX + 1];
    size_t n_said;
    const char *reason; /* NULL unless it is wrong */
} talker;

static inline void talker_note(enum talk_step *step)
{
    struct talk *talk = &talker.talk;

    while (*step == TALK_SAY) {
        assert_true(talk->n_out > 0 && talker.n_said + talk->n_out <= TALK_OUT_MAX);
        memcpy(talker.said + talker.n_said, talk->out, talk->n_out);
        talker.n_said += talk->n_out;
        talker.said[talker.n_said] = '\0';
        talk->n_out = 0;
        *step = talk->is_last_word ? TALK_GOOD : talk_hear(talk);
    }
    if (*step == TALK_MORE)
        assert_true(talk->n_in < TALK_IN_MAX);
    talker.reason = *step == TALK_WRONG ? talk->reason : NULL;
    if (*step == TALK_WRONG) {
        assert_true(strlen(talk->reason) > 0 && strlen(talk->reason) < TALK_REASON_MAX);
        for (const char *at = talk->reason; *at; at++)
            assert_true(*at >= ' ' && *at < 0x7f);
    }
}

/* The server says these bytes, `piece` at a time, until there is a verdict, or TALK_MORE. */
static inline enum talk_step talker_hear(const struct service_check *check, const void *bytes,
                                         size_t n_bytes, size_t piece)
{
    struct talk *talk = &talker.talk;
    enum talk_step step;
    size_t at = 0;

    memset(talk, 0x55, sizeof(*talk));
    talk_begin(talk, check);
    talker.n_said = 0;
    talker.said[0] = '\0';
    step = talk_open(talk);
    talker_note(&step);
    while (step == TALK_MORE && at < n_bytes && at < TALKER_HEAR_MAX) {
        size_t n = n_bytes - at < piece ? n_bytes - at : piece;

        if (n > TALK_IN_MAX - talk->n_in)
            n = TALK_IN_MAX - talk->n_in;
        memcpy(talk->in + talk->n_in, (const uint8_t *)bytes + at, n);
        talk->n_in += n;
        at += n;
        step = talk_hear(talk);
        talker_note(&step);
    }
    return step;
}

/* ... and hangs up, if it was not judged before. */
static inline enum talk_step talker_end(const struct service_check *check, const void *bytes,
                                        size_t n_bytes, size_t piece)
{
    enum talk_step step = talker_hear(check, bytes, n_bytes, piece);

    if (step != TALK_MORE)
        return step;
    step = talk_end(&talker.talk);
    assert_true(step == TALK_GOOD || step == TALK_WRONG);
    talker_note(&step);
    return step;
}

/* One piece, and single bytes, come to the same. */
static inline void talker_good(const struct service_check *check, const void *bytes, size_t n_bytes)
{
    assert_int_equal(talker_hear(check, bytes, n_bytes, TALKER_WHOLE), TALK_GOOD);
    assert_int_equal(talker_hear(check, bytes, n_bytes, 1), TALK_GOOD);
}

static inline void talker_wrong(const struct service_check *check, const void *bytes,
                                size_t n_bytes, const char *reason)
{
    assert_int_equal(talker_end(check, bytes, n_bytes, TALKER_WHOLE), TALK_WRONG);
    assert_string_equal(talker.reason, reason);
    assert_int_equal(talker_end(check, bytes, n_bytes, 1), TALK_WRONG);
    assert_string_equal(talker.reason, reason);
}

/* No prefix up to `n_needed` is good, nor wrong before its end. */
static inline void talker_waits(const struct service_check *check, const void *bytes,
                                size_t n_needed)
{
    for (size_t n = 0; n < n_needed; n++) {
        assert_int_equal(talker_hear(check, bytes, n, TALKER_WHOLE), TALK_MORE);
        assert_int_equal(talker_end(check, bytes, n, 1), TALK_WRONG);
        if (n == 0)
            assert_string_equal(talker.reason, "hung up without an answer");
    }
}

/* The same, and then it is good. */
static inline void talker_prefixes(const struct service_check *check, const void *bytes,
                                   size_t n_needed)
{
    talker_waits(check, bytes, n_needed);
    talker_good(check, bytes, n_needed);
}

/* A megabyte of each byte, and of all bytes: never good, never more than the buffer. */
static inline void talker_junk(const struct service_check *check)
{
    const size_t n_bytes = 1 << 20;
    uint8_t *junk = malloc(n_bytes);

    assert_non_null(junk);
    for (int byte = 0; byte <= 256; byte++) {
        for (size_t i = 0; i < n_bytes; i++)
            junk[i] = (uint8_t)(byte < 256 ? (size_t)byte : i * 31 % 251);
        assert_int_equal(talker_end(check, junk, n_bytes, 4096), TALK_WRONG);
    }
    free(junk);
}

/* Beginnings of these bytes and then random ones, in pieces of random sizes, and the bytes with
 * each of them changed to all values: talker_note() judges what becomes of it. */
static inline void talker_noise(const struct service_check *check, const void *bytes,
                                size_t n_bytes)
{
    enum { ROUNDS = 3000, NOISE_MAX = 2 * TALK_IN_MAX };
    static uint8_t noise[NOISE_MAX];

    srand(15);
    for (int round = 0; round < ROUNDS; round++) {
        size_t n = (size_t)rand() % NOISE_MAX;

        for (size_t i = 0; i < n; i++)
            noise[i] = (uint8_t)(rand() % (round % 2 ? 256 : 8));
        memcpy(noise, bytes, (size_t)rand() % (n_bytes + 1));
        talker_end(check, noise, n, 1 + (size_t)rand() % 700);
    }
    memcpy(noise, bytes, n_bytes);
    for (size_t at = 0; at < n_bytes; at++) {
        for (unsigned value = 0; value < 256; value++) {
            noise[at] = (uint8_t)value;
            talker_end(check, noise, n_bytes, TALKER_WHOLE);
        }
        noise[at] = ((const uint8_t *)bytes)[at];
    }
}

#endif
