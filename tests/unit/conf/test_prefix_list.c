#include "lb4/conf/prefix_list.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lb4/conf/memory.h"

static struct conf_report report;

static int parse(const char *text, size_t n, struct conf_prefix_list *list)
{
    conf_report_init(&report);
    *list = (struct conf_prefix_list){.file = "list"};
    return prefix_list_parse(list, text, n, &report);
}

static void check_line(const struct conf_prefix_list *list, size_t i, const char *text,
                       uint32_t line)
{
    char found[PREFIX_TEXT_MAX];

    assert_string_equal(prefix_format(&list->prefixes[i], found), text);
    assert_int_equal(list->lines[i], line);
}

static void test_lines(void **state)
{
    static const char text[] = "\xef\xbb\xbf# of the year\n\n 10.0.0.0/8 # ten\r\n\t2001:db8::/32\n"
                               "192.0.2.7\n10.9.9.9/8\n#\n   \n1.2.3.4";
    struct conf_prefix_list list;

    (void)state;
    assert_int_equal(parse(text, sizeof(text) - 1, &list), 0);
    assert_int_equal(list.n, 4);
    check_line(&list, 0, "1.2.3.4", 9);
    check_line(&list, 1, "10.0.0.0/8", 3);
    check_line(&list, 2, "192.0.2.7", 5);
    check_line(&list, 3, "2001:db8::/32", 4);
    prefix_list_fini(&list);
    assert_int_equal(parse("", 0, &list), 0);
    assert_int_equal(list.n, 0);
    prefix_list_fini(&list);
}

static void test_errors_have_places(void **state)
{
    static const char text[] = "10.0.0.0/8\n  10.0.0.0/33 # no\nwhat\n10.0.0.1 10.0.0.2\n\0\n";
    static const uint32_t places[][2] = {{2, 3}, {3, 1}, {4, 1}, {5, 1}};
    struct conf_prefix_list list;

    (void)state;
    assert_int_equal(parse(text, sizeof(text) - 1, &list), -EINVAL);
    assert_int_equal(list.n, 0);
    assert_int_equal(report.n_errors, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(report.errors[i].place.file, "list");
        assert_int_equal(report.errors[i].place.line, places[i][0]);
        assert_int_equal(report.errors[i].place.column, places[i][1]);
    }
    assert_non_null(strstr(report.errors[0].text, "outside 0..32"));
    assert_non_null(strstr(report.errors[1].text, "accepted: 10.0.0.0/8"));
    prefix_list_fini(&list);
}

static void test_too_many(void **state)
{
    enum { N = CONF_PREFIXES_MAX + 1, LINE = 8 };
    char *text = malloc((size_t)N * LINE + 1);
    struct conf_prefix_list list;

    (void)state;
    assert_non_null(text);
    memset(text, '\n', LINE);
    for (size_t i = 1; i < N; i++)
        memcpy(text + i * LINE, "1.0.0.1\n", LINE);
    assert_int_equal(parse(text, (size_t)N * LINE, &list), 0);
    assert_int_equal(list.n, 1);
    prefix_list_fini(&list);
    memcpy(text, "1.0.0.2\n", LINE);
    assert_int_equal(parse(text, (size_t)N * LINE, &list), -EINVAL);
    assert_int_equal(report.errors[0].place.line, N);
    assert_non_null(strstr(report.errors[0].text, "more than 1000000 networks"));
    prefix_list_fini(&list);
    free(text);
}

static void compare(const char *before, const char *after, size_t added, size_t removed)
{
    struct conf_prefix_list lists[2];
    size_t n_added;
    size_t n_removed;

    assert_int_equal(parse(before, strlen(before), &lists[0]), 0);
    assert_int_equal(parse(after, strlen(after), &lists[1]), 0);
    prefix_list_compare(&lists[0], &lists[1], &n_added, &n_removed);
    assert_int_equal(n_added, added);
    assert_int_equal(n_removed, removed);
    prefix_list_fini(&lists[0]);
    prefix_list_fini(&lists[1]);
}

static void test_differences(void **state)
{
    (void)state;
    compare("", "", 0, 0);
    compare("1.1.1.1\n::1", "::1\n1.1.1.1 # again\n", 0, 0);
    compare("1.1.1.1\n2.2.2.2\n9.9.9.9", "1.1.1.1\n3.0.0.0/8\n4.4.4.4\n::1\n9.9.9.9", 3, 1);
    compare("", "1.1.1.1\n::1", 2, 0);
    compare("1.1.1.1\n::1\n::2", "1.1.1.1/31", 1, 3);
}

static void test_files_are_read_once(void **state)
{
    char path[] = "/tmp/lb4-list-XXXXXX";
    const struct conf_place place = {"conf", 3, 9};
    const struct conf_prefix_list *list;
    int fd = mkstemp(path);
    struct conf conf;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "10.0.0.0/8\n", 11), 11);
    close(fd);
    conf_init(&conf);
    conf_report_init(&report);
    list = prefix_list_read(&conf, path, &place, &report);
    assert_non_null(list);
    assert_int_equal(list->n, 1);
    assert_true(list->read_s > 0);
    unlink(path);
    assert_ptr_equal(prefix_list_read(&conf, path, &place, &report), list);
    assert_null(prefix_list_read(&conf, "/nowhere/list", &place, &report));
    assert_null(prefix_list_read(&conf, "/tmp", &place, &report));
    assert_int_equal(report.n_errors, 2);
    assert_int_equal(report.errors[0].place.line, 3);
    assert_non_null(strstr(report.errors[0].text, "'/nowhere/list': No such file"));
    assert_non_null(strstr(report.errors[1].text, "a directory"));
    conf_free(&conf);
    assert_null(conf.lists);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_errors_have_places),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_differences),
        cmocka_unit_test(test_files_are_read_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
