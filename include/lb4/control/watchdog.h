/* Whether every thread that serves still lives: the condition for feeding the service manager's
 * watchdog. A thread lives when it answers MAILBOX_PING in its loop; one that hangs, or spins,
 * does not, the watchdog stays hungry, and the manager starts lb4 anew.
 *
 * Thread: control. */
#ifndef LB4_CONTROL_WATCHDOG_H
#define LB4_CONTROL_WATCHDOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb4/shared/mailbox.h"

enum { WATCHDOG_NAME_MAX = 24 }; /* bytes of a thread's name with its NUL */

struct watchdog_thread {
    struct mailbox *mailbox;
    char name[WATCHDOG_NAME_MAX];
    uint64_t n_answers; /* when it was asked */
};

struct watchdog {
    uint64_t period_ns; /* from one feeding to the next: half of the manager's; 0 = off */
    uint64_t due_ns;    /* the next look */
    uint64_t fed_ns;    /* the last feeding */
    struct watchdog_thread *threads;
    size_t n_threads;
    bool is_hang_told;
};

/* `watchdog_ns` is what the manager waits for a sign of life; 0 = there is no watchdog, then all
 * calls do nothing. Room for `max_threads`. Returns 0 or -ENOMEM. */
int watchdog_init(struct watchdog *watchdog, uint64_t watchdog_ns, size_t max_threads);
void watchdog_fini(struct watchdog *watchdog); /* also of one that is all zero */

/* Watch the owner of this mailbox, too. At most `max_threads` of them. */
void watchdog_watch(struct watchdog *watchdog, struct mailbox *mailbox, const char *name);

/* All threads run: ask them for the first time. */
void watchdog_start(struct watchdog *watchdog, uint64_t now_ns);

/* UINT64_MAX: off, or not started. */
uint64_t watchdog_due_ns(const struct watchdog *watchdog);

/* Is it time to feed, and has every thread answered since the last feeding? Then feed, and call
 * watchdog_fed(). A thread that has not is looked at again an eighth of the period later, and named
 * in the log once. */
bool watchdog_is_hungry(struct watchdog *watchdog, uint64_t now_ns);
/* Fed: ask all again. */
void watchdog_fed(struct watchdog *watchdog, uint64_t now_ns);

#endif
