#include "lb4/base/log_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[] = "/tmp/lb4-sink-XXXXXX";
static char path[64];
static struct log_sink *sink;

static int set_up(void **state)
{
    (void)state;
    strcpy(directory + sizeof(directory) - 7, "XXXXXX");
    if (!mkdtemp(directory))
        return -1;
    snprintf(path, sizeof(path), "%s/log", directory);
    sink = NULL;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    log_sink_free(sink);
    unlink(path);
    return rmdir(directory);
}

static void check_write(const char *text)
{
    assert_int_equal(log_sink_write(sink, text, strlen(text)), strlen(text));
}

static void check_file(const char *name, const char *wanted)
{
    char text[256] = "";
    FILE *file = fopen(name, "r");

    assert_non_null(file);
    (void)!fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    assert_string_equal(text, wanted);
}

static void test_file_is_appended_to(void **state)
{
    struct stat status;

    (void)state;
    umask(0);
    assert_int_equal(log_sink_open_file(path, -1, true, &sink), 0);
    assert_true(sink->style.is_json);
    check_write("one\n");
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0640);
    log_sink_free(sink);
    assert_int_equal(log_sink_open_file(path, -1, false, &sink), 0);
    check_write("two\n");
    check_file(path, "one\ntwo\n");
}

static void test_file_again(void **state)
{
    char moved[80];
    struct log_sink *again;

    (void)state;
    snprintf(moved, sizeof(moved), "%s.1", path);
    assert_int_equal(log_sink_open_file(path, -1, true, &sink), 0);
    check_write("old\n");
    assert_int_equal(rename(path, moved), 0);
    check_write("late\n");
    assert_int_equal(log_sink_again(sink, &again), 0);
    assert_true(again->style.is_json);
    assert_int_equal(log_sink_write(again, "new\n", 4), 4);
    log_sink_free(again);
    check_file(moved, "old\nlate\n");
    check_file(path, "new\n");
    unlink(moved);
}

static void test_file_that_cannot_be(void **state)
{
    (void)state;
    assert_int_equal(log_sink_open_file("/nowhere/log", -1, false, &sink), -ENOENT);
    assert_int_equal(log_sink_open_file(directory, -1, false, &sink), -EISDIR);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(log_sink_open_file(path, -1, false, &sink), -ENXIO);
}

static void test_full_disk(void **state)
{
    (void)state;
    assert_int_equal(log_sink_open_file("/dev/full", -1, false, &sink), 0);
    assert_int_equal(log_sink_write(sink, "x\n", 2), -ENOSPC);
}

static void set_journal(int fd, const char *between, const char *behind)
{
    struct stat status;
    char text[64];

    assert_int_equal(fstat(fd, &status), 0);
    snprintf(text, sizeof(text), "%lu%s%lu%s", (unsigned long)status.st_dev, between,
             (unsigned long)status.st_ino, behind);
    setenv("JOURNAL_STREAM", text, 1);
}

static enum log_front front_of(int fd)
{
    struct log_sink found;

    log_sink_init_fd(&found, fd, false);
    return found.style.front;
}

static void test_journal(void **state)
{
    int ends[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    unsetenv("JOURNAL_STREAM");
    assert_int_equal(front_of(ends[0]), LOG_FRONT_NONE);
    set_journal(ends[0], ":", "");
    assert_int_equal(front_of(ends[0]), LOG_FRONT_JOURNAL);
    assert_int_equal(front_of(ends[1]), LOG_FRONT_NONE);
    assert_int_equal(front_of(-1), LOG_FRONT_NONE);
    set_journal(ends[0], ":", "x");
    assert_int_equal(front_of(ends[0]), LOG_FRONT_NONE);
    set_journal(ends[0], "-", "");
    assert_int_equal(front_of(ends[0]), LOG_FRONT_NONE);
    setenv("JOURNAL_STREAM", "", 1);
    assert_int_equal(front_of(ends[0]), LOG_FRONT_NONE);
    unsetenv("JOURNAL_STREAM");
    sink = log_sink_new_fd(ends[0], true);
    check_write("x");
    log_sink_free(sink);
    sink = NULL;
    assert_int_equal(close(ends[0]), 0); /* it was not the sink's */
    close(ends[1]);
}

static int syslogd_open(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

    snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
    assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof(at)), 0);
    return fd;
}

static void check_received(int fd, const char *wanted)
{
    char text[64] = "";

    assert_int_equal(recv(fd, text, sizeof(text) - 1, 0), strlen(wanted));
    assert_string_equal(text, wanted);
}

/* Not there, there, full, gone, there again. */
static void test_syslog(void **state)
{
    int fd;
    int n = 0;

    (void)state;
    assert_int_equal(log_sink_open_syslog(path, 16, false, &sink), 0);
    assert_int_equal(sink->style.front, LOG_FRONT_SYSLOG);
    assert_int_equal(sink->style.facility, 16);
    assert_int_equal(sink->style.pid, getpid());
    assert_int_equal(sink->fd, -1);
    assert_int_equal(log_sink_write(sink, "x", 1), -ENOENT);
    fd = syslogd_open();
    check_write("one");
    check_received(fd, "one");
    while (log_sink_write(sink, "more", 4) == 4)
        n++;
    assert_int_equal(log_sink_write(sink, "more", 4), -EAGAIN);
    assert_true(n > 0);
    check_received(fd, "more");
    check_write("room again");
    close(fd);
    assert_int_equal(log_sink_write(sink, "x", 1), -ECONNREFUSED);
    unlink(path);
    assert_int_equal(log_sink_write(sink, "x", 1), -ENOENT);
    fd = syslogd_open();
    check_write("two");
    check_received(fd, "two");
    close(fd);
    unlink(path);
    fd = syslogd_open(); /* another one, and nobody has noticed */
    check_write("three");
    check_received(fd, "three");
    close(fd);
}

static void test_facilities(void **state)
{
    (void)state;
    assert_string_equal(log_facility_word(0), "kern");
    assert_string_equal(log_facility_word(3), "daemon");
    assert_string_equal(log_facility_word(10), "authpriv");
    assert_string_equal(log_facility_word(16), "local0");
    assert_string_equal(log_facility_word(23), "local7");
    assert_null(log_facility_word(24));
    assert_null(log_facility_word(-1));
    log_sink_free(NULL);
}

#define SINK_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SINK_TEST(test_file_is_appended_to),
        SINK_TEST(test_file_again),
        SINK_TEST(test_file_that_cannot_be),
        SINK_TEST(test_full_disk),
        SINK_TEST(test_journal),
        SINK_TEST(test_syslog),
        SINK_TEST(test_facilities),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
