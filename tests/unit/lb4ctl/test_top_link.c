#include "lb4/lb4ctl/top_link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "peer.h"

static struct top_link link_of;

static int prepare(void **state)
{
    char message[CLIENT_MESSAGE_MAX];

    (void)state;
    peer_open();
    top_link_clear(&link_of);
    assert_int_equal(top_link_open(&link_of, peer.path, message), CLIENT_OK);
    peer_accept();
    return 0;
}

static int finish(void **state)
{
    (void)state;
    top_link_close(&link_of);
    top_link_close(&link_of);
    peer_close();
    return 0;
}

static void check_next(const char *expected)
{
    char *answer = top_link_take(&link_of);

    if (expected) {
        assert_non_null(answer);
        assert_string_equal(answer, expected);
    } else {
        assert_null(answer);
    }
    free(answer);
}

static void test_answers_in_pieces(void **state)
{
    (void)state;
    assert_true(top_link_ask(&link_of, "one\ntwo\n"));
    assert_string_equal(peer_heard(), "one\ntwo\n");
    peer_say("a\tb\n1\t");
    assert_true(top_link_read(&link_of));
    check_next(NULL);
    peer_say("ok\nok\nerror no su");
    assert_true(top_link_read(&link_of));
    check_next("a\tb\n1\tok\nok\n");
    check_next(NULL);
    peer_say("ch\nok\nokay\tx\nok\n");
    assert_true(top_link_read(&link_of));
    check_next("error no such\n");
    check_next("ok\n");
    check_next("okay\tx\nok\n");
    check_next(NULL);
}

static void test_long_answer(void **state)
{
    size_t n = 0;
    char *answer;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        peer_say("0123456789\t0123456789\n");
        assert_true(i % 100 || top_link_read(&link_of));
        n += 22;
    }
    peer_say("ok\n");
    assert_true(top_link_read(&link_of));
    answer = top_link_take(&link_of);
    assert_int_equal(strlen(answer), n + 3);
    free(answer);
}

/* What was said before the end counts. */
static void test_goes(void **state)
{
    (void)state;
    peer_say("error too many\n");
    peer_go();
    assert_false(top_link_read(&link_of));
    check_next("error too many\n");
    assert_false(top_link_ask(&link_of, "x\n"));
}

static void test_nobody_there(void **state)
{
    char message[CLIENT_MESSAGE_MAX] = "";

    (void)state;
    assert_int_equal(top_link_open(&link_of, "/nosuch/socket", message), CLIENT_NO_ANSWER);
    assert_int_equal(link_of.fd, -1);
    assert_non_null(strstr(message, "/nosuch/socket"));
}

#define STAGED(test) cmocka_unit_test_setup_teardown(test, prepare, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(test_answers_in_pieces),
        STAGED(test_long_answer),
        STAGED(test_goes),
        STAGED(test_nobody_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
