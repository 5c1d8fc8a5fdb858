#include "lb4/control/privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lb4/base/number.h"

static const uint64_t ID_MAX = UINT32_MAX - 1; /* (uid_t)-1 means "leave it" to setresuid(2) */

/* The three sets of a thread, 64 bits each. */
struct caps {
    uint64_t effective;
    uint64_t permitted;
    uint64_t inheritable;
};

static const uint64_t CAPS_KEPT = 1ull << CAP_NET_BIND_SERVICE;

/* Kept, and effective, where servers have marks. */
static uint64_t caps_for_marks;

static int fail(int error, char reterr[static PRIVILEGES_ERROR_MAX], const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int fail(int error, char reterr[static PRIVILEGES_ERROR_MAX], const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(reterr, PRIVILEGES_ERROR_MAX, format, args);
    va_end(args);
    return -error;
}

/* --- names to numbers --- */

static bool parse_id(const char *text, uint32_t *ret_id)
{
    uint64_t id;

    if (number_parse(text, 0, ID_MAX, &id) < 0)
        return false;
    *ret_id = (uint32_t)id;
    return true;
}

/* getpwnam(3) and getgrnam(3) leave errno alone or set one of these when the name is unknown. */
static int fail_lookup(int error, const char *what, const char *name,
                       char reterr[static PRIVILEGES_ERROR_MAX])
{
    if (error == 0 || error == ENOENT || error == ESRCH || error == EBADF || error == EPERM)
        return fail(ENOENT, reterr, "%s %s: there is no such %s", what, name, what);
    return fail(error, reterr, "%s %s: %s", what, name, strerror(error));
}

static int resolve_user(const char *user, bool has_group, struct privileges_ids *ids,
                        char reterr[static PRIVILEGES_ERROR_MAX])
{
    const struct passwd *entry;
    uint32_t uid;

    errno = 0;
    entry = getpwnam(user);
    if (entry == NULL && parse_id(user, &uid)) {
        ids->uid = uid;
        entry = getpwuid(uid);
        if (entry == NULL && !has_group)
            return fail(ENOENT, reterr, "user %s has no primary group: name a group too", user);
        if (entry == NULL)
            return 0;
    }
    if (entry == NULL)
        return fail_lookup(errno, "user", user, reterr);
    ids->uid = entry->pw_uid;
    ids->gid = entry->pw_gid;
    snprintf(ids->user, sizeof(ids->user), "%s", entry->pw_name);
    return 0;
}

static int resolve_group(const char *group, struct privileges_ids *ids,
                         char reterr[static PRIVILEGES_ERROR_MAX])
{
    const struct group *entry;

    errno = 0;
    entry = getgrnam(group);
    if (entry != NULL)
        ids->gid = entry->gr_gid;
    else if (!parse_id(group, &ids->gid))
        return fail_lookup(errno, "group", group, reterr);
    return 0;
}

int privileges_resolve(const char *user, const char *group, struct privileges_ids *ret,
                       char reterr[static PRIVILEGES_ERROR_MAX])
{
    struct privileges_ids ids = {.uid = geteuid(), .gid = getegid()};
    bool has_group = group[0] != '\0';
    int rc = 0;

    ids.is_named = user[0] != '\0' || has_group;
    if (user[0] != '\0')
        rc = resolve_user(user, has_group, &ids, reterr);
    if (rc == 0 && has_group)
        rc = resolve_group(group, &ids, reterr);
    if (rc == 0)
        *ret = ids;
    return rc;
}

/* --- ids --- */

static bool ids_are(uid_t uid, gid_t gid)
{
    uid_t u[3] = {0};
    gid_t g[3] = {0};

    if (getresuid(&u[0], &u[1], &u[2]) < 0 || getresgid(&g[0], &g[1], &g[2]) < 0)
        return false;
    return u[0] == uid && u[1] == uid && u[2] == uid && g[0] == gid && g[1] == gid && g[2] == gid;
}

static int set_groups(const struct privileges_ids *ids)
{
    int rc = ids->user[0] != '\0' ? initgroups(ids->user, ids->gid) : setgroups(0, NULL);

    return rc < 0 ? -errno : 0;
}

static int change_ids(const struct privileges_ids *ids, char reterr[static PRIVILEGES_ERROR_MAX])
{
    int rc = set_groups(ids);

    if (rc < 0)
        return fail(-rc, reterr, "cannot set the groups of user %u: %s", ids->uid, strerror(-rc));
    if (setresgid(ids->gid, ids->gid, ids->gid) < 0)
        return fail(errno, reterr, "cannot change to group %u: %s", ids->gid, strerror(errno));
    if (setresuid(ids->uid, ids->uid, ids->uid) < 0)
        return fail(errno, reterr, "cannot change to user %u: %s", ids->uid, strerror(errno));
    return 0;
}

/* Tried for real: numbers that read back right do not prove that no path leads back. */
static int check_no_way_back(const struct privileges_ids *ids,
                             char reterr[static PRIVILEGES_ERROR_MAX])
{
    if (!ids_are(ids->uid, ids->gid))
        return fail(EPERM, reterr, "the change to user %u group %u did not hold", ids->uid,
                    ids->gid);
    if (ids->uid == 0)
        return 0;
    if (setresuid(0, 0, 0) == 0 || setuid(0) == 0 || seteuid(0) == 0)
        return fail(EPERM, reterr, "root could be regained after the change to user %u", ids->uid);
    if (ids->gid != 0 && (setresgid(0, 0, 0) == 0 || setegid(0) == 0))
        return fail(EPERM, reterr, "group 0 could be regained after the change to group %u",
                    ids->gid);
    return 0;
}

/* --- capabilities: the raw calls, since glibc has none and libcap is not among what we need --- */

static int get_caps(struct caps *ret)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};

    if (syscall(SYS_capget, &header, data) < 0)
        return -errno;
    ret->effective = data[0].effective | (uint64_t)data[1].effective << 32;
    ret->permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
    ret->inheritable = data[0].inheritable | (uint64_t)data[1].inheritable << 32;
    return 0;
}

void privileges_keep_mark(void)
{
    caps_for_marks = 1ull << CAP_NET_RAW;
}

/* Leave `permitted` and nothing else. The kernel takes out of the ambient set what is not both
 * permitted and inheritable, capabilities(7), so that set is empty afterwards too. */
static int set_permitted(uint64_t permitted)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
        {.permitted = (uint32_t)permitted, .effective = (uint32_t)(permitted & caps_for_marks)},
        {.permitted = (uint32_t)(permitted >> 32)}};

    return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

void privileges_raise_bind(bool is_raised)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};
    struct caps caps = {0};

    /* Others than that one: nothing was given up yet. */
    if (get_caps(&caps) < 0 || caps.permitted & ~(CAPS_KEPT | caps_for_marks))
        return;
    data[0].permitted = (uint32_t)caps.permitted;
    data[1].permitted = (uint32_t)(caps.permitted >> 32);
    data[0].effective = (uint32_t)(caps.permitted & caps_for_marks);
    if (is_raised)
        data[0].effective |= (uint32_t)(caps.permitted & CAPS_KEPT);
    /* What is refused here shows at the bind. */
    syscall(SYS_capset, &header, data);
}

bool privileges_can_bind(void)
{
    struct caps caps = {0};

    return get_caps(&caps) == 0 && caps.permitted & CAPS_KEPT;
}

int privileges_thread_none(void)
{
    return set_permitted(0);
}

int privileges_thread_connects(void)
{
    struct caps caps = {0};
    int rc = get_caps(&caps);

    return rc < 0 ? rc : set_permitted(caps.permitted & caps_for_marks);
}

static int limit_caps(char reterr[static PRIVILEGES_ERROR_MAX])
{
    struct caps caps = {0};
    uint64_t kept = 0;
    int rc = get_caps(&caps);

    if (rc == 0) {
        kept = caps.permitted & (CAPS_KEPT | caps_for_marks);
        rc = set_permitted(kept);
    }
    if (rc == 0)
        rc = get_caps(&caps);
    if (rc < 0)
        return fail(-rc, reterr, "cannot give up capabilities: %s", strerror(-rc));
    if (caps.permitted != kept || caps.effective != (kept & caps_for_marks) ||
        caps.inheritable != 0 ||
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_NET_BIND_SERVICE, 0, 0) == 1)
        return fail(EPERM, reterr, "capabilities were given up but are still there");
    return 0;
}

/* --- the drop --- */

static int set_process_flags(char reterr[static PRIVILEGES_ERROR_MAX])
{
    if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
        return fail(errno, reterr, "PR_SET_KEEPCAPS: %s", strerror(errno));
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        return fail(errno, reterr, "PR_SET_NO_NEW_PRIVS: %s", strerror(errno));
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
        return fail(errno, reterr, "PR_SET_DUMPABLE: %s", strerror(errno));
    return 0;
}

static int check_unprivileged(const struct privileges_ids *ids,
                              char reterr[static PRIVILEGES_ERROR_MAX])
{
    if (ids->is_named && ids->uid != geteuid())
        return fail(EPERM, reterr, "cannot change to user %s (%u): not started as root",
                    ids->user[0] != '\0' ? ids->user : "-", ids->uid);
    if (ids->is_named && ids->gid != getegid())
        return fail(EPERM, reterr, "cannot change to group %u: not started as root", ids->gid);
    return 0;
}

int privileges_drop(const struct privileges_ids *ids, char reterr[static PRIVILEGES_ERROR_MAX])
{
    int rc = 0;

    if (geteuid() != 0) {
        rc = check_unprivileged(ids, reterr);
    } else if (ids->is_named) {
        if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
            return fail(errno, reterr, "PR_SET_KEEPCAPS: %s", strerror(errno));
        rc = change_ids(ids, reterr);
    }
    if (rc == 0)
        rc = limit_caps(reterr);
    if (rc == 0 && ids->is_named)
        rc = check_no_way_back(ids, reterr);
    if (rc == 0)
        rc = set_process_flags(reterr);
    return rc;
}
