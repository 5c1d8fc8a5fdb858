#include "lb4/conf/diff.h"

#include <stdlib.h>

#include "conf_text.h"

static char *diff_of(const char *before_text, const char *after_text, long *ret_n)
{
    struct conf before;
    struct conf after;
    char *text = NULL;
    size_t n_bytes;
    FILE *stream = open_memstream(&text, &n_bytes);

    conf_text_accept(before_text, &before);
    conf_text_accept(after_text, &after);
    *ret_n = conf_diff(&before, &after, stream);
    fclose(stream);
    conf_free(&before);
    conf_free(&after);
    return text;
}

static long count_lines(const char *text)
{
    long n = 0;

    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static void check(const char *before, const char *after, const char *expected)
{
    long n;
    char *found = diff_of(before, after, &n);

    if (strcmp(found, expected) != 0)
        fail_msg("from\n%s\nto\n%s\nexpected\n%s\nfound\n%s", before, after, expected, found);
    assert_int_equal(n, count_lines(expected));
    free(found);
}

#define SERVERS " server s1 10.0.0.1:80\n server s2 10.0.0.2:80\n"
#define SERVICE(lines) "service a {\n listen tcp :1080\n" SERVERS lines "\n}\n"

static void test_lines(void **state)
{
    static const struct {
        const char *before;
        const char *after;
        const char *expected;
    } cases[] = {
        {SERVICE(""), SERVICE(""), ""},
        /* The same in other words. */
        {SERVICE(""), "defaults {\n timeout idle 5m\n}\n" SERVICE("timeout idle 1h"), ""},
        {SERVICE(""), SERVICE("balance leastconn\n check tcp"), ""},
        {SERVICE("timeout idle 60s"), SERVICE("timeout idle 1m"), ""},
        {SERVICE(""),
         "service a {\n server s2 10.0.0.2:80\n listen tcp :1080\n"
         " server s1 10.0.0.1:80 weight 1\n}\n",
         ""},
        /* Of the process. */
        {SERVICE(""), "workers 4\n" SERVICE(""), "~ workers auto -> 4 (at the next start)\n"},
        {SERVICE(""), "log file /x\nlog-format json\n" SERVICE(""),
         "~ log stderr -> file \"/x\"\n~ log-format text -> json\n"},
        {"drain 30s\n" SERVICE(""), "drain 1m\n" SERVICE(""), "~ drain 30s -> 1m\n"},
        {SERVICE(""), "maxconn 7\n" SERVICE(""), "~ maxconn auto -> 7\n"},
        {SERVICE(""), "user nobody\n" SERVICE(""), "+ user nobody (at the next start)\n"},
        {"user nobody\n" SERVICE(""), SERVICE(""), "- user nobody (at the next start)\n"},
        {"splice on\n" SERVICE(""), "splice off\n" SERVICE(""),
         "~ splice on -> off (at the next start)\n"},
        {SERVICE(""), "cpu-affinity off\n" SERVICE(""),
         "~ cpu-affinity auto -> off (at the next start)\n"},
        {SERVICE(""), "cpu-scheduling inherit\n" SERVICE(""),
         "~ cpu-scheduling auto -> inherit (at the next start)\n"},
        {SERVICE(""), "io-uring off\n" SERVICE(""), "~ io-uring auto -> off (at the next start)\n"},
        /* Of a service. */
        {SERVICE(""), SERVICE("tries 9"), "~ tries of a 3 -> 9\n"},
        {SERVICE(""), SERVICE("access-log on interval 10m"),
         "~ access-log of a off -> on interval 10m\n"},
        {SERVICE(""), SERVICE("timeout idle 2h"), "~ timeout idle of a 1h -> 2h\n"},
        {SERVICE(""), SERVICE("timeout half-close 2h"), "~ timeout half-close of a 1m -> 2h\n"},
        {SERVICE(""), "defaults {\n timeout connect 4s\n}\n" SERVICE(""),
         "~ timeout connect of a 3s -> 4s\n"},
        {SERVICE(""), SERVICE("balance source"), "~ balance of a leastconn -> source\n"},
        {SERVICE(""), SERVICE("check none"),
         "~ check of a tcp interval 2s timeout 1s fall 3 rise 2 fast 500ms -> none\n"},
        {SERVICE(""), SERVICE("affinity source 60s"),
         "+ affinity source 1m prefix4 32 prefix6 128 of a\n"},
        {SERVICE("affinity source 60s"), SERVICE("affinity source 60s prefix4 24"),
         "~ affinity of a source 1m prefix4 32 prefix6 128 -> source 1m prefix4 24 prefix6 128\n"},
        {SERVICE("affinity source 60s"), SERVICE(""),
         "- affinity source 1m prefix4 32 prefix6 128 of a\n"},
        /* Servers. */
        {SERVICE(""), SERVICE("server s3 10.0.0.3:80"), "+ server a/s3 10.0.0.3:80\n"},
        {SERVICE("server s0 10.0.0.3:80"), SERVICE(""), "- server a/s0 10.0.0.3:80\n"},
        {SERVICE("server s3 10.0.0.3:80"),
         SERVICE("server s3 10.0.0.3:80 priority 2\non-down reset\nslow-start 9s"),
         "~ on-down of a keep -> reset\n+ slow-start 9s of a\n~ priority a/s3 1 -> 2\n"},
        {SERVICE("server s3 10.0.0.3:80"), SERVICE("server s3 10.0.0.3:80 maxconn 5"),
         "+ queue 1000 timeout 5s of a\n~ maxconn a/s3 none -> 5\n"},
        {SERVICE("server s3 10.0.0.3:80 maxconn 5"),
         SERVICE("queue 7 timeout 5s\nserver s3 10.0.0.3:80 maxconn 6"),
         "~ queue of a 1000 timeout 5s -> 7 timeout 5s\n~ maxconn a/s3 5 -> 6\n"},
        {SERVICE("server s3 10.0.0.3:80"), SERVICE("server s3 10.0.0.4:81 weight 2 backup"),
         "~ address a/s3 10.0.0.3:80 -> 10.0.0.4:81\n~ weight a/s3 1 -> 2\n"
         "~ backup a/s3 no -> yes\n"},
        /* Names. */
        {SERVICE("server d d.example:5"), SERVICE("server d e.example:5"),
         "~ name a/d d.example:5 weight 1 -> e.example:5 weight 1\n"},
        {SERVICE("server d d.example:5"), SERVICE("server d d.example:5 weight 2"),
         "~ name a/d d.example:5 weight 1 -> d.example:5 weight 2\n~ weight a/d 1 -> 2\n"},
        {SERVICE("server d d.example:5"),
         SERVICE("queue 1000 timeout 5s\nserver d d.example:5 priority 2 maxconn 7"),
         "+ queue 1000 timeout 5s of a\n~ name a/d d.example:5 weight 1 -> d.example:5 weight 1 "
         "priority 2 maxconn 7\n~ priority a/d 1 -> 2\n~ maxconn a/d none -> 7\n"},
        {SERVICE(""), SERVICE("resolve 1m"), "~ resolve of a 30s -> 1m\n"},
        /* Listeners. */
        {SERVICE(""), SERVICE("listen tcp 127.0.0.1:1081-1083"),
         "+ listener tcp 127.0.0.1:1081-1083 of a\n"},
        {SERVICE("listen both 127.0.0.1:1081"), SERVICE("listen udp 127.0.0.1:1081"),
         "- listener tcp 127.0.0.1:1081 of a\n"},
        {SERVICE("listen tcp 127.0.0.1:1081-1083"), SERVICE("listen tcp 127.0.0.1:1081-1082"),
         "- listener tcp 127.0.0.1:1081-1083 of a\n+ listener tcp 127.0.0.1:1081-1082 of a\n"},
        {SERVICE("listen udp :1081"), SERVICE("listen udp [::1]:1081"),
         "- listener udp :1081 of a\n+ listener udp [::1]:1081 of a\n"},
        /* Services. */
        {SERVICE(""), "service b {\n listen tcp :1080\n server s1 10.0.0.1:80\n}\n",
         "- service a\n- listener tcp :1080 of a\n- server a/s1 10.0.0.1:80\n"
         "- server a/s2 10.0.0.2:80\n"
         "+ service b\n+ listener tcp :1080 of b\n+ server b/s1 10.0.0.1:80\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        check(cases[i].before, cases[i].after, cases[i].expected);
}

static void test_one_service(void **state)
{
    struct conf before;
    struct conf after;
    FILE *nowhere = fopen("/dev/null", "we");

    (void)state;
    conf_text_accept("workers 2\n" SERVICE(""), &before);
    conf_text_accept("workers 3\n" SERVICE("tries 4"), &after);
    assert_int_equal(conf_diff_service(&before.services[0], &after.services[0], nowhere), 1);
    assert_int_equal(conf_diff_service(&before.services[0], &before.services[0], nowhere), 0);
    assert_ptr_equal(conf_find_service(&after, "a"), &after.services[0]);
    assert_null(conf_find_service(&after, "b"));
    conf_free(&before);
    conf_free(&after);
    fclose(nowhere);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_one_service),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
