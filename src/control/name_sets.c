#include "lb4/control/name_sets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void set_free(struct name_set *set)
{
    free(set->host);
    free(set);
}

void name_sets_fini(struct name_sets *sets)
{
    for (size_t i = 0; i < sets->n; i++)
        set_free(sets->sets[i]);
    free(sets->sets);
    *sets = (struct name_sets){0};
}

static int compare(const struct name_set *set, const char *host, bool is_srv)
{
    int order = strcmp(set->host, host);

    return order != 0 ? order : (int)set->is_srv - (int)is_srv;
}

/* The first that is not before it. */
static size_t place_of(const struct name_sets *sets, const char *host, bool is_srv)
{
    size_t from = 0;
    size_t to = sets->n;

    while (from < to) {
        size_t at = from + (to - from) / 2;

        if (compare(sets->sets[at], host, is_srv) < 0)
            from = at + 1;
        else
            to = at;
    }
    return from;
}

struct name_set *name_sets_find(const struct name_sets *sets, const char *host, bool is_srv)
{
    size_t at = place_of(sets, host, is_srv);

    return at < sets->n && compare(sets->sets[at], host, is_srv) == 0 ? sets->sets[at] : NULL;
}

static struct name_set *set_new(const char *host, bool is_srv)
{
    struct name_set *set = calloc(1, sizeof(*set));

    if (!set)
        return NULL;
    set->is_srv = is_srv;
    set->host = strdup(host);
    if (set->host)
        return set;
    free(set);
    return NULL;
}

struct name_set *name_sets_add(struct name_sets *sets, const char *host, bool is_srv)
{
    size_t at = place_of(sets, host, is_srv);
    struct name_set **moved;
    struct name_set *set;

    if (at < sets->n && compare(sets->sets[at], host, is_srv) == 0)
        return sets->sets[at];
    moved = reallocarray(sets->sets, sets->n + 1, sizeof(struct name_set *));
    if (!moved)
        return NULL;
    sets->sets = moved;
    set = set_new(host, is_srv);
    if (!set)
        return NULL;
    memmove(&moved[at + 1], &moved[at], (sets->n - at) * sizeof(struct name_set *));
    moved[at] = set;
    sets->n++;
    return set;
}

void name_sets_tidy(struct name_sets *sets)
{
    size_t n_kept = 0;

    for (size_t i = 0; i < sets->n; i++) {
        if (sets->sets[i]->is_used || sets->sets[i]->is_under_way)
            sets->sets[n_kept++] = sets->sets[i];
        else
            set_free(sets->sets[i]);
    }
    sets->n = n_kept;
}

static bool is_same(const struct resolver_name *a, const struct resolver_name *b)
{
    if (a->n_addrs != b->n_addrs || a->is_cut != b->is_cut)
        return false;
    for (size_t i = 0; i < a->n_addrs; i++)
        if (!addr_equal(&a->addrs[i], &b->addrs[i]) ||
            a->ranks[i].priority != b->ranks[i].priority ||
            a->ranks[i].weight != b->ranks[i].weight)
            return false;
    return true;
}

void name_set_take(struct name_set *set, const struct resolver_name *answer, uint64_t now_ns)
{
    set->error = answer->n_addrs > 0 ? 0 : answer->error;
    if (answer->n_addrs == 0) {
        set->n_failed++;
        set->n_in_a_row++;
        if (set->failing_ns == 0)
            set->failing_ns = now_ns;
        return;
    }
    set->n_good++;
    set->n_in_a_row = 0;
    set->failing_ns = 0;
    set->is_other |= !is_same(&set->good, answer);
    set->good = *answer;
    set->good.host = set->host;
    set->good_ns = now_ns;
}

const char *name_set_format(const struct name_set *set, char text[static NAME_TEXT_MAX])
{
    snprintf(text, NAME_TEXT_MAX, "%s%s", set->is_srv ? "srv:" : "", set->host);
    return text;
}

const char *name_set_state(const struct name_set *set)
{
    if (set->good.n_addrs == 0)
        return "unresolved";
    return set->failing_ns ? "failing" : "ok";
}
