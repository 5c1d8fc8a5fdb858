/* The state of a source is one word: a version, pins, live clients, and a phase:
 *
 *    FREE -> CLAIMED (by one thread, which writes the key) -> LISTED -> CLAIMED (for another key)
 *
 * A pin or a live client is taken by compare-and-swap of the whole word, so who has read the key
 * between the load and the swap has the source that he looked for. Only a source without either is
 * claimed; each giving back is another version, so that a claim never overlooks a visit.
 *
 * Two threads must not list one key twice. The header of the set is a sequence number, and at times
 * the way that is being listed: a thread reads it, finds no such key, claims a way, writes it, and
 * puts it in the header. That fails if anything was listed since, and the way is given up. Whoever
 * finds a way in the header lists it, also if its thread has stopped; the version there keeps those
 * that come late from listing a later claim. Taking the shared entry moves the sequence, too: so no
 * key is in both. Acquire and release throughout: each swap orders what was read before it. */
#include "lb4/shared/sources.h"

#include <stdlib.h>
#include <string.h>

#include "lb4/base/clock.h"
#include "lb4/shared/reserve.h"

enum { FREE, CLAIMED, LISTED };

enum { LIVE_SHIFT = 2, PIN_SHIFT = 26, VERSION_SHIFT = 36, COUNT_BITS = 24, CAUSE_BITS = 4 };

static const uint64_t PHASE_MASK = 3;
static const uint64_t LIVE_ONE = 1ull << LIVE_SHIFT;
static const uint64_t LIVE_MASK = ((1ull << 24) - 1) << LIVE_SHIFT;
static const uint64_t PIN_ONE = 1ull << PIN_SHIFT;
static const uint64_t PIN_MASK = ((1ull << 10) - 1) << PIN_SHIFT;
static const uint64_t VERSION_ONE = 1ull << VERSION_SHIFT; /* wraps */
static const uint64_t VERSION_MASK = ~0ull << VERSION_SHIFT;
static const uint64_t COUNT_MASK = (1ull << COUNT_BITS) - 1;

/* The header: the version of the claim in its place, a sequence number, a way, whether it is there.
 */
static const uint64_t PENDING = 1;
enum { WAY_SHIFT = 1, SEQUENCE_SHIFT = 5 };
static const uint64_t SEQUENCE_ONE = 1ull << SEQUENCE_SHIFT;
static const uint64_t SEQUENCE_MASK = ((1ull << (VERSION_SHIFT - SEQUENCE_SHIFT)) - 1)
                                      << SEQUENCE_SHIFT;

static uint64_t load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_acquire);
}

static void store(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_release);
}

static bool swap(_Atomic uint64_t *word, uint64_t *expected, uint64_t value)
{
    return atomic_compare_exchange_strong_explicit(word, expected, value, memory_order_acq_rel,
                                                   memory_order_acquire);
}

static void count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static bool has_key(const struct source_entry *source, const struct source_key *key)
{
    return load(&source->net[0]) == key->net[0] && load(&source->net[1]) == key->net[1] &&
           load(&source->kind) == key->kind;
}

/* --- one source ------------------------------------------------------------------------------- */

static uint64_t next_version(uint64_t state)
{
    return (state & ~VERSION_MASK) | ((state + VERSION_ONE) & VERSION_MASK);
}

void source_unpin(struct source_entry *source)
{
    uint64_t state = load(&source->state);

    while (!swap(&source->state, &state, next_version(state) - PIN_ONE))
        ;
}

bool source_take(struct source_entry *source, uint32_t limit)
{
    uint64_t state = load(&source->state);

    do {
        uint64_t n_live = (state & LIVE_MASK) >> LIVE_SHIFT;

        if ((limit > 0 && n_live >= limit) || (state & LIVE_MASK) == LIVE_MASK)
            return false;
    } while (!swap(&source->state, &state, state + LIVE_ONE - PIN_ONE));
    return true;
}

void source_give(struct source_entry *source)
{
    uint64_t state = load(&source->state);

    while (!swap(&source->state, &state, next_version(state) - LIVE_ONE))
        ;
}

uint32_t source_live(const struct source_entry *source)
{
    return (uint32_t)((load(&source->state) & LIVE_MASK) >> LIVE_SHIFT);
}

/* Refusals: until when they count, in milliseconds, and how many. */
static uint64_t refusals_end_ns(uint64_t refused)
{
    return (refused >> COUNT_BITS) * CLOCK_NS_PER_MS;
}

static uint32_t refusals_count(uint64_t refused, uint64_t now_ns)
{
    return refusals_end_ns(refused) > now_ns ? refused & COUNT_MASK : 0;
}

uint32_t source_refusals(const struct source_entry *source, uint64_t now_ns)
{
    return refusals_count(load(&source->refused), now_ns);
}

uint32_t source_note_refusal(struct source_entry *source, uint64_t now_ns, uint64_t within_ns)
{
    uint64_t before = load(&source->refused);
    uint64_t first = ((now_ns + within_ns) / CLOCK_NS_PER_MS + 1) << COUNT_BITS | 1;
    uint64_t after;

    do {
        if ((before + 1) >> COUNT_BITS != before >> COUNT_BITS)
            return (1u << COUNT_BITS) - 1;
        after = refusals_count(before, now_ns) > 0 ? before + 1 : first;
    } while (!swap(&source->refused, &before, after));
    return refusals_count(after, now_ns);
}

/* What is over never counts, and here it was over at the beginning of time. */
void source_blame(struct source_entry *source, uint32_t n_refused, unsigned cause)
{
    store(&source->refused, (uint64_t)(n_refused << CAUSE_BITS | cause) & COUNT_MASK);
}

static void read_blame(const struct source_entry *source, struct source_view *ret)
{
    uint64_t refused = load(&source->refused) & COUNT_MASK;

    ret->n_refused = (uint32_t)(refused >> CAUSE_BITS);
    ret->cause = refused & ((1u << CAUSE_BITS) - 1);
}

bool source_pardon(struct source_entry *source, uint64_t now_ns)
{
    bool was_banned = source_is_banned(source, now_ns);

    store(&source->banned_ns, 0);
    store(&source->refused, 0);
    return was_banned;
}

/* --- sets ------------------------------------------------------------------------------------- */

static struct source_set *set_of(const struct sources *sources, const struct source_key *key)
{
    return &sources->sets[siphash(&sources->key, key, sizeof(*key)) & (sources->n_sets - 1)];
}

/* List what is in the header, if there is anything. Its first pin is that of the thread that claims
 * it. Returns a header without. */
static uint64_t settle(struct source_set *set)
{
    uint64_t header = load(&set->header);

    while (header & PENDING) {
        struct source_entry *source = &set->ways[header >> WAY_SHIFT & (SOURCES_WAYS - 1)];
        uint64_t version = header & VERSION_MASK;
        uint64_t claimed = version | CLAIMED;
        uint64_t settled = header & SEQUENCE_MASK;

        swap(&source->state, &claimed, version | PIN_ONE | LISTED);
        if (swap(&set->header, &header, settled))
            return settled;
    }
    return header;
}

static uint64_t next_header(uint64_t header)
{
    return (header + SEQUENCE_ONE) & SEQUENCE_MASK;
}

static bool pin_if(struct source_entry *source, const struct source_key *key)
{
    uint64_t state = load(&source->state);

    while ((state & PHASE_MASK) == LISTED && has_key(source, key))
        if (swap(&source->state, &state, state + PIN_ONE))
            return true;
    return false;
}

static struct source_entry *find(struct source_set *set, const struct source_key *key)
{
    for (size_t i = 0; i < SOURCES_WAYS; i++)
        if (pin_if(&set->ways[i], key))
            return &set->ways[i];
    return NULL;
}

/* How much would be lost: 0 = nothing, UINT32_MAX = too much; else so many refusals. */
static uint32_t worth(const struct source_entry *source, uint64_t state, uint64_t now_ns)
{
    if ((state & PHASE_MASK) == FREE)
        return 0;
    if ((state & PHASE_MASK) == CLAIMED || (state & (PIN_MASK | LIVE_MASK)) ||
        load(&source->arrivals) > now_ns || load(&source->datagrams) > now_ns ||
        source_is_banned(source, now_ns))
        return UINT32_MAX;
    return source_refusals(source, now_ns);
}

/* The way whose loss is the least, and what it is; NULL: each would be too much. */
static struct source_entry *find_least(struct source_set *set, uint64_t now_ns, uint64_t *ret_state)
{
    struct source_entry *least = NULL;
    uint32_t least_worth = UINT32_MAX;

    for (size_t i = 0; i < SOURCES_WAYS && least_worth > 0; i++) {
        uint64_t state = load(&set->ways[i].state);
        uint32_t n = worth(&set->ways[i], state, now_ns);

        if (n < least_worth) {
            least = &set->ways[i];
            least_worth = n;
            *ret_state = state;
        }
    }
    return least;
}

/* A way for another key, *ret_before being what it was; or NULL. */
static struct source_entry *claim(struct source_set *set, uint64_t now_ns, uint64_t *ret_before)
{
    struct source_entry *source;
    uint64_t expected;

    do {
        source = find_least(set, now_ns, ret_before);
        expected = *ret_before;
    } while (source &&
             !swap(&source->state, &expected, (next_version(expected) & VERSION_MASK) | CLAIMED));
    return source;
}

static void count_claim(struct sources *sources, uint64_t before, bool is_listed)
{
    bool was_free = (before & PHASE_MASK) == FREE;

    if (!was_free)
        count(&sources->n_evicted, 1);
    if (was_free && is_listed)
        count(&sources->n_tracked, 1);
    else if (!was_free && !is_listed)
        count(&sources->n_tracked, UINT64_MAX);
}

/* What the strangers owed together, each still owes. */
static void write_claimed(const struct source_set *set, struct source_entry *source,
                          const struct source_key *key)
{
    store(&source->net[0], key->net[0]);
    store(&source->net[1], key->net[1]);
    store(&source->kind, key->kind);
    store(&source->arrivals, load(&set->shared.arrivals));
    store(&source->datagrams, load(&set->shared.datagrams));
    store(&source->banned_ns, 0);
    store(&source->refused, 0);
}

/* NULL: the set has changed meanwhile. */
static struct source_entry *list_claimed(struct sources *sources, struct source_set *set,
                                         struct source_entry *source, uint64_t before,
                                         uint64_t header)
{
    uint64_t state = load(&source->state);
    uint64_t pending = next_header(header) | (state & VERSION_MASK) |
                       (uint64_t)(source - set->ways) << WAY_SHIFT | PENDING;
    bool is_listed = swap(&set->header, &header, pending);

    count_claim(sources, before, is_listed);
    if (!is_listed) {
        store(&source->state, next_version(state) & VERSION_MASK); /* FREE; nobody else writes it */
        return NULL;
    }
    settle(set);
    return source;
}

static struct source_entry *take_shared(struct sources *sources, struct source_set *set,
                                        uint64_t header)
{
    atomic_fetch_add_explicit(&set->shared.state, PIN_ONE, memory_order_acq_rel);
    if (swap(&set->header, &header, next_header(header))) {
        count(&sources->n_shared, 1);
        return &set->shared;
    }
    source_unpin(&set->shared);
    return NULL;
}

static struct source_entry *add(struct sources *sources, struct source_set *set,
                                const struct source_key *key, uint64_t header, uint64_t now_ns)
{
    bool is_shared = load(&set->shared.state) & (PIN_MASK | LIVE_MASK);
    uint64_t before = 0;
    struct source_entry *source = is_shared ? NULL : claim(set, now_ns, &before);

    if (!source)
        return take_shared(sources, set, header);
    write_claimed(set, source, key);
    return list_claimed(sources, set, source, before, header);
}

struct source_entry *sources_enter(struct sources *sources, const struct source_key *key,
                                   uint64_t now_ns)
{
    struct source_set *set = set_of(sources, key);
    struct source_entry *source = NULL;

    while (!source) {
        uint64_t header = settle(set);

        source = find(set, key);
        if (!source)
            source = add(sources, set, key, header, now_ns);
    }
    return source;
}

struct source_entry *sources_find(struct sources *sources, const struct source_key *key)
{
    struct source_set *set = set_of(sources, key);

    settle(set);
    return find(set, key);
}

static struct source_set *set_with(const struct sources *sources, const struct source_entry *source)
{
    return &sources->sets[(size_t)((const char *)source - (const char *)sources->sets) /
                          sizeof(struct source_set)];
}

bool source_is_shared(const struct sources *sources, const struct source_entry *source)
{
    return source == &set_with(sources, source)->shared;
}

static void lengthen(_Atomic uint64_t *longest, uint64_t until_ns)
{
    uint64_t before_ns = load(longest);

    while (before_ns < until_ns && !swap(longest, &before_ns, until_ns))
        ;
}

void sources_ban(struct sources *sources, struct source_entry *source, uint64_t until_ns)
{
    store(&source->banned_ns, until_ns);
    lengthen(&set_with(sources, source)->banned_ns, until_ns);
    lengthen(&sources->banned_ns, until_ns);
}

/* --- the table -------------------------------------------------------------------------------- */

struct sources *sources_new(uint64_t n_clients)
{
    struct sources *sources = calloc(1, sizeof(*sources));

    if (!sources)
        return NULL;
    sources->n_sets = SOURCES_SETS_MIN;
    while (sources->n_sets < SOURCES_SETS_MAX && sources->n_sets < n_clients / 2)
        sources->n_sets *= 2;
    sources->sets = reserve_memory(sources->n_sets, sizeof(*sources->sets));
    if (sources->sets && siphash_key_init(&sources->key) == 0)
        return sources;
    sources_free(sources);
    return NULL;
}

void sources_free(struct sources *sources)
{
    if (!sources)
        return;
    reserve_release(sources->sets, sources->n_sets, sizeof(*sources->sets));
    free(sources);
}

size_t sources_bytes(const struct sources *sources)
{
    return sources->n_sets * sizeof(*sources->sets);
}

/* false: it was another one before all was read, or is none. */
static bool view(const struct source_entry *source, uint64_t now_ns, struct source_view *ret)
{
    uint64_t state = load(&source->state);
    uint64_t banned_ns = load(&source->banned_ns);

    if ((state & PHASE_MASK) != LISTED)
        return false;
    *ret = (struct source_view){
        .key = {{load(&source->net[0]), load(&source->net[1])}, load(&source->kind)},
        .n_live = (uint32_t)((state & LIVE_MASK) >> LIVE_SHIFT),
        .n_refused = source_refusals(source, now_ns),
        .banned_ns = banned_ns > now_ns ? banned_ns - now_ns : 0,
        .arrivals_ns = load(&source->arrivals),
        .datagrams_ns = load(&source->datagrams),
    };
    if (ret->banned_ns > 0)
        read_blame(source, ret);
    return has_key(source, &ret->key);
}

static bool says_something(const struct source_view *view, uint64_t now_ns)
{
    return view->n_live > 0 || view->n_refused > 0 || view->banned_ns > 0 ||
           view->arrivals_ns > now_ns || view->datagrams_ns > now_ns;
}

bool sources_next(const struct sources *sources, uint64_t now_ns, size_t *at,
                  struct source_view *ret)
{
    while (*at < sources->n_sets * SOURCES_WAYS) {
        const struct source_set *set = &sources->sets[*at / SOURCES_WAYS];
        size_t way = *at % SOURCES_WAYS;

        *at += way > 0 || load(&set->header) ? 1 : SOURCES_WAYS; /* nobody ever was there */
        if (view(&set->ways[way], now_ns, ret) && says_something(ret, now_ns))
            return true;
    }
    return false;
}

size_t sources_count_bans(const struct sources *sources, uint64_t now_ns)
{
    bool is_any = load(&sources->banned_ns) > now_ns;
    size_t n = 0;

    for (size_t i = 0; is_any && i < sources->n_sets; i++) {
        const struct source_set *set = &sources->sets[i];

        for (size_t k = 0; load(&set->banned_ns) > now_ns && k < SOURCES_WAYS; k++)
            n += source_is_banned(&set->ways[k], now_ns);
    }
    return n;
}

size_t sources_pardon_all(struct sources *sources, uint64_t now_ns)
{
    size_t n = 0;

    for (size_t i = 0; i < sources->n_sets; i++)
        for (size_t k = 0; load(&sources->sets[i].header) && k < SOURCES_WAYS; k++)
            n += source_pardon(&sources->sets[i].ways[k], now_ns);
    return n;
}
