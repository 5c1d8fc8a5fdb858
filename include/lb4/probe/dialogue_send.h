/* A text that is sent, and what is expected of the answer: for servers that nothing here knows by
 * name (probe/talk.h). Pure.
 *
 * What is expected may stand anywhere in the answer, as in a datagram. Over TCP an answer has no
 * end, so it is waited for: until the server hangs up, until the time-out, a text for 64 KiB (the
 * attempt's limit), a regular expression in the first DIALOGUE_SEND_REGEX_MAX
 * bytes. Nothing expected: any byte
 * will do. */
#ifndef LB4_PROBE_DIALOGUE_SEND_H
#define LB4_PROBE_DIALOGUE_SEND_H

#include "lb4/probe/talk.h"

enum {
    DIALOGUE_SEND_REGEX_MAX = 512 /* chosen: the time of a bad expression grows with the square, and
                                     a server may say a byte at a time */
};

/* Is what the check expects in these bytes? Of a regular expression in the first
 * DIALOGUE_SEND_REGEX_MAX. */
bool dialogue_send_matches(const struct service_check *check, const uint8_t *bytes, size_t n_bytes);

enum talk_step dialogue_send_open(struct talk *talk);
enum talk_step dialogue_send_hear(struct talk *talk);
enum talk_step dialogue_send_end(struct talk *talk);

#endif
