#include "lb4/shared/refusal_note.h"

/* Acquire and release: who has the flag sees the address that the one before it has left. */
static bool try_begin(struct refusal_note *note)
{
    return !atomic_exchange_explicit(&note->is_busy, true, memory_order_acquire);
}

static void end(struct refusal_note *note)
{
    atomic_store_explicit(&note->is_busy, false, memory_order_release);
}

static void keep_last(struct refusal_note *note, const struct addr *client)
{
    if (!try_begin(note))
        return;
    note->last = *client;
    end(note);
}

static void tell_last(struct refusal_note *note, struct refusal_told *ret)
{
    ret->has_last = try_begin(note);
    if (!ret->has_last)
        return;
    ret->last = note->last;
    end(note);
}

/* Relaxed: counts and times stand for themselves. Of those that come at the same moment one moves
 * the time on, and tells. */
bool refusal_note_look(struct refusal_note *note, uint64_t now_ns, struct refusal_told *ret)
{
    uint64_t until_ns = atomic_load_explicit(&note->until_ns, memory_order_relaxed);

    if (now_ns < until_ns || atomic_load_explicit(&note->n, memory_order_relaxed) == 0 ||
        !atomic_compare_exchange_strong_explicit(&note->until_ns, &until_ns,
                                                 now_ns + REFUSAL_NOTE_NS, memory_order_relaxed,
                                                 memory_order_relaxed))
        return false;
    ret->n = atomic_exchange_explicit(&note->n, 0, memory_order_relaxed);
    ret->over_ns = 0;
    if (until_ns != 0 && now_ns < until_ns + REFUSAL_NOTE_NS)
        ret->over_ns = now_ns - until_ns + REFUSAL_NOTE_NS;
    tell_last(note, ret);
    return ret->n > 0;
}

bool refusal_note_add(struct refusal_note *note, const struct addr *client, uint64_t now_ns,
                      struct refusal_told *ret)
{
    keep_last(note, client);
    atomic_fetch_add_explicit(&note->n, 1, memory_order_relaxed);
    return refusal_note_look(note, now_ns, ret);
}

uint64_t refusal_note_due_ns(const struct refusal_note *note)
{
    if (atomic_load_explicit(&note->n, memory_order_relaxed) == 0)
        return UINT64_MAX;
    return atomic_load_explicit(&note->until_ns, memory_order_relaxed);
}

void refusal_note_clear(struct refusal_note *note)
{
    atomic_store_explicit(&note->n, 0, memory_order_relaxed);
    atomic_store_explicit(&note->until_ns, 0, memory_order_relaxed);
}
