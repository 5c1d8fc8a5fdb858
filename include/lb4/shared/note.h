/* A short text that one thread writes and any thread reads, and since when it holds: why a server
 * is in the state it is in.
 *
 * A sequence lock of atomics: the writer never waits, a reader tries again when it met a change.
 * For changes that are rare. */
#ifndef LB4_SHARED_NOTE_H
#define LB4_SHARED_NOTE_H

#include <stdatomic.h>
#include <stdint.h>

enum { NOTE_WORDS = 12, NOTE_TEXT_MAX = NOTE_WORDS * 8 }; /* bytes, with the NUL */

struct note {
    _Atomic uint32_t sequence; /* odd while it is being written */
    _Atomic uint64_t since_ns; /* clock_now_ns(); 0 = never written */
    _Atomic uint64_t words[NOTE_WORDS];
};

/* A text that is too long is cut. Thread: the note's one writer. */
void note_write(struct note *note, uint64_t since_ns, const char *text);

/* Returns since when, with the text that belongs to it; 0 and "" if nothing was written yet.
 * Thread: any. */
uint64_t note_read(const struct note *note, char text[static NOTE_TEXT_MAX]);

#endif
