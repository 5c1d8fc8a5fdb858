/* Each drop happens in a child: it cannot be undone. The child tells what went wrong by its exit
 * code, the number of a line here. */
#include "lb4/control/privileges.h"

#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char error[PRIVILEGES_ERROR_MAX];

#define CHILD_CHECK(condition)                                                 \
    do {                                                                       \
        if (!(condition)) {                                                    \
            dprintf(2, "line %d: %s (\"%s\")\n", __LINE__, #condition, error); \
            _exit(1);                                                          \
        }                                                                      \
    } while (0)

static void run_in_child(void (*body)(void))
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        body();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* A number of the calling thread's /proc status: "CapPrm" and the like, hexadecimal. */
static uint64_t status_number(const char *key)
{
    char line[256];
    uint64_t value = UINT64_MAX;
    FILE *file = fopen("/proc/thread-self/status", "r");

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ':')
            value = strtoull(line + strlen(key) + 1, NULL, 16);
    }
    if (file != NULL)
        fclose(file);
    return value;
}

/* Root of a user namespace may have no other uid to change to. */
static bool can_change_ids(void)
{
    pid_t child = fork();
    int status;

    if (child == 0)
        _exit(setgroups(0, NULL) < 0 || setgid(54322) < 0 || setuid(54321) < 0);
    return waitpid(child, &status, 0) == child && status == 0;
}

static const uint64_t NET_BIND_SERVICE = 1 << 10;

static void check_flags(void)
{
    CHILD_CHECK(status_number("CapPrm") == 0 || status_number("CapPrm") == NET_BIND_SERVICE);
    CHILD_CHECK(status_number("CapEff") == 0);
    CHILD_CHECK(status_number("CapInh") == 0);
    CHILD_CHECK(status_number("CapAmb") == 0);
    CHILD_CHECK(status_number("NoNewPrivs") == 1);
    CHILD_CHECK(prctl(PR_GET_DUMPABLE) == 0);
    CHILD_CHECK(prctl(PR_GET_KEEPCAPS) == 0);
}

static void drop_to_nobody(void)
{
    const gid_t inherited[] = {54323, 54324};
    struct privileges_ids ids;
    gid_t groups[64];

    CHILD_CHECK(setgroups(2, inherited) == 0);
    CHILD_CHECK(privileges_resolve("nobody", "", &ids, error) == 0);
    CHILD_CHECK(privileges_drop(&ids, error) == 0);
    CHILD_CHECK(getuid() == ids.uid && geteuid() == ids.uid && getgid() == ids.gid);
    CHILD_CHECK(getgroups(64, groups) <= 1);
    CHILD_CHECK(status_number("CapPrm") == NET_BIND_SERVICE);
    check_flags();
    CHILD_CHECK(setuid(0) < 0 && setgid(0) < 0 && setgroups(0, NULL) < 0);
}

static void test_root_becomes_nobody(void **state)
{
    (void)state;
    if (!can_change_ids() || getpwnam("nobody") == NULL)
        skip();
    run_in_child(drop_to_nobody);
}

static void drop_to_numbers(void)
{
    const gid_t inherited[] = {54323, 54324};
    struct privileges_ids ids;

    CHILD_CHECK(setgroups(2, inherited) == 0);
    CHILD_CHECK(privileges_resolve("54321", "54322", &ids, error) == 0);
    CHILD_CHECK(privileges_drop(&ids, error) == 0);
    CHILD_CHECK(getuid() == 54321 && getgid() == 54322);
    CHILD_CHECK(getgroups(0, NULL) == 0);
    check_flags();
}

static void test_root_becomes_a_number(void **state)
{
    (void)state;
    if (!can_change_ids())
        skip();
    run_in_child(drop_to_numbers);
}

/* Without -u: the ids stay, everything else is given up all the same. */
static void drop_to_self(void)
{
    struct privileges_ids ids;
    uid_t before = geteuid();

    CHILD_CHECK(privileges_resolve("", "", &ids, error) == 0);
    CHILD_CHECK(!ids.is_named);
    CHILD_CHECK(privileges_drop(&ids, error) == 0);
    CHILD_CHECK(geteuid() == before);
    check_flags();
}

static void test_nobody_named(void **state)
{
    (void)state;
    run_in_child(drop_to_self);
}

static void become_plain(void)
{
    if (geteuid() != 0)
        return;
    CHILD_CHECK(setgroups(0, NULL) == 0);
    CHILD_CHECK(setresgid(54322, 54322, 54322) == 0 && setresuid(54321, 54321, 54321) == 0);
}

static void refuse_without_root(void)
{
    struct privileges_ids ids;

    become_plain();
    CHILD_CHECK(privileges_resolve("54399", "54322", &ids, error) == 0);
    CHILD_CHECK(privileges_drop(&ids, error) == -EPERM);
    CHILD_CHECK(strstr(error, "not started as root") != NULL);
    CHILD_CHECK(strstr(error, "54399") != NULL);
    CHILD_CHECK(privileges_resolve("root", "", &ids, error) == 0);
    CHILD_CHECK(privileges_drop(&ids, error) == -EPERM);
    CHILD_CHECK(strstr(error, "cannot change to user root") != NULL);
}

static void test_others_without_root(void **state)
{
    (void)state;
    if (geteuid() == 0 && !can_change_ids())
        skip();
    run_in_child(refuse_without_root);
}

static void refuse_group_without_root(void)
{
    struct privileges_ids ids;
    char user[16];

    become_plain();
    snprintf(user, sizeof(user), "%u", geteuid());
    CHILD_CHECK(privileges_resolve(user, "54377", &ids, error) == 0);
    CHILD_CHECK(privileges_drop(&ids, error) == -EPERM);
    CHILD_CHECK(strstr(error, "54377") != NULL);
}

static void test_other_group_without_root(void **state)
{
    (void)state;
    if (geteuid() == 0 && !can_change_ids())
        skip();
    run_in_child(refuse_group_without_root);
}

static void keep_own_ids(void)
{
    struct privileges_ids ids;
    char user[16];
    char group[16];

    become_plain();
    snprintf(user, sizeof(user), "%u", geteuid());
    snprintf(group, sizeof(group), "%u", getegid());
    CHILD_CHECK(privileges_resolve(user, group, &ids, error) == 0);
    CHILD_CHECK(privileges_drop(&ids, error) == 0);
    check_flags();
}

static void test_own_ids_without_root(void **state)
{
    (void)state;
    if (geteuid() == 0 && !can_change_ids())
        skip();
    run_in_child(keep_own_ids);
}

/* The saved uid is still root's: the drop must see that a way leads back. */
static void keep_a_way_back(void)
{
    struct privileges_ids ids;

    CHILD_CHECK(setgroups(0, NULL) == 0 && setresgid(54322, 54322, 54322) == 0);
    CHILD_CHECK(setresuid(54321, 54321, 0) == 0);
    CHILD_CHECK(privileges_resolve("54321", "54322", &ids, error) == 0);
    CHILD_CHECK(privileges_drop(&ids, error) == -EPERM);
}

static void test_saved_root_is_found(void **state)
{
    (void)state;
    if (!can_change_ids())
        skip();
    run_in_child(keep_a_way_back);
}

static void *give_up_in_thread(void *unused)
{
    (void)unused;
    CHILD_CHECK(status_number("CapPrm") == NET_BIND_SERVICE);
    CHILD_CHECK(privileges_thread_none() == 0);
    CHILD_CHECK(status_number("CapPrm") == 0);
    return NULL;
}

static void thread_none(void)
{
    struct privileges_ids ids;
    pthread_t thread;

    CHILD_CHECK(privileges_resolve("54321", "54322", &ids, error) == 0);
    CHILD_CHECK(privileges_drop(&ids, error) == 0);
    CHILD_CHECK(pthread_create(&thread, NULL, give_up_in_thread, NULL) == 0);
    CHILD_CHECK(pthread_join(thread, NULL) == 0);
    CHILD_CHECK(status_number("CapPrm") == NET_BIND_SERVICE); /* control keeps its own */
}

static void test_thread_gives_up_for_itself(void **state)
{
    (void)state;
    if (!can_change_ids())
        skip();
    run_in_child(thread_none);
}

static void check_unresolved(const char *user, const char *group, const char *why)
{
    struct privileges_ids ids = {.uid = 7};

    error[0] = '\0';
    assert_int_equal(privileges_resolve(user, group, &ids, error), -ENOENT);
    assert_int_equal(ids.uid, 7);
    if (strstr(error, why) == NULL)
        fail_msg("\"%s\" lacks \"%s\"", error, why);
}

static void test_unknown_names(void **state)
{
    (void)state;
    check_unresolved("no-such-user", "", "user no-such-user: there is no such user");
    check_unresolved("root", "no-such-group", "group no-such-group: there is no such group");
    check_unresolved("54321", "", "name a group");
    check_unresolved("4294967295", "0", "4294967295"); /* (uid_t)-1 */
    check_unresolved("-1", "0", "-1");
    check_unresolved("0x1", "0", "0x1");
}

static void test_resolve(void **state)
{
    struct privileges_ids ids;

    (void)state;
    assert_int_equal(privileges_resolve("root", "", &ids, error), 0);
    assert_true(ids.uid == 0 && ids.gid == 0 && ids.is_named);
    assert_string_equal(ids.user, "root");
    assert_int_equal(privileges_resolve("0", "12345", &ids, error), 0);
    assert_true(ids.uid == 0 && ids.gid == 12345);
    assert_string_equal(ids.user, "root"); /* so its groups can be found */
    assert_int_equal(privileges_resolve("", "12345", &ids, error), 0);
    assert_true(ids.uid == geteuid() && ids.gid == 12345 && ids.is_named);
    assert_int_equal(privileges_resolve("", "", &ids, error), 0);
    assert_true(ids.uid == geteuid() && ids.gid == getegid() && !ids.is_named);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resolve),
        cmocka_unit_test(test_unknown_names),
        cmocka_unit_test(test_root_becomes_nobody),
        cmocka_unit_test(test_root_becomes_a_number),
        cmocka_unit_test(test_nobody_named),
        cmocka_unit_test(test_others_without_root),
        cmocka_unit_test(test_other_group_without_root),
        cmocka_unit_test(test_own_ids_without_root),
        cmocka_unit_test(test_saved_root_is_found),
        cmocka_unit_test(test_thread_gives_up_for_itself),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
