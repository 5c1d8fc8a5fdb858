#include "lb4/control/logging.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { NOBODY = 65534 };

static const struct privileges_ids nobody = {.uid = NOBODY, .gid = NOBODY, .is_named = true};

static char directory[] = "/tmp/lb4-logging-XXXXXX";
static struct conf_log conf;
static char text[4096];
static int said[2]; /* what goes to the log before another is used */

static int set_up(void **state)
{
    (void)state;
    strcpy(directory + sizeof(directory) - 7, "XXXXXX");
    if (!mkdtemp(directory) || pipe(said) < 0)
        return -1;
    fcntl(said[0], F_SETFL, O_NONBLOCK);
    conf = (struct conf_log){.kind = CONF_LOG_FILE};
    snprintf(conf.path, sizeof(conf.path), "%s/log", directory);
    return log_start(said[1], NULL);
}

static int tear_down(void **state)
{
    char command[80];

    (void)state;
    logging_end();
    log_stop();
    log_use(log_sink_new_fd(STDERR_FILENO, false));
    close(said[0]);
    close(said[1]);
    snprintf(command, sizeof(command), "rm -r %s", directory);
    return system(command);
}

static const char *read_said(void)
{
    ssize_t n = read(said[0], text, sizeof(text) - 1);

    text[n > 0 ? n : 0] = '\0';
    return text;
}

static struct stat status_of(const char *path)
{
    struct stat status;

    assert_int_equal(lstat(path, &status), 0);
    return status;
}

static void test_a_directory_of_the_user(void **state)
{
    struct stat status;

    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(chown(directory, NOBODY, NOBODY), 0);
    assert_int_equal(logging_prepare(&conf, &nobody), 0);
    status = status_of(conf.path);
    assert_int_equal(status.st_uid, NOBODY);
    assert_int_equal(status.st_gid, NOBODY);
    assert_int_equal(geteuid(), 0);
    assert_int_equal(setfsuid((uid_t)-1), 0);
}

/* Root makes the file for the user, who could not; mode and owner are those of the user's own. */
static void test_a_directory_of_root(void **state)
{
    struct stat status;

    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(logging_prepare(&conf, &nobody), 0);
    status = status_of(conf.path);
    assert_int_equal(status.st_uid, NOBODY);
    assert_int_equal(status.st_gid, NOBODY);
    assert_int_equal(status.st_mode & 07777, 0640);
    logging_end();
    assert_int_equal(logging_prepare(&conf, &nobody), 0); /* which is there now */
}

/* Neither a link nor a second name leads root to another file. */
static void test_links_are_refused(void **state)
{
    char other[80];
    int fd;

    (void)state;
    if (geteuid() != 0)
        skip();
    snprintf(other, sizeof(other), "%s/other", directory);
    fd = open(other, O_WRONLY | O_CREAT, 0600);
    close(fd);
    assert_int_equal(symlink(other, conf.path), 0);
    assert_int_equal(logging_prepare(&conf, &nobody), -ELOOP);
    assert_non_null(strstr(read_said(), "ERROR main: log file /tmp/lb4-logging-"));
    unlink(conf.path);
    assert_int_equal(link(other, conf.path), 0);
    assert_int_equal(logging_prepare(&conf, &nobody), -EPERM);
    assert_int_equal(status_of(other).st_uid, 0);
    /* Nor the user's own link to what the user may not write. */
    unlink(conf.path);
    assert_int_equal(chown(directory, NOBODY, NOBODY), 0);
    assert_int_equal(symlink(other, conf.path), 0);
    assert_int_equal(logging_prepare(&conf, &nobody), -ELOOP);
    assert_int_equal(status_of(other).st_uid, 0);
}

static void test_start_and_reopen(void **state)
{
    char command[sizeof(conf.path) + 128];

    (void)state;
    assert_int_equal(logging_prepare(&conf, &(struct privileges_ids){.uid = geteuid()}), 0);
    logging_start(&conf);
    assert_non_null(strstr(read_said(), "the log goes to /tmp/lb4-logging-"));
    logging_reopen(&conf);
    snprintf(command, sizeof(command), "mv %s %s.away", directory, directory);
    assert_int_equal(system(command), 0);
    logging_reopen(&conf);
    snprintf(command, sizeof(command), "mv %s.away %s", directory, directory);
    assert_int_equal(system(command), 0);
    log_stop();
    snprintf(command, sizeof(command), "grep -q 'the old one goes on: No such file' %s", conf.path);
    assert_int_equal(system(command), 0);
}

static void test_stderr_stays(void **state)
{
    (void)state;
    conf = (struct conf_log){.kind = CONF_LOG_STDERR};
    assert_int_equal(logging_prepare(&conf, &nobody), 0);
    logging_start(&conf);
    log_info("here");
    assert_non_null(strstr(read_said(), "main: here\n"));
    assert_null(strstr(text, "the log goes"));
}

static void test_changes(void **state)
{
    struct conf_log other = conf;
    struct log_sink *sink;

    (void)state;
    assert_int_equal(logging_open_changed(&conf, &other, &sink, text), 0);
    assert_null(sink);
    logging_use(&other, sink);
    assert_string_equal(read_said(), "");
    other.is_json = true;
    assert_int_equal(logging_open_changed(&conf, &other, &sink, text), 0);
    assert_true(sink->style.is_json);
    log_sink_free(sink);
    other = (struct conf_log){.kind = CONF_LOG_SYSLOG, .facility = 16};
    assert_int_equal(logging_open_changed(&conf, &other, &sink, text), 0);
    assert_int_equal(sink->style.facility, 16);
    log_sink_free(sink);
    snprintf(other.path, sizeof(other.path), "/nowhere/log");
    other.kind = CONF_LOG_FILE;
    assert_int_equal(logging_open_changed(&conf, &other, &sink, text), -ENOENT);
    assert_string_equal(text, "log file /nowhere/log: No such file or directory");
}

#define LOGGING_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOGGING_TEST(test_a_directory_of_the_user),
        LOGGING_TEST(test_a_directory_of_root),
        LOGGING_TEST(test_links_are_refused),
        LOGGING_TEST(test_start_and_reopen),
        LOGGING_TEST(test_stderr_stays),
        LOGGING_TEST(test_changes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
