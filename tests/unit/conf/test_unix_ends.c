#include "lb4/conf/unix_ends.h"

#include <stdlib.h>

#include "lb4/conf/diff.h"
#include "lb4/conf/listen_words.h"
#include "lb4/conf/print.h"

#include "conf_text.h"

#define SERVICE(words) "service x {\n" words "\n}\n"
#define LISTENS(words) SERVICE("server a 10.0.0.1:80\n" words)
#define SERVERS(words) SERVICE("listen tcp :80\n" words)

static void test_read(void **state)
{
    struct conf conf;
    const struct conf_service *service = NULL;
    char text[CONF_LISTEN_TEXT_MAX];

    (void)state;
    conf_text_accept(SERVICE("listen tcp unix:/run/x mode 0600\nlisten tcp unix:/run/y\n"
                             "listen tcp unix:@z\nserver a unix:/run/a weight 2\n"
                             "server b unix:@b backup"),
                     &conf);
    service = &conf.services[0];
    assert_true(conf_has_unix_listener(service));
    assert_int_equal(service->listens[0].words.mode, 0600);
    assert_int_equal(service->listens[1].words.mode, CONF_MODE);
    assert_int_equal(service->listens[2].words.mode, 0);
    assert_string_equal(conf_format_listen(&service->listens[0], text), "unix:/run/x");
    assert_string_equal(conf_format_listen(&service->listens[2], text), "unix:@z");
    assert_string_equal(addr_format(&service->servers[0].addr, text), "unix:/run/a");
    assert_false(addr_lacks_port(&service->servers[0].addr));
    conf_free(&conf);
    conf_text_accept(LISTENS("listen tcp :80"), &conf);
    assert_false(conf_has_unix_listener(&conf.services[0]));
    conf_free(&conf);
}

static void check_print(const char *text, const char *line)
{
    struct conf conf;
    char *printed = NULL;
    size_t n;
    FILE *stream = open_memstream(&printed, &n);

    conf_text_accept(text, &conf);
    conf_print(&conf, stream);
    fclose(stream);
    if (!strstr(printed, line))
        fail_msg("no '%s' in\n%s", line, printed);
    conf_free(&conf);
    conf_text_accept(printed, &conf);
    conf_free(&conf);
    free(printed);
}

static void test_print(void **state)
{
    (void)state;
    check_print(LISTENS("listen tcp unix:/run/x"), "    listen tcp unix:/run/x mode 0660\n");
    check_print(LISTENS("listen tcp unix:/x mode 0"), "    listen tcp unix:/x mode 0000\n");
    check_print(LISTENS("listen tcp unix:@x"), "    listen tcp unix:@x\n");
    check_print(SERVERS("server a unix:/a:b send-proxy v2"),
                "    server a unix:/a:b weight 1 send-proxy v2\n");
}

static void test_refused(void **state)
{
    static const struct {
        const char *text;
        const char *place;
        const char *fragment;
    } cases[] = {
        {LISTENS("listen udp unix:/x"), "3:8", "tcp only"},
        {LISTENS("listen both unix:/x"), "3:8", "tcp only"},
        {LISTENS("listen tcp unix:x"), "3:12", "absolute path of at most 107 bytes"},
        {LISTENS("listen tcp unix:@"), "3:12", "abstract name"},
        {LISTENS("listen tcp \"unix:/a b\""), "3:12", "printable ASCII without blanks"},
        {LISTENS("listen tcp unix:/x mode 0778"), "3:25", "octal digits in 0..0777"},
        {LISTENS("listen tcp unix:/x mode 1777"), "3:25", "0..0777"},
        {LISTENS("listen tcp unix:/x mode 07777"), "3:25", "0..0777"},
        {LISTENS("listen tcp unix:/x mode rw"), "3:25", "0..0777"},
        {LISTENS("listen tcp unix:/x mode"), "3:20", "a value is missing: 0..0777"},
        {LISTENS("listen tcp unix:@x mode 0660"), "3:20", "mode is of a Unix socket"},
        {LISTENS("listen tcp :80 mode 0660"), "3:16", "mode is of a Unix socket"},
        {LISTENS("listen tcp unix:/x v6only"), "3:20", "'v6only' is of IP addresses"},
        {LISTENS("listen tcp unix:/x mode 0660 mark 1"), "3:30", "of a Unix socket: mode 0..0777"},
        {LISTENS("listen tcp unix:/x accept-proxy from 10.0.0.0/8"), "3:20", "no header"},
        {LISTENS("listen tcp unix:/x\nlisten tcp unix:/x"), "4:12",
         "this Unix socket is listened on already, at t:3:12"},
        {SERVERS("server a unix:x"), "3:10", "absolute path"},
        {SERVERS("server a unix:/x source 10.0.0.1"), "3:18", "'source' is of IP addresses"},
        {SERVERS("server a unix:/x interface eth0"), "3:18", "'interface' is of IP"},
        {SERVERS("server a unix:/x mark 5"), "3:18", "'mark' is of IP"},
        {SERVERS("server a unix:/x\ncheck tcp port 5"), "3:8", "probed at its path: 'check port'"},
        {SERVERS("server a unix:/x\ncheck tcp address 10.0.0.1"), "3:8", "'check address'"},
        {SERVERS("server a unix:/x\ncheck tcp source 10.0.0.1"), "3:8", "'check source'"},
        {SERVERS("server a unix:/x\nlisten udp :81"), "3:8", "the service listens on UDP"},
        {SERVERS("server a 10.0.0.1\nlisten tcp unix:/x"), "3:8", "give it a port"},
        {SERVICE("listen tcp unix:/x\nserver a unix:/x"), "3:8", "our own listener"},
        {SERVICE("listen tcp unix:@x\nserver a unix:@x"), "3:8", "our own listener"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        conf_text_refuse(cases[i].text, cases[i].place, cases[i].fragment);
}

/* A name of the file system and an abstract one are two; what a service says for its IP servers is
 * no harm. */
static void test_accepted(void **state)
{
    static const char *const texts[] = {
        SERVICE("listen tcp unix:/x\nserver a unix:@/x"),
        SERVERS("source 10.0.0.9\nserver a unix:/x\nserver b 10.0.0.1:80"),
        SERVERS("server a unix:/x\nserver b unix:/y\ncheck redis"),
    };
    struct conf conf;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        conf_text_accept(texts[i], &conf);
        conf_free(&conf);
    }
}

static void test_difference(void **state)
{
    struct conf before;
    struct conf after;
    char *text = NULL;
    size_t n;
    FILE *stream = open_memstream(&text, &n);

    (void)state;
    conf_text_accept(LISTENS("listen tcp unix:/x"), &before);
    conf_text_accept(LISTENS("listen tcp unix:/x mode 0600"), &after);
    assert_int_equal(conf_diff(&before, &after, stream), 2);
    fclose(stream);
    assert_string_equal(text, "- listener tcp unix:/x mode 0660 of x\n"
                              "+ listener tcp unix:/x mode 0600 of x\n");
    free(text);
    conf_free(&before);
    conf_free(&after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),       cmocka_unit_test(test_print),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_difference),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
