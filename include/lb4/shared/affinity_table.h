/* Which server each client of a service was sent to last, for all workers: `affinity`.
 *
 * A client is 16 bytes, compared in full. 16,384 sets of 8 entries, the set by a hash with a secret
 * of this table: 4.1 MiB at the most, which come with use; nothing grows. Where a set is full the
 * client that came last the longest ago gives way, first among those without a connection.
 *
 * No function waits, allocates or calls the kernel, but for new and free. A client has one entry at
 * the most: who adds one that another thread has added meanwhile is told so. Any thread. */
#ifndef LB4_SHARED_AFFINITY_TABLE_H
#define LB4_SHARED_AFFINITY_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct affinity_table;

struct affinity_key {
    uint64_t words[2];
};

/* A server: its place, and the number that no other one in this place ever has. */
struct affinity_home {
    uint32_t place;  /* below 65,536 */
    uint32_t serial; /* 0 = none: what was known was forgotten */
};

/* That a connection counts in its client's entry. All zero: it does not. */
struct affinity_hold {
    uint32_t slot; /* 1.. */
    uint32_t version;
};

/* An entry as it was when it was read. */
struct affinity_seen {
    uint32_t slot; /* 1.. */
    uint32_t n_live;
    uint64_t age_ns; /* since the last begin; to 1 ms */
    struct affinity_home home;
    uint64_t life_word; /* the same, as the entry has it */
    uint64_t home_word;
};

/* A begin: which server, when, and for how long that is to be remembered. */
struct affinity_begin {
    struct affinity_home home;
    uint64_t now_ns;
    uint64_t lasts_ns;
};

enum affinity_added {
    AFFINITY_ADDED,
    AFFINITY_KNOWN,  /* another thread has: find it */
    AFFINITY_CROWDED /* no entry can be had now, as others are at work on each; never seen so far */
};

/* NULL: no memory, or no random bits. Thread: control. */
struct affinity_table *affinity_table_new(void);
void affinity_table_free(struct affinity_table *table);

/* false: it is not there. */
bool affinity_table_find(const struct affinity_table *table, const struct affinity_key *key,
                         uint64_t now_ns, struct affinity_seen *ret);
/* Nobody has a connection, and the last one began longer ago than lasts_ns. */
bool affinity_is_over(const struct affinity_seen *seen, uint64_t lasts_ns);

/* One that is not there, or over. */
enum affinity_added affinity_table_add(struct affinity_table *table, const struct affinity_key *key,
                                       const struct affinity_begin *begin,
                                       struct affinity_hold *hold);
/* Another server, for one that was found. false: somebody else has changed it since. */
bool affinity_table_move(struct affinity_table *table, const struct affinity_seen *seen,
                         struct affinity_home home);
/* A connection of one that was found begins; it is counted in `hold`, once. false: the entry has
 * become another client's. */
bool affinity_table_touch(struct affinity_table *table, const struct affinity_seen *seen,
                          uint64_t now_ns, struct affinity_hold *hold);

/* The connection ends. */
void affinity_table_leave(struct affinity_table *table, struct affinity_hold *hold);
/* The client of a connection is to be sent anywhere, if it would still be sent to `home`. */
void affinity_table_forget(struct affinity_table *table, const struct affinity_hold *hold,
                           struct affinity_home home);

/* From *at, which begins with 0, the next client, over or not. false: that was all. */
bool affinity_table_next(const struct affinity_table *table, uint64_t now_ns, size_t *at,
                         struct affinity_key *ret_key, struct affinity_seen *ret);
/* Clients that are not over: a walk of 0.2 to 2 ms. Thread: control. */
size_t affinity_table_count(const struct affinity_table *table, uint64_t now_ns, uint64_t lasts_ns);

#endif
