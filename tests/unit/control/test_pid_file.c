#include "lb4/control/pid_file.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];
static char path[96];
static char other[96];

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/lb4-pid-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof(path), "%s/pid", folder);
    snprintf(other, sizeof(other), "%s/other", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    unlink(other);
    return rmdir(folder);
}

static void put(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void check_holds(const char *name, const char *wanted)
{
    char text[64] = "";
    FILE *file = fopen(name, "r");

    assert_non_null(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(text, wanted);
}

static void check_is_ours(void)
{
    char wanted[32];

    snprintf(wanted, sizeof(wanted), "%d\n", (int)getpid());
    check_holds(path, wanted);
}

static void check_refused(int rc, const char *why)
{
    char error[PID_FILE_ERROR_MAX] = "";
    struct pid_file file;

    assert_int_equal(pid_file_open(&file, path, error), rc);
    assert_int_equal(file.fd, -1);
    if (strstr(error, why) == NULL || strstr(error, path) == NULL)
        fail_msg("\"%s\" lacks \"%s\"", error, why);
    pid_file_close(&file); /* harmless */
}

static struct pid_file opened(void)
{
    char error[PID_FILE_ERROR_MAX] = "";
    struct pid_file file;

    if (pid_file_open(&file, path, error) != 0)
        fail_msg("%s", error);
    return file;
}

static void test_written_and_removed(void **state)
{
    struct pid_file file;
    struct stat status;
    mode_t mask = umask(022);

    (void)state;
    file = opened();
    umask(mask);
    check_is_ours();
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0644);
    assert_true(fcntl(file.fd, F_GETFD) & FD_CLOEXEC);
    pid_file_close(&file);
    assert_int_equal(access(path, F_OK), -1);
    pid_file_close(&file);
}

static void test_stale_file_is_taken_over(void **state)
{
    static const char *const STALE[] = {"", "1\n", "99999", "2147483647\n"};
    struct pid_file file;

    (void)state;
    for (size_t i = 0; i < sizeof(STALE) / sizeof(STALE[0]); i++) {
        put(path, STALE[i]);
        file = opened();
        check_is_ours();
        pid_file_close(&file);
    }
}

static void test_second_owner_is_refused(void **state)
{
    struct pid_file file = opened();
    char why[64];

    (void)state;
    snprintf(why, sizeof(why), "living process %d", (int)getpid());
    check_refused(-EAGAIN, why);
    check_is_ours();
    pid_file_close(&file);
}

/* A killed process leaves the file but not the lock. */
static void test_owner_that_died(void **state)
{
    char error[PID_FILE_ERROR_MAX];
    struct pid_file file;
    int status;
    pid_t child = fork();

    (void)state;
    if (child == 0)
        _exit(pid_file_open(&file, path, error) == 0 ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(access(path, F_OK), 0);
    file = opened();
    check_is_ours();
    pid_file_close(&file);
}

static void test_other_files_are_left_alone(void **state)
{
    static const char *const PRECIOUS[] = {
        "root:x:0:0\n", "12 13\n", "-1\n", "0\n", "123456789012345678\n", "2147483648\n", "1\n\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(PRECIOUS) / sizeof(PRECIOUS[0]); i++) {
        put(path, PRECIOUS[i]);
        check_refused(-EINVAL, "something else");
        check_holds(path, PRECIOUS[i]);
    }
}

static void test_links_are_refused(void **state)
{
    (void)state;
    put(other, "1\n");
    assert_int_equal(symlink(other, path), 0);
    check_refused(-ELOOP, "symbolic link");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(link(other, path), 0);
    check_refused(-EINVAL, "more than one name");
    check_holds(other, "1\n");
}

static void test_special_files_are_refused(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(path, 0600), 0);
    check_refused(-EINVAL, "not a regular file");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    check_refused(-EISDIR, "Is a directory");
    assert_int_equal(rmdir(path), 0);
}

static void test_missing_folder(void **state)
{
    char error[PID_FILE_ERROR_MAX] = "";
    struct pid_file file;

    (void)state;
    assert_int_equal(pid_file_open(&file, "/nonexistent/lb4.pid", error), -ENOENT);
    assert_non_null(strstr(error, "/nonexistent/lb4.pid"));
    assert_non_null(strstr(error, "No such file"));
}

/* Somebody else's file under the same name stays. */
static void test_replaced_file_is_not_removed(void **state)
{
    struct pid_file file = opened();

    (void)state;
    put(other, "1\n");
    assert_int_equal(rename(other, path), 0);
    pid_file_close(&file);
    check_holds(path, "1\n");
}

/* After privileges were dropped the folder may not be ours to write. */
static void test_emptied_where_it_cannot_be_removed(void **state)
{
    struct pid_file file;
    int status;
    pid_t child;

    (void)state;
    if (geteuid() != 0)
        skip();
    file = opened();
    child = fork();
    if (child == 0) {
        if (setuid(65534) < 0)
            _exit(2); /* root of a user namespace without this uid */
        pid_file_close(&file);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 2) {
        pid_file_close(&file);
        skip();
    }
    assert_int_equal(status, 0);
    check_holds(path, "");
    pid_file_close(&file);
}

#define PID_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PID_TEST(test_written_and_removed),
        PID_TEST(test_stale_file_is_taken_over),
        PID_TEST(test_second_owner_is_refused),
        PID_TEST(test_owner_that_died),
        PID_TEST(test_other_files_are_left_alone),
        PID_TEST(test_links_are_refused),
        PID_TEST(test_special_files_are_refused),
        PID_TEST(test_missing_folder),
        PID_TEST(test_replaced_file_is_not_removed),
        PID_TEST(test_emptied_where_it_cannot_be_removed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
