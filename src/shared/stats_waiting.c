#include "lb4/shared/stats_waiting.h"

static const char *const end_words[WAITING_ENDS] = {
    [WAITING_SERVED] = "served",
    [WAITING_GAVE_UP] = "gave_up",
    [WAITING_TIMED_OUT] = "timed_out",
    [WAITING_TURNED_AWAY] = "turned_away",
};

const char *waiting_end_word(enum waiting_end end)
{
    return end_words[end];
}

/* The ended are read before the begun, so that the difference is never negative. */
void stats_add_waiting(const struct stats_waiting *from, struct stats_waiting_sum *sum)
{
    uint64_t ended = 0;
    uint64_t begun;

    for (size_t i = 0; i < WAITING_ENDS; i++) {
        uint64_t n = stats_read(&from->ended[i]);

        sum->ended[i] += n;
        ended += n;
    }
    begun = stats_read(&from->begun);
    sum->begun += begun;
    sum->active += begun - ended;
    sum->refused += stats_read(&from->refused);
}

void stats_carry_waiting(struct stats_waiting_sum *to, const struct stats_waiting_sum *from)
{
    to->begun += from->begun;
    to->active += from->active;
    for (size_t i = 0; i < WAITING_ENDS; i++)
        to->ended[i] += from->ended[i];
    to->refused += from->refused;
}
