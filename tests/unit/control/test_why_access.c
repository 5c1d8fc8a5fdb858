#include "lb4/control/why_access.h"

#include <stdlib.h>
#include <unistd.h>

#include "../conf/conf_text.h"

static void check(const struct conf *conf, size_t service, const char *client, bool is_in,
                  const char *expected)
{
    char text[WHY_ACCESS_MAX];
    struct addr addr;

    assert_int_equal(addr_parse(client, &addr), 0);
    assert_int_equal(why_access(&conf->services[service], &addr, text), is_in);
    assert_string_equal(text, expected);
}

static void test_sentences(void **state)
{
    static const char text[] = "service a {\n listen tcp :1\n server s 10.0.0.1:1\n"
                               " deny 10.1.0.0/16\n allow 10.0.0.0/8\n refuse silent\n}\n"
                               "service b {\n listen udp :1\n server s 10.0.0.1:2\n"
                               " deny 10.1.0.0/16\n}\n"
                               "service c {\n listen both :2\n server s 10.0.0.1:1\n}\n";
    struct conf conf;

    (void)state;
    conf_text_accept(text, &conf);
    check(&conf, 0, "10.1.2.3", false,
          "The client is denied (its connections are dropped in silence) by: deny 10.1.0.0/16 "
          "(t:4).");
    check(&conf, 0, "10.2.2.3", true, "The client is let in by: allow 10.0.0.0/8 (t:5).");
    check(&conf, 0, "::1", false,
          "The client is denied (its connections are dropped in silence): no allow has its "
          "address.");
    check(&conf, 1, "10.1.2.3", false,
          "The client is denied (its datagrams are dropped) by: deny 10.1.0.0/16 (t:11).");
    check(&conf, 1, "11.1.2.3", true, "The client is let in: no deny has its address.");
    check(&conf, 2, "10.1.2.3", true, "");
    conf_free(&conf);
}

static void test_the_line_of_a_list(void **state)
{
    char path[] = "/tmp/lb4-why-XXXXXX";
    char text[256];
    char expected[256];
    int fd = mkstemp(path);
    struct conf conf;

    (void)state;
    assert_int_equal(write(fd, "# bad\n1.2.3.4\n10.0.0.0/8\n", 25), 25);
    close(fd);
    snprintf(
        text, sizeof(text),
        "service a {\n listen both :1\n server s 10.0.0.1:1\n deny file:%s\n refuse close\n}\n",
        path);
    snprintf(expected, sizeof(expected),
             "The client is denied (its connections are closed, its datagrams dropped) by: deny "
             "file:%s (t:4, %s:3).",
             path, path);
    conf_text_accept(text, &conf);
    unlink(path);
    check(&conf, 0, "10.2.3.4", false, expected);
    conf_free(&conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sentences),
        cmocka_unit_test(test_the_line_of_a_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
