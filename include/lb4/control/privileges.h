/* Who the daemon is while it serves: an unprivileged user, CAP_NET_BIND_SERVICE in the permitted
 * set at most (so that control may raise it for a bind at reload), and no way back.
 *
 * setresuid(2) of glibc reaches all threads, but capset(2) and prctl(2) only the calling one. So
 * privileges_drop() is for the main thread while no other thread exists (before log_start() too);
 * threads that are started later inherit the result, and call privileges_thread_none(). */
#ifndef LB4_CONTROL_PRIVILEGES_H
#define LB4_CONTROL_PRIVILEGES_H

#include <stdbool.h>
#include <sys/types.h>

enum { PRIVILEGES_USER_MAX = 64, PRIVILEGES_ERROR_MAX = 256 }; /* the second with its NUL */

struct privileges_ids {
    uid_t uid;
    gid_t gid;
    bool is_named;                      /* a user or a group was asked for */
    char user[PRIVILEGES_USER_MAX + 1]; /* for initgroups(3); "" = not in the user database */
};

/* Look `user` and `group` up, by name or by number; "" for both = stay who we are. A user alone
 * brings its primary group. Asks the name service, so it may block. Returns 0, or -errno with a
 * sentence in `reterr`: -ENOENT unknown, others as getpwnam(3). */
int privileges_resolve(const char *user, const char *group, struct privileges_ids *ret,
                       char reterr[static PRIVILEGES_ERROR_MAX]);

/* Become `ids` for good: groups, gid, uid, capabilities, no_new_privs, not dumpable; everything is
 * read back. Without root only for ids that are ours already. Returns 0, or -errno with a sentence
 * in `reterr`; after an error the process must not go on, it may be half changed. Thread: main,
 * with no other thread in the process. Source: capabilities(7), credentials(7), prctl(2). */
int privileges_drop(const struct privileges_ids *ids, char reterr[static PRIVILEGES_ERROR_MAX]);

/* Before the drop: some server has a `mark`, which every connect to it needs CAP_NET_RAW for
 * (socket(7); Linux 5.17). If it is there it stays, and is effective in threads that connect. */
void privileges_keep_mark(void);

/* Give up all capabilities of the calling thread. Returns 0 or -errno of capset(2). Thread: any, at
 * its start. */
int privileges_thread_none(void);
/* All but what privileges_keep_mark() has kept: for threads that connect to servers. */
int privileges_thread_connects(void);

/* For a bind at reload: CAP_NET_BIND_SERVICE, if it was kept, becomes effective in the calling
 * thread, or ceases to be. Thread: control. */
void privileges_raise_bind(bool is_raised);

/* Has the calling thread kept it? */
bool privileges_can_bind(void);

#endif
