/* One conversation over TCP with a server that is probed. Pure: bytes in, bytes out, a verdict; the
 * attempt (probe/attempt.h) owns it and does the I/O.
 *
 * talk.c is the switch over the kinds of checks, and what they have in common; each kind is one
 * module probe/dialogue_KIND. A dialogue keeps nothing of its own but `stage`, and what it has not
 * consumed of in[]. Answers come in pieces of any size. Of the prober's thread. */
#ifndef LB4_PROBE_TALK_H
#define LB4_PROBE_TALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/shared/plan.h"

enum talk_step {
    TALK_MORE, /* wait for more bytes */
    TALK_SAY,  /* send talk->out, then go on, or, after the last word, be content: TALK_GOOD */
    TALK_GOOD,
    TALK_WRONG /* talk->reason says what is */
};

enum {
    TALK_IN_MAX = 2048,  /* what a dialogue may keep of what it has heard; chosen */
    TALK_OUT_MAX = 1024, /* ... and say at once, but for texts of the check, which are not copied;
                            the longest is an HTTP request */
    TALK_REASON_MAX = 96 /* bytes, with the NUL */
};

struct talk {
    const struct service_check *check;
    struct addr server;                /* whom it speaks to; AF_UNSPEC = not told */
    const char *reason;                /* of TALK_WRONG: a constant, or reason_text */
    char reason_text[TALK_REASON_MAX]; /* printable, made of the server's words */
    const uint8_t *out;                /* of TALK_SAY: out_buffer, or a text of the check */
    size_t n_out;
    size_t n_in;       /* what has come and is not consumed */
    uint8_t stage;     /* the dialogue's own; 0 at first */
    bool is_last_word; /* with TALK_SAY: it is the goodbye, TALK_GOOD follows */
    bool has_all;      /* with TALK_GOOD: nothing is left for the server to say but its FIN */
    uint8_t out_buffer[TALK_OUT_MAX];
    uint8_t in[TALK_IN_MAX];
};

void talk_begin(struct talk *talk, const struct service_check *check);

/* It is connected: speak first (TALK_SAY), or listen (TALK_MORE). */
enum talk_step talk_open(struct talk *talk);

/* Bytes were appended to in[], or what was to be said has been sent whole: then maybe with nothing
 * in it. After TALK_MORE there is room in in[], as in a full one that means nothing to the dialogue
 * is TALK_WRONG. */
enum talk_step talk_hear(struct talk *talk);

/* The server's FIN: TALK_GOOD or TALK_WRONG. */
enum talk_step talk_end(struct talk *talk);

/* The time is over, or the server says too much. NULL: nothing has come; else what is wrong with
 * what has. */
const char *talk_give_up(struct talk *talk);

/* For the dialogues. Send this text, or, talk_say_text(), one that is copied: TALK_SAY. */
enum talk_step talk_say(struct talk *talk, const void *bytes, size_t n_bytes);
enum talk_step talk_say_text(struct talk *talk, const char *text);

/* Drop the first n of in[]. */
void talk_consume(struct talk *talk, size_t n);

/* TALK_WRONG for a constant reason. */
enum talk_step talk_wrong(struct talk *talk, const char *reason);

/* TALK_WRONG with the server's words in it: `before`, then the bytes in quotes, escaped and cut
 * after some 30 characters, then `after`. */
enum talk_step talk_wrong_words(struct talk *talk, const char *before, const uint8_t *bytes,
                                size_t n_bytes, const char *after);

/* TALK_WRONG for a FIN that comes too early: without an answer, or within it. */
enum talk_step talk_hung_up(struct talk *talk);

/* The first line of in[] from `at` on: how many bytes up to its CRLF or LF, which *ret_next is
 * behind. false: it has no end yet. */
bool talk_line(const struct talk *talk, size_t at, size_t *ret_n, size_t *ret_next);

#endif
