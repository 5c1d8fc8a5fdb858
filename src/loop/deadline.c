#include "lb4/loop/deadline.h"

#include <limits.h>
#include <stdlib.h>

#include "lb4/base/clock.h"

static const uint64_t DEADLINE_SLACK_MAX_NS = 64 * 1000000ull;

uint64_t deadline_slack_ns(uint64_t duration_ns)
{
    uint64_t slack_ns = duration_ns / 8;

    return slack_ns < DEADLINE_SLACK_MAX_NS ? slack_ns : DEADLINE_SLACK_MAX_NS;
}

void deadline_list_init(struct deadline_list *list, uint64_t duration_ns, uint64_t slack_ns)
{
    list_init(&list->entries);
    list->duration_ns = duration_ns;
    list->slack_ns = slack_ns;
    list->n_users = 0;
}

void deadline_init(struct deadline *deadline)
{
    list_init(&deadline->link);
    deadline->due_ns = 0;
}

/* The slack is added at the start, so that a touch which is skipped within it cannot make the
 * deadline come early. */
void deadline_start(struct deadline_list *list, struct deadline *deadline, uint64_t now_ns)
{
    list_remove(&deadline->link);
    deadline->due_ns = now_ns + list->duration_ns + list->slack_ns;
    deadline->list = list;
    list_append(&list->entries, &deadline->link);
}

void deadline_touch(struct deadline_list *list, struct deadline *deadline, uint64_t now_ns)
{
    uint64_t fresh_ns = now_ns + list->duration_ns + list->slack_ns;

    if (fresh_ns - deadline->due_ns > list->slack_ns)
        deadline_start(list, deadline, now_ns);
}

void deadline_stop(struct deadline *deadline)
{
    list_remove(&deadline->link);
}

struct deadline *deadline_expire(struct deadline_list *list, uint64_t now_ns)
{
    struct deadline *first;

    if (list_is_empty(&list->entries))
        return NULL;
    first = container_of(list->entries.next, struct deadline, link);
    if (first->due_ns > now_ns)
        return NULL;
    list_remove(&first->link);
    return first;
}

uint64_t deadline_earliest(const struct deadline_list *list, uint64_t other_ns)
{
    const struct deadline *first;

    if (list_is_empty(&list->entries))
        return other_ns;
    first = container_of(list->entries.next, struct deadline, link);
    return first->due_ns < other_ns ? first->due_ns : other_ns;
}

void deadline_set_fini(struct deadline_set *set)
{
    for (size_t i = 0; i < set->n_lists; i++)
        free(set->lists[i]);
    free(set->lists);
    *set = (struct deadline_set){0};
}

static struct deadline_list *set_add(struct deadline_set *set)
{
    struct deadline_list **lists =
        realloc(set->lists, (set->n_lists + 1) * sizeof(struct deadline_list *));
    struct deadline_list *list;

    if (!lists)
        return NULL;
    set->lists = lists;
    list = malloc(sizeof(*list));
    if (list)
        set->lists[set->n_lists++] = list;
    return list;
}

static struct deadline_list *set_find(const struct deadline_set *set, uint64_t duration_ns,
                                      uint64_t slack_ns)
{
    for (size_t i = 0; i < set->n_lists; i++) {
        struct deadline_list *list = set->lists[i];

        if (list->duration_ns == duration_ns && list->slack_ns == slack_ns)
            return list;
    }
    return NULL;
}

/* When one is wanted is the time at which there may be one too many: as a process is reloaded again
 * and again, each turn would look at all durations that ever were. */
static void set_sweep(struct deadline_set *set)
{
    size_t n = 0;

    for (size_t i = 0; i < set->n_lists; i++) {
        struct deadline_list *list = set->lists[i];

        if (list->n_users == 0 && list_is_empty(&list->entries))
            free(list);
        else
            set->lists[n++] = list;
    }
    set->n_lists = n;
}

struct deadline_list *deadline_set_list(struct deadline_set *set, uint64_t duration_ns,
                                        uint64_t slack_ns)
{
    struct deadline_list *list = set_find(set, duration_ns, slack_ns);

    if (!list) {
        set_sweep(set);
        list = set_add(set);
        if (!list)
            return NULL;
        deadline_list_init(list, duration_ns, slack_ns);
    }
    list->n_users++;
    return list;
}

void deadline_list_leave(struct deadline_list *list)
{
    if (list)
        list->n_users--;
}

struct deadline *deadline_set_expire(struct deadline_set *set, size_t *at, uint64_t now_ns)
{
    for (; *at < set->n_lists; ++*at) {
        struct deadline *deadline = deadline_expire(set->lists[*at], now_ns);

        if (deadline)
            return deadline;
    }
    return NULL;
}

uint64_t deadline_set_earliest(const struct deadline_set *set, uint64_t other_ns)
{
    for (size_t i = 0; i < set->n_lists; i++)
        other_ns = deadline_earliest(set->lists[i], other_ns);
    return other_ns;
}

int deadline_wait_ms(uint64_t due_ns, uint64_t now_ns)
{
    uint64_t wait_ms;

    if (due_ns == UINT64_MAX)
        return -1;
    if (due_ns <= now_ns)
        return 0;
    wait_ms = (due_ns - now_ns + CLOCK_NS_PER_MS - 1) / CLOCK_NS_PER_MS;
    return wait_ms < INT_MAX ? (int)wait_ms : INT_MAX;
}
