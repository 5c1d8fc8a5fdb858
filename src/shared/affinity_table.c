/* Each set has a word of 8 tags, a byte for each entry: 0 = empty, BUSY = somebody fills it, or a
 * few bits of the client's hash. An entry is there when its tag is.
 *
 *    empty or other client --CAS: the set is as I read it--> BUSY --CAS: my client is in no other
 *    entry of the set as it is now--> its tag
 *
 * The second CAS is of the whole word, so it fails if anything of the set has changed since it was
 * looked through: a client has one entry. Nobody waits for a busy one; it is passed over.
 *
 * The words of an entry change by CAS, each with a number in it that grows when the entry becomes
 * another client's, so that who has read it before does nothing to the new one. The number in
 * `life` is odd while the key is written: who finds it even, and unchanged behind the key, has read
 * one client's. */
#include "lb4/shared/affinity_table.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "lb4/base/siphash.h"
#include "lb4/shared/reserve.h"

enum {
    N_SETS = 16384, /* chosen: 131,072 clients */
    SET_SIZE = 8,
    BUSY = 0xff,
    N_TAGS = 254,    /* 1..254 */
    ADDS_MAX = 16,   /* chosen: each is in vain only if another thread got on with its own */
    TIME_SHIFT = 20, /* units of 1.05 ms */
    LIVE_SHIFT = 36,
    VERSION_SHIFT = 52,
    PLACE_SHIFT = 32,
    TURN_SHIFT = 48
};

/* life: version 12 bits, live connections 16, time of the last begin 36 (2.3 years, then it wraps).
 * home: turn 16 bits, place 16, serial 32. */
static const uint64_t TIME_MASK = (1ull << LIVE_SHIFT) - 1;
static const uint64_t LIVE_MAX = 0xffff;
static const uint64_t ONE_LIVE = 1ull << LIVE_SHIFT;

struct entry {
    _Atomic uint64_t life;
    _Atomic uint64_t home;
    _Atomic uint64_t key[2];
};

struct affinity_table {
    struct siphash_key secret;
    _Atomic uint64_t *tags; /* N_SETS */
    struct entry *entries;  /* N_SETS * SET_SIZE */
};

/* --- words --------------------------------------------------------------------------------------
 */

static uint64_t live_of(uint64_t life)
{
    return life >> LIVE_SHIFT & LIVE_MAX;
}

static uint32_t version_of(uint64_t life)
{
    return (uint32_t)(life >> VERSION_SHIFT);
}

static uint64_t time_word(uint64_t now_ns)
{
    return now_ns >> TIME_SHIFT & TIME_MASK;
}

/* What began a moment ahead of `now`, by another worker's clock, is new. */
static uint64_t age_ns_of(uint64_t life, uint64_t now_ns)
{
    uint64_t age = (time_word(now_ns) - life) & TIME_MASK;

    return age > TIME_MASK / 2 ? 0 : age << TIME_SHIFT;
}

/* Begun now, with a connection more, if it can be counted. */
static uint64_t life_begun(uint64_t life, uint64_t now_ns, bool is_counted)
{
    return (life & ~TIME_MASK) + (is_counted ? ONE_LIVE : 0) + time_word(now_ns);
}

static uint64_t home_after(uint64_t before, struct affinity_home home)
{
    return ((before >> TURN_SHIFT) + 1) << TURN_SHIFT | (uint64_t)home.place << PLACE_SHIFT |
           home.serial;
}

static struct affinity_home home_of(uint64_t word)
{
    return (struct affinity_home){(uint32_t)(word >> PLACE_SHIFT & 0xffff), (uint32_t)word};
}

static uint8_t tag_at(uint64_t tags, unsigned i)
{
    return (uint8_t)(tags >> 8 * i);
}

static uint64_t with_tag(uint64_t tags, unsigned i, uint8_t tag)
{
    return (tags & ~(0xffull << 8 * i)) | (uint64_t)tag << 8 * i;
}

/* --- looking ------------------------------------------------------------------------------------
 */

/* Where a client belongs, and the tags as they were when it was looked for. */
struct spot {
    const struct affinity_key *key;
    _Atomic uint64_t *tags;
    struct entry *entries; /* SET_SIZE */
    uint32_t first_slot;
    uint8_t tag;
    uint64_t tags_word;
};

static struct spot spot_of(const struct affinity_table *table, const struct affinity_key *key)
{
    uint64_t hash = siphash(&table->secret, key->words, sizeof(key->words));
    uint32_t set = (uint32_t)(hash % N_SETS);

    return (struct spot){.key = key,
                         .tags = &table->tags[set],
                         .entries = &table->entries[(size_t)set * SET_SIZE],
                         .first_slot = set * SET_SIZE + 1,
                         .tag = (uint8_t)(1 + (hash >> 32) % N_TAGS)};
}

/* false: it is another client's, or has just become so. */
static bool read_entry(const struct entry *entry, const struct affinity_key *key,
                       struct affinity_seen *ret)
{
    ret->life_word = atomic_load_explicit(&entry->life, memory_order_acquire);
    if (atomic_load_explicit(&entry->key[0], memory_order_acquire) != key->words[0] ||
        atomic_load_explicit(&entry->key[1], memory_order_acquire) != key->words[1])
        return false;
    ret->home_word = atomic_load_explicit(&entry->home, memory_order_acquire);
    return version_of(ret->life_word) % 2 == 0 &&
           version_of(atomic_load_explicit(&entry->life, memory_order_relaxed)) ==
               version_of(ret->life_word);
}

/* Takes the tags anew. */
static bool look(struct spot *spot, struct affinity_seen *ret)
{
    spot->tags_word = atomic_load_explicit(spot->tags, memory_order_acquire);
    for (unsigned i = 0; i < SET_SIZE; i++) {
        if (tag_at(spot->tags_word, i) != spot->tag ||
            !read_entry(&spot->entries[i], spot->key, ret))
            continue;
        ret->slot = spot->first_slot + i;
        return true;
    }
    return false;
}

static void explain(struct affinity_seen *seen, uint64_t now_ns)
{
    seen->n_live = (uint32_t)live_of(seen->life_word);
    seen->age_ns = age_ns_of(seen->life_word, now_ns);
    seen->home = home_of(seen->home_word);
}

bool affinity_table_find(const struct affinity_table *table, const struct affinity_key *key,
                         uint64_t now_ns, struct affinity_seen *ret)
{
    struct spot spot = spot_of(table, key);

    if (!look(&spot, ret))
        return false;
    explain(ret, now_ns);
    return true;
}

bool affinity_is_over(const struct affinity_seen *seen, uint64_t lasts_ns)
{
    return seen->n_live == 0 && seen->age_ns > lasts_ns;
}

/* --- adding -------------------------------------------------------------------------------------
 */

/* Who gives way: an empty entry, or the oldest, first of those without a connection. SET_SIZE = all
 * are busy. */
static unsigned find_victim(const struct spot *spot, uint64_t now_ns)
{
    const uint64_t idle = 1ull << 63;
    unsigned victim = SET_SIZE;
    uint64_t most = 0;

    for (unsigned i = 0; i < SET_SIZE; i++) {
        uint64_t life;
        uint64_t merit;

        if (tag_at(spot->tags_word, i) == 0)
            return i;
        if (tag_at(spot->tags_word, i) == BUSY)
            continue;
        life = atomic_load_explicit(&spot->entries[i].life, memory_order_relaxed);
        merit = (live_of(life) == 0 ? idle : 0) + age_ns_of(life, now_ns);
        if (victim == SET_SIZE || merit > most) {
            victim = i;
            most = merit;
        }
    }
    return victim;
}

static bool set_tags(struct spot *spot, unsigned i, uint8_t tag)
{
    return atomic_compare_exchange_strong_explicit(spot->tags, &spot->tags_word,
                                                   with_tag(spot->tags_word, i, tag),
                                                   memory_order_acq_rel, memory_order_acquire);
}

/* It is ours alone, but for the words of who has read it before. Returns its version. */
static uint32_t fill(struct entry *entry, const struct affinity_key *key,
                     const struct affinity_begin *begin)
{
    uint64_t life = atomic_load_explicit(&entry->life, memory_order_relaxed);
    uint64_t home = atomic_load_explicit(&entry->home, memory_order_relaxed);
    uint64_t next;

    do {
        next = (uint64_t)(version_of(life) + 1) << VERSION_SHIFT;
    } while (!atomic_compare_exchange_weak_explicit(&entry->life, &life, next, memory_order_acq_rel,
                                                    memory_order_relaxed));
    while (!atomic_compare_exchange_weak_explicit(&entry->home, &home,
                                                  home_after(home, begin->home),
                                                  memory_order_acq_rel, memory_order_relaxed))
        continue;
    for (int i = 0; i < 2; i++)
        atomic_store_explicit(&entry->key[i], key->words[i], memory_order_release);
    next = (uint64_t)(version_of(next) + 1) << VERSION_SHIFT;
    atomic_store_explicit(&entry->life, life_begun(next, begin->now_ns, true),
                          memory_order_release);
    return version_of(next);
}

/* false: somebody else was first; the entry is empty. */
static bool publish(struct spot *spot, unsigned i)
{
    struct affinity_seen other;

    do {
        if (look(spot, &other)) {
            while (!set_tags(spot, i, 0))
                continue;
            return false;
        }
    } while (!set_tags(spot, i, spot->tag));
    return true;
}

enum affinity_added affinity_table_add(struct affinity_table *table, const struct affinity_key *key,
                                       const struct affinity_begin *begin,
                                       struct affinity_hold *hold)
{
    struct spot spot = spot_of(table, key);

    for (int n = 0; n < ADDS_MAX; n++) {
        struct affinity_seen seen;
        bool is_there = look(&spot, &seen);
        uint32_t version;
        unsigned i;

        if (is_there)
            explain(&seen, begin->now_ns);
        if (is_there && !affinity_is_over(&seen, begin->lasts_ns))
            return AFFINITY_KNOWN;
        i = is_there ? seen.slot - spot.first_slot : find_victim(&spot, begin->now_ns);
        if (i == SET_SIZE)
            break;
        if (!set_tags(&spot, i, BUSY))
            continue;
        version = fill(&spot.entries[i], key, begin);
        if (!publish(&spot, i))
            return AFFINITY_KNOWN;
        affinity_table_leave(table, hold);
        *hold = (struct affinity_hold){spot.first_slot + i, version};
        return AFFINITY_ADDED;
    }
    return AFFINITY_CROWDED;
}

/* --- changing -----------------------------------------------------------------------------------
 */

bool affinity_table_move(struct affinity_table *table, const struct affinity_seen *seen,
                         struct affinity_home home)
{
    uint64_t before = seen->home_word;

    return atomic_compare_exchange_strong_explicit(&table->entries[seen->slot - 1].home, &before,
                                                   home_after(before, home), memory_order_acq_rel,
                                                   memory_order_relaxed);
}

bool affinity_table_touch(struct affinity_table *table, const struct affinity_seen *seen,
                          uint64_t now_ns, struct affinity_hold *hold)
{
    const struct affinity_hold wanted = {seen->slot, version_of(seen->life_word)};
    bool has_it = hold->slot == wanted.slot && hold->version == wanted.version;
    uint64_t life = seen->life_word;
    bool is_counted;

    do {
        if (version_of(life) != wanted.version)
            return false;
        is_counted = !has_it && live_of(life) < LIVE_MAX;
    } while (!atomic_compare_exchange_weak_explicit(&table->entries[seen->slot - 1].life, &life,
                                                    life_begun(life, now_ns, is_counted),
                                                    memory_order_acq_rel, memory_order_acquire));
    if (is_counted) {
        affinity_table_leave(table, hold);
        *hold = wanted;
    }
    return true;
}

void affinity_table_leave(struct affinity_table *table, struct affinity_hold *hold)
{
    uint64_t life;

    if (hold->slot == 0)
        return;
    life = atomic_load_explicit(&table->entries[hold->slot - 1].life, memory_order_relaxed);
    while (version_of(life) == hold->version && live_of(life) > 0)
        if (atomic_compare_exchange_weak_explicit(&table->entries[hold->slot - 1].life, &life,
                                                  life - ONE_LIVE, memory_order_acq_rel,
                                                  memory_order_relaxed))
            break;
    *hold = (struct affinity_hold){0};
}

void affinity_table_forget(struct affinity_table *table, const struct affinity_hold *hold,
                           struct affinity_home home)
{
    struct entry *entry;
    uint64_t word;

    if (hold->slot == 0)
        return;
    entry = &table->entries[hold->slot - 1];
    word = atomic_load_explicit(&entry->home, memory_order_acquire);
    if (version_of(atomic_load_explicit(&entry->life, memory_order_relaxed)) != hold->version ||
        home_of(word).place != home.place || home_of(word).serial != home.serial)
        return;
    atomic_compare_exchange_strong_explicit(&entry->home, &word,
                                            home_after(word, (struct affinity_home){0}),
                                            memory_order_acq_rel, memory_order_relaxed);
}

/* --- the whole ----------------------------------------------------------------------------------
 */

static size_t count_set(const struct affinity_table *table, size_t set, uint64_t now_ns,
                        uint64_t lasts_ns)
{
    uint64_t tags = atomic_load_explicit(&table->tags[set], memory_order_acquire);
    size_t n = 0;

    for (unsigned i = 0; tags && i < SET_SIZE; i++) {
        uint64_t life;

        if (tag_at(tags, i) == 0 || tag_at(tags, i) == BUSY)
            continue;
        life = atomic_load_explicit(&table->entries[set * SET_SIZE + i].life, memory_order_relaxed);
        n += live_of(life) > 0 || age_ns_of(life, now_ns) <= lasts_ns;
    }
    return n;
}

size_t affinity_table_count(const struct affinity_table *table, uint64_t now_ns, uint64_t lasts_ns)
{
    size_t n = 0;

    for (size_t set = 0; set < N_SETS; set++)
        n += count_set(table, set, now_ns, lasts_ns);
    return n;
}

static bool read_any(const struct entry *entry, struct affinity_key *ret_key,
                     struct affinity_seen *ret)
{
    for (size_t i = 0; i < 2; i++)
        ret_key->words[i] = atomic_load_explicit(&entry->key[i], memory_order_acquire);
    return read_entry(entry, ret_key, ret);
}

bool affinity_table_next(const struct affinity_table *table, uint64_t now_ns, size_t *at,
                         struct affinity_key *ret_key, struct affinity_seen *ret)
{
    while (*at < (size_t)N_SETS * SET_SIZE) {
        size_t slot = (*at)++;
        uint64_t tags = atomic_load_explicit(&table->tags[slot / SET_SIZE], memory_order_acquire);
        uint8_t tag = tag_at(tags, slot % SET_SIZE);

        if (tag == 0 || tag == BUSY || !read_any(&table->entries[slot], ret_key, ret))
            continue;
        ret->slot = (uint32_t)slot + 1;
        explain(ret, now_ns);
        return true;
    }
    return false;
}

struct affinity_table *affinity_table_new(void)
{
    struct affinity_table *table = calloc(1, sizeof(*table));

    if (!table)
        return NULL;
    table->tags = reserve_memory(N_SETS, sizeof(*table->tags));
    table->entries = reserve_memory((size_t)N_SETS * SET_SIZE, sizeof(*table->entries));
    if (table->tags && table->entries && siphash_key_init(&table->secret) == 0)
        return table;
    affinity_table_free(table);
    return NULL;
}

void affinity_table_free(struct affinity_table *table)
{
    if (!table)
        return;
    reserve_release(table->tags, N_SETS, sizeof(*table->tags));
    reserve_release(table->entries, (size_t)N_SETS * SET_SIZE, sizeof(*table->entries));
    free(table);
}
