#include "lb4/shared/note.h"

#include <string.h>

/* Each word is released behind the odd sequence, and read with acquire before the sequence is
 * looked at again: who has seen one word of a later text sees a later sequence, too. Fences would
 * do with less, but thread sanitizers do not follow them. */
void note_write(struct note *note, uint64_t since_ns, const char *text)
{
    uint32_t sequence = atomic_load_explicit(&note->sequence, memory_order_relaxed);
    char bytes[NOTE_TEXT_MAX] = "";

    strncpy(bytes, text, sizeof(bytes) - 1);
    atomic_store_explicit(&note->sequence, sequence + 1, memory_order_relaxed);
    atomic_store_explicit(&note->since_ns, since_ns, memory_order_release);
    for (size_t i = 0; i < NOTE_WORDS; i++) {
        uint64_t word;

        memcpy(&word, bytes + i * sizeof(word), sizeof(word));
        atomic_store_explicit(&note->words[i], word, memory_order_release);
    }
    atomic_store_explicit(&note->sequence, sequence + 2, memory_order_release);
}

uint64_t note_read(const struct note *note, char text[static NOTE_TEXT_MAX])
{
    uint32_t before;
    uint32_t after;
    uint64_t since_ns;

    do {
        before = atomic_load_explicit(&note->sequence, memory_order_acquire);
        since_ns = atomic_load_explicit(&note->since_ns, memory_order_acquire);
        for (size_t i = 0; i < NOTE_WORDS; i++) {
            uint64_t word = atomic_load_explicit(&note->words[i], memory_order_acquire);

            memcpy(text + i * sizeof(word), &word, sizeof(word));
        }
        after = atomic_load_explicit(&note->sequence, memory_order_relaxed);
    } while (before != after || before % 2 == 1);
    return since_ns;
}
