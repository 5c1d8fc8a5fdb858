#include "lb4/conf/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf_text.h"

static char dir[] = "/tmp/lb4-test-file-XXXXXX";
static char path[sizeof(dir) + 16];

static int make_dir(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof(path), "%s/x.conf", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    return rmdir(dir);
}

static void write_file(const char *text, off_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    if (size > 0)
        assert_int_equal(ftruncate(fd, size), 0);
    close(fd);
}

static void check_refused(const char *name, const char *text)
{
    static struct conf_report report;
    struct conf conf;

    conf_init(&conf);
    conf_report_init(&report);
    assert_int_equal(conf_read_file(name, &conf, &report), -EINVAL);
    assert_int_equal(report.n_errors, 1);
    assert_string_equal(report.errors[0].place.file, name);
    assert_int_equal(report.errors[0].place.line, 0);
    assert_string_equal(report.errors[0].text, text);
    conf_free(&conf);
}

static void test_good(void **state)
{
    static struct conf_report report;
    struct conf conf;

    (void)state;
    write_file("workers 7", 0);
    conf_init(&conf);
    conf_report_init(&report);
    assert_int_equal(conf_read_file(path, &conf, &report), 0);
    assert_int_equal(conf.workers, 7);
    conf_free(&conf);
    assert_int_equal(unlink(path), 0);
}

static void test_unreadable(void **state)
{
    (void)state;
    check_refused(path, "No such file or directory");
    check_refused(dir, "a directory, not a file");
    check_refused("/dev/null", "not a regular file");
    assert_int_equal(mkfifo(path, 0600), 0);
    alarm(10); /* a reader that waits for a writer would wait for ever */
    check_refused(path, "not a regular file");
    alarm(0);
    assert_int_equal(unlink(path), 0);
    write_file("#", CONF_FILE_MAX_BYTES + 1);
    check_refused(path, "larger than 16 MiB");
    assert_int_equal(unlink(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_unreadable),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
