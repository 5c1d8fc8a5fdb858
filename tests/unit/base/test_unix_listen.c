/* The admin socket (tests/unit/control/test_admin_socket.c) is made here, too: stale, live and
 * foreign files, and the lock, are tested there. */
#include "lb4/base/unix_listen.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
/* after the headers that it needs */
#include <cmocka.h>

#include "lb4/base/unix_path.h"

static char folder[] = "/tmp/lb4-listen-XXXXXX";
static char path[64];
static char text[UNIX_LISTEN_ERROR_MAX];
static struct unix_file file;

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof(path), "%s/x", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static int listen_at(const char *where, mode_t mode)
{
    const struct unix_listen_options options = {
        .mode = mode, .uid = (uid_t)-1, .gid = (gid_t)-1, .backlog = 1};

    text[0] = '\0';
    return unix_listen(where, &options, &file, text);
}

static int connect_to(const char *where)
{
    struct sockaddr_un at;
    socklen_t length = unix_path_to_sockaddr(where, &at);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    int rc = connect(fd, (const struct sockaddr *)&at, length) < 0 ? -errno : 0;

    close(fd);
    return rc;
}

static mode_t mode_of(const char *where)
{
    struct stat status;

    assert_int_equal(lstat(where, &status), 0);
    return status.st_mode & 07777;
}

static void test_the_mode_whatever_the_umask(void **state)
{
    static const mode_t umasks[] = {0, 022, 0777};
    static const mode_t modes[] = {0, 0600, 0660, 0777};

    (void)state;
    for (size_t i = 0; i < 3; i++)
        for (size_t k = 0; k < 4; k++) {
            mode_t before = umask(umasks[i]);
            int fd = listen_at(path, modes[k]);

            assert_int_equal(umask(before), umasks[i]);
            assert_true(fd >= 0);
            assert_int_equal(mode_of(path), modes[k]);
            close(fd);
            assert_int_equal(unix_listen_remove(path, &file), 0);
            assert_int_equal(access(path, F_OK), -1);
        }
}

static void test_non_blocking_and_close_on_exec(void **state)
{
    int fd = listen_at(path, 0600);

    (void)state;
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
    assert_int_equal(unix_listen_remove(path, &file), 0);
}

static void test_probe_changes_nothing(void **state)
{
    int fd;

    (void)state;
    assert_int_equal(unix_listen_probe(path, text), 0);
    assert_int_equal(access(path, F_OK), -1);
    fd = listen_at(path, 0600);
    assert_int_equal(unix_listen_probe(path, text), -EADDRINUSE);
    assert_non_null(strstr(text, "another process answers"));
    close(fd);
    assert_int_equal(unix_listen_probe(path, text), 0); /* stale: it would be replaced */
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(unlink(path), 0);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(unix_listen_probe(path, text), -EEXIST);
    assert_int_equal(listen_at(path, 0600), -EEXIST);
    assert_int_equal(unlink(path), 0);
}

/* The same number of an inode, but somebody answers: not ours. */
static void test_remove_leaves_what_answers(void **state)
{
    int fd = listen_at(path, 0600);

    (void)state;
    assert_int_equal(unix_listen_remove(path, &file), 0);
    assert_int_equal(connect_to(path), 0);
    close(fd);
    assert_int_equal(unix_listen_remove(path, &file), 0);
    assert_int_equal(connect_to(path), -ENOENT);
    assert_int_equal(unix_listen_remove(path, &file), 0);
}

static void test_remove_leaves_another_file(void **state)
{
    struct unix_file first;
    int fd = listen_at(path, 0600);

    (void)state;
    first = file;
    first.inode++;
    close(fd);
    assert_int_equal(unix_listen_remove(path, &first), 0);
    assert_int_equal(unix_listen_remove(path, &(struct unix_file){0}), 0);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(unix_listen_chmod(path, &first, 0666), -ESTALE);
    assert_int_equal(unix_listen_chmod(path, &file, 0666), 0);
    assert_int_equal(mode_of(path), 0666);
    assert_int_equal(unix_listen_remove(path, &file), 0);
}

static void test_lost_when_nobody_can_find_us(void **state)
{
    struct unix_file first;
    int fd = listen_at(path, 0600);
    int other;

    (void)state;
    first = file;
    assert_false(unix_listen_is_lost(path, &first));
    assert_false(unix_listen_is_lost(path, &(struct unix_file){0}));
    assert_int_equal(unlink(path), 0);
    assert_true(unix_listen_is_lost(path, &first));
    other = listen_at(path, 0600);
    assert_false(unix_listen_is_lost(path, &first)); /* that one is who is found */
    close(other);
    assert_true(unix_listen_is_lost(path, &first));
    assert_int_equal(unix_listen_remove(path, &file), 0);
    close(fd);
}

static void test_abstract(void **state)
{
    char name[64];
    int fd;

    (void)state;
    snprintf(name, sizeof(name), "@lb4-test-listen-%d", getpid());
    assert_int_equal(unix_listen_probe(name, text), 0);
    fd = listen_at(name, 0);
    assert_true(fd >= 0);
    assert_int_equal(file.inode, 0);
    assert_int_equal(connect_to(name), 0);
    assert_int_equal(unix_listen_probe(name, text), -EADDRINUSE);
    assert_int_equal(listen_at(name, 0), -EADDRINUSE);
    assert_non_null(strstr(text, "another process listens"));
    close(fd);
    assert_int_equal(unix_listen_remove(name, &file), 0);
    assert_int_equal(connect_to(name), -ECONNREFUSED);
}

static void test_no_path(void **state)
{
    char too_long[UNIX_PATH_MAX + 2];

    (void)state;
    memset(too_long, 'a', sizeof(too_long));
    too_long[0] = '/';
    too_long[UNIX_PATH_MAX + 1] = '\0';
    assert_int_equal(listen_at("x", 0600), -ENAMETOOLONG);
    assert_int_equal(listen_at(too_long, 0600), -ENAMETOOLONG);
    assert_int_equal(listen_at("/tmp/lb4-no-such-folder/x", 0600), -ENOENT);
    assert_non_null(strstr(text, "/tmp/lb4-no-such-folder"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_mode_whatever_the_umask),
        cmocka_unit_test(test_non_blocking_and_close_on_exec),
        cmocka_unit_test(test_probe_changes_nothing),
        cmocka_unit_test(test_remove_leaves_what_answers),
        cmocka_unit_test(test_remove_leaves_another_file),
        cmocka_unit_test(test_lost_when_nobody_can_find_us),
        cmocka_unit_test(test_abstract),
        cmocka_unit_test(test_no_path),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
