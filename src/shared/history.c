#include "lb4/shared/history.h"

#include <string.h>
#include <time.h>

#include "lb4/base/clock.h"
#include "lb4/shared/reserve.h"

struct history *history_new(void)
{
    return reserve_memory(1, sizeof(struct history));
}

void history_free(struct history *history)
{
    reserve_release(history, 1, sizeof(struct history));
}

/* By the present difference of the two clocks, so that entries of two writers have one order. */
static uint64_t wall_ms(uint64_t at_ns)
{
    uint64_t ago_ns = clock_now_ns() - at_ns;
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return ((uint64_t)now.tv_sec * CLOCK_NS_PER_S + (uint64_t)now.tv_nsec - ago_ns) /
           CLOCK_NS_PER_MS;
}

/* The order of memory is that of shared/note.c. */
void history_append(struct history *history, const struct history_entry *entry)
{
    uint64_t number = atomic_load_explicit(&history->n_ever, memory_order_relaxed);
    struct history_cell *cell = &history->cells[number % HISTORY_ENTRIES];
    uint32_t sequence = atomic_load_explicit(&cell->sequence, memory_order_relaxed);
    uint64_t words[HISTORY_WORDS] = {0};
    struct history_entry copy = *entry;

    if (copy.at_ns < history->last_ns)
        copy.at_ns = history->last_ns;
    history->last_ns = copy.at_ns;
    copy.at_ms = wall_ms(copy.at_ns);
    memcpy(words, &copy, sizeof(copy));
    atomic_store_explicit(&cell->sequence, sequence + 1, memory_order_relaxed);
    for (size_t i = 0; i < HISTORY_WORDS; i++)
        atomic_store_explicit(&cell->words[i], words[i], memory_order_release);
    atomic_store_explicit(&cell->sequence, sequence + 2, memory_order_release);
    atomic_store_explicit(&history->n_ever, number + 1, memory_order_release);
}

void history_range(const struct history *history, uint64_t *ret_first, uint64_t *ret_end)
{
    *ret_end = atomic_load_explicit(&history->n_ever, memory_order_acquire);
    *ret_first = *ret_end > HISTORY_ENTRIES ? *ret_end - HISTORY_ENTRIES : 0;
}

/* A cell has been written once in each round of the ring, so its sequence tells whose it is. */
bool history_read(const struct history *history, uint64_t number, struct history_entry *ret)
{
    const struct history_cell *cell = &history->cells[number % HISTORY_ENTRIES];
    uint32_t wanted = (uint32_t)(2 * (number / HISTORY_ENTRIES + 1));
    uint32_t before = atomic_load_explicit(&cell->sequence, memory_order_acquire);
    uint64_t words[HISTORY_WORDS];

    for (size_t i = 0; i < HISTORY_WORDS; i++)
        words[i] = atomic_load_explicit(&cell->words[i], memory_order_acquire);
    if (before != wanted || atomic_load_explicit(&cell->sequence, memory_order_relaxed) != wanted)
        return false;
    memcpy(ret, words, sizeof(*ret));
    return true;
}
