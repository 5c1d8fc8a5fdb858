#include "lb4/conf/listen_words.h"

#include <stdlib.h>

#include "lb4/conf/diff.h"
#include "lb4/conf/print.h"

#include "conf_text.h"

#define SERVICE(words) "service x {\nserver a 10.0.0.1:80\n" words "\n}\n"

static void test_round_trip(void **state)
{
    static const char *const lines[] = {
        "    listen tcp 10.0.0.9:80 interface eth0 fastopen 65535 defer-accept 3600s mark 9",
        "    listen tcp [::]:80 v6only defer-accept 1s",
        "    listen both :80 interface eth0",
        "    listen udp [::1]:80 v6only mark 1",
    };
    char words[CONF_LISTEN_WORDS_MAX];
    char addr[CONF_LISTEN_TEXT_MAX];
    char text[512];

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct conf conf;
        const struct conf_listen *listen;

        snprintf(text, sizeof(text), SERVICE("%s\ncheck none"), lines[i]);
        conf_text_accept(text, &conf);
        listen = &conf.services[0].listens[0];
        snprintf(text, sizeof(text), "    listen %s %s%s", conf_transport_word(listen->transport),
                 conf_format_listen(listen, addr), conf_format_listen_words(listen, words));
        assert_string_equal(text, lines[i]);
        conf_free(&conf);
    }
}

/* ":80 v6only" is all addresses of IPv6. */
static void test_v6only(void **state)
{
    struct conf conf;
    char text[CONF_LISTEN_TEXT_MAX];

    (void)state;
    conf_text_accept(SERVICE("listen tcp :80 v6only\nlisten tcp 0.0.0.0:80"), &conf);
    assert_false(conf.services[0].listens[0].is_any);
    assert_string_equal(conf_format_listen(&conf.services[0].listens[0], text), "[::]:80");
    conf_free(&conf);
}

static void test_refused(void **state)
{
    static const struct {
        const char *words;
        const char *place;
        const char *fragment;
    } cases[] = {
        {"listen tcp :80 fastopen 0", "3:25", "fastopen: 0 is outside 1..65535"},
        {"listen tcp :80 fastopen 65536", "3:25", "outside 1..65535"},
        {"listen udp :80 fastopen 5", "3:16", "are of TCP"},
        {"listen both :80 defer-accept 5s", "3:17", "give UDP a listen line of its own"},
        {"listen tcp :80 defer-accept 1500ms", "3:16", "whole seconds in 1s..1h"},
        {"listen tcp :80 defer-accept 2h", "3:16", "whole seconds in 1s..1h"},
        {"listen tcp :80 defer-accept 0s", "3:29", "outside 1ms..365d"},
        {"listen tcp 10.0.0.1:80 v6only", "3:24", "of :PORT and of IPv6 addresses"},
        {"listen tcp :80 interface a/b", "3:26", "1..15 bytes, such as eth0"},
        {"listen tcp :80 mark 0", "3:21", "mark: 0 is outside 1..4294967295"},
        {"listen tcp :80 backlog 5", "3:16",
         "accepted here: interface, v6only, fastopen, defer-accept, mark"},
        {"listen tcp :80 interface eth0 interface eth1", "3:31", "'interface' is given twice"},
        {"listen tcp :80 interface eth0\nlisten tcp :80 interface eth0", "4:12",
         "listened on already, at t:3:12"},
    };
    char text[512];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(text, sizeof(text), SERVICE("%s"), cases[i].words);
        conf_text_refuse(text, cases[i].place, cases[i].fragment);
    }
}

/* Listeners that differ by their interface; what comes from this machine reaches that of lo. */
static void test_interfaces(void **state)
{
    struct conf conf;

    (void)state;
    conf_text_accept(SERVICE("listen tcp :80 interface eth0\nlisten tcp :80 interface eth1\n"
                             "listen tcp :80\nlisten tcp 127.0.0.1:81 interface eth0\n"
                             "server b 127.0.0.1:81"),
                     &conf);
    conf_free(&conf);
    conf_text_refuse(SERVICE("listen tcp 127.0.0.1:81 interface lo\nserver b 127.0.0.1:81"), "4:8",
                     "our own listener");
}

static void test_warning(void **state)
{
    struct conf_report report;
    struct conf conf;

    (void)state;
    conf_text_read(SERVICE("listen tcp :80 defer-accept 5s\ncheck mysql"), &conf, &report);
    assert_int_equal(report.n_errors, 0);
    assert_int_equal(report.n_warnings, 1);
    conf_free(&conf);
    conf_text_read(SERVICE("listen tcp :80 defer-accept 5s\ncheck http /"), &conf, &report);
    assert_int_equal(report.n_warnings, 0);
    conf_free(&conf);
}

static void test_difference(void **state)
{
    struct conf confs[2];
    char *text;
    size_t n_bytes;
    FILE *stream = open_memstream(&text, &n_bytes);

    (void)state;
    conf_text_accept(SERVICE("listen tcp :80"), &confs[0]);
    conf_text_accept(SERVICE("listen tcp :80 fastopen 5"), &confs[1]);
    assert_int_equal(conf_diff(&confs[0], &confs[1], stream), 2);
    fclose(stream);
    assert_string_equal(text, "- listener tcp :80 of x\n+ listener tcp :80 fastopen 5 of x\n");
    free(text);
    conf_free(&confs[0]);
    conf_free(&confs[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_v6only),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_interfaces),
        cmocka_unit_test(test_warning),    cmocka_unit_test(test_difference),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
