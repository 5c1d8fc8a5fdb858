#include "lb4/conf/diff_servers.h"

#include <stdlib.h>

#include "conf_text.h"

#define SERVICE(lines)                                                                             \
    "service a {\n listen tcp :1080\n server s1 10.0.0.1:80\n server s2 10.0.0.2:80\n" lines "\n}" \
    "\n"

/* Both have one service. */
static char *servers_of(const char *before_text, const char *after_text, long *ret_n)
{
    struct conf before;
    struct conf after;
    char *text = NULL;
    size_t n_bytes;
    FILE *stream = open_memstream(&text, &n_bytes);

    conf_text_accept(before_text, &before);
    conf_text_accept(after_text, &after);
    *ret_n = conf_diff_servers(&before.services[0], &after.services[0], stream);
    fclose(stream);
    conf_free(&before);
    conf_free(&after);
    return text;
}

static void test_names_come_first(void **state)
{
    long n;
    char *text;

    (void)state;
    text = servers_of(SERVICE("server d d.example:5"),
                      SERVICE("server d d.example:5 weight 2\nserver s3 10.0.0.3:80"), &n);
    assert_string_equal(text, "~ name a/d d.example:5 weight 1 -> d.example:5 weight 2\n"
                              "+ server a/s3 10.0.0.3:80\n~ weight a/d 1 -> 2\n");
    assert_int_equal(n, 3);
    free(text);
    text = servers_of(SERVICE(""), SERVICE("tries 5"), &n);
    assert_string_equal(text, "");
    assert_int_equal(n, 0);
    free(text);
}

static void test_all_of_a_service(void **state)
{
    struct conf conf;
    char *text = NULL;
    size_t n_bytes;
    FILE *stream = open_memstream(&text, &n_bytes);

    (void)state;
    conf_text_accept(SERVICE(""), &conf);
    assert_int_equal(conf_write_servers('-', &conf.services[0], stream), 2);
    fclose(stream);
    assert_string_equal(text, "- server a/s1 10.0.0.1:80\n- server a/s2 10.0.0.2:80\n");
    free(text);
    conf_free(&conf);
}

/* There and back are as many lines, with the signs turned round. */
static void test_many_servers(void **state)
{
    enum { N = 300, TEXT_MAX = 64 * N };
    static char texts[2][TEXT_MAX];
    size_t at[2] = {0};
    long there;
    long back;

    (void)state;
    for (size_t k = 0; k < 2; k++) {
        at[k] += (size_t)snprintf(texts[k], TEXT_MAX, "service a {\n listen tcp :1080\n");
        for (unsigned i = 0; i < N; i++)
            if (k == 0 ? i % 3 : i % 5) /* 200 and 240; 160 in both */
                at[k] += (size_t)snprintf(texts[k] + at[k], TEXT_MAX - at[k],
                                          " server n%u 10.0.%u.1:80 weight %u\n", i, i % 250,
                                          i % 7 == 0 && k ? 2 : 1);
        snprintf(texts[k] + at[k], TEXT_MAX - at[k], "}\n");
    }
    free(servers_of(texts[0], texts[1], &there));
    free(servers_of(texts[1], texts[0], &back));
    assert_int_equal(there, back);
    assert_true(there > 40 + 80 && there < 40 + 80 + 40);
}

/* Of a service that was looked up, a name without an address beside others that have theirs. */
static void test_name_without_address(void **state)
{
    static const char *const options[] = {"weight 2", "priority 2", "maxconn 7", "backup"};

    (void)state;
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        FILE *nowhere = fopen("/dev/null", "we");
        struct conf confs[2];
        char text[256];

        snprintf(text, sizeof(text),
                 SERVICE("queue 9 timeout 5s\nserver s3 10.0.0.3:80 maxconn 5\n"
                         "server d d.example:5 %s"),
                 options[i]);
        conf_text_accept(SERVICE("queue 9 timeout 5s\nserver s3 10.0.0.3:80 maxconn 5\n"
                                 "server d d.example:5"),
                         &confs[0]);
        conf_text_accept(text, &confs[1]);
        for (size_t k = 0; k < 2; k++) {
            struct conf_service *service = &confs[k].services[0];

            service->written = service->servers;
            service->n_written = service->n_servers;
            service->servers = calloc(3, sizeof(*service->servers));
            service->n_servers = 3;
            memcpy(service->servers, service->written, 3 * sizeof(*service->servers));
        }
        assert_int_equal(conf_diff_servers(&confs[0].services[0], &confs[1].services[0], nowhere),
                         1);
        conf_free(&confs[0]);
        conf_free(&confs[1]);
        fclose(nowhere);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_come_first),
        cmocka_unit_test(test_all_of_a_service),
        cmocka_unit_test(test_many_servers),
        cmocka_unit_test(test_name_without_address),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
