#include "lb4/control/admin_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/lb4-admin-XXXXXX";
static char path[64];
static char text[ADMIN_SOCKET_ERROR_MAX];

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof(path), "%s/admin.sock", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static int open_it(struct admin_socket *admin)
{
    text[0] = '\0';
    return admin_socket_open(admin, path, geteuid(), getegid(), text);
}

static int connect_it(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    int rc;

    strcpy(addr.sun_path, path);
    rc = connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
    close(fd);
    return rc;
}

static void test_made_and_removed(void **state)
{
    struct admin_socket admin;
    struct stat status;
    mode_t mask = umask(0);

    (void)state;
    assert_int_equal(open_it(&admin), 0);
    assert_int_equal(umask(mask), 0);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    assert_int_equal(connect_it(), 0);
    admin_socket_close(&admin);
    assert_int_equal(access(path, F_OK), -1);
    admin_socket_close(&admin);
}

static void test_given_away(void **state)
{
    struct admin_socket admin;
    struct stat status;

    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(admin_socket_open(&admin, path, 65534, 65533, text), 0);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_uid, 65534);
    assert_int_equal(status.st_gid, 65533);
    admin_socket_close(&admin);
}

static void test_stale_is_replaced(void **state)
{
    struct admin_socket admin;

    (void)state;
    assert_int_equal(open_it(&admin), 0);
    close(admin.fd);
    assert_int_equal(connect_it(), -ECONNREFUSED);
    assert_int_equal(open_it(&admin), 0);
    assert_int_equal(connect_it(), 0);
    admin_socket_close(&admin);
}

static void test_live_is_refused(void **state)
{
    struct admin_socket admin;
    struct admin_socket other;

    (void)state;
    assert_int_equal(open_it(&admin), 0);
    assert_int_equal(open_it(&other), -EADDRINUSE);
    assert_non_null(strstr(text, path));
    assert_non_null(strstr(text, "another process answers"));
    assert_int_equal(connect_it(), 0);
    admin_socket_close(&other);
    assert_int_equal(connect_it(), 0);
    admin_socket_close(&admin);
}

static void test_no_socket_is_left_alone(void **state)
{
    struct admin_socket admin;
    int fd = open(path, O_CREAT | O_WRONLY, 0600);

    (void)state;
    assert_int_equal(open_it(&admin), -EEXIST);
    assert_non_null(strstr(text, "is no socket"));
    assert_int_equal(close(fd), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/nonexistent", path), 0);
    assert_int_equal(open_it(&admin), -EEXIST);
    assert_int_equal(unlink(path), 0);
}

static void test_somebody_elses_is_not_removed(void **state)
{
    struct admin_socket admin;
    struct admin_socket other;

    (void)state;
    assert_int_equal(open_it(&admin), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(open_it(&other), 0);
    admin_socket_close(&admin);
    assert_int_equal(connect_it(), 0);
    admin_socket_close(&other);
}

static void test_one_at_a_time(void **state)
{
    struct admin_socket admin;
    int lock = open(folder, O_RDONLY | O_DIRECTORY);

    (void)state;
    assert_int_equal(flock(lock, LOCK_EX), 0);
    assert_int_equal(open_it(&admin), -EAGAIN);
    close(lock);
    assert_int_equal(open_it(&admin), 0);
    admin_socket_close(&admin);
}

/* Another lb4 that starts at the same time holds the lock for a moment. */
static void test_waits_for_another_that_starts(void **state)
{
    const struct timespec moment = {.tv_nsec = 50 * 1000000};
    struct admin_socket admin;
    int lock = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    pid_t child;

    (void)state;
    assert_int_equal(flock(lock, LOCK_EX), 0);
    child = fork();
    if (child == 0) {
        nanosleep(&moment, NULL);
        _exit(0); /* the lock is the open file's, which is the child's alone by then */
    }
    close(lock);
    assert_int_equal(open_it(&admin), 0);
    admin_socket_close(&admin);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

static void test_missing_folder(void **state)
{
    struct admin_socket admin;

    (void)state;
    assert_int_equal(admin_socket_open(&admin, "/tmp/lb4-no-such-folder/x", 0, 0, text), -ENOENT);
    assert_non_null(strstr(text, "/tmp/lb4-no-such-folder"));
    assert_int_equal(admin.fd, -1);
}

static void test_folder_in_run_is_made(void **state)
{
    struct admin_socket admin;
    char there[80];
    char parent[64];
    struct stat status;

    (void)state;
    if (geteuid() != 0)
        skip();
    snprintf(parent, sizeof(parent), "/run/lb4-test-%d", getpid());
    snprintf(there, sizeof(there), "%s/admin.sock", parent);
    assert_int_equal(admin_socket_open(&admin, there, 65534, 65534, text), 0);
    assert_int_equal(stat(parent, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0750);
    assert_int_equal(status.st_uid, 65534);
    admin_socket_close(&admin);
    assert_int_equal(rmdir(parent), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_made_and_removed),
        cmocka_unit_test(test_given_away),
        cmocka_unit_test(test_stale_is_replaced),
        cmocka_unit_test(test_live_is_refused),
        cmocka_unit_test(test_no_socket_is_left_alone),
        cmocka_unit_test(test_somebody_elses_is_not_removed),
        cmocka_unit_test(test_one_at_a_time),
        cmocka_unit_test(test_waits_for_another_that_starts),
        cmocka_unit_test(test_missing_folder),
        cmocka_unit_test(test_folder_in_run_is_made),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
