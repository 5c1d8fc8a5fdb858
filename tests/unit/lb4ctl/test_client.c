#include "lb4/lb4ctl/client.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static char path[64];

static void check_judge(const char *text, enum client_result result, const char *body,
                        const char *message)
{
    char copy[256];
    char found[CLIENT_MESSAGE_MAX] = "";

    snprintf(copy, sizeof(copy), "%s", text);
    assert_int_equal(client_judge(copy, found), result);
    assert_string_equal(copy, body);
    assert_non_null(strstr(found, message));
}

static void test_judge(void **state)
{
    (void)state;
    check_judge("ok\n", CLIENT_OK, "", "");
    check_judge("a\nb\nok\n", CLIENT_OK, "a\nb\n", "");
    check_judge("error no such thing\n", CLIENT_FAILED, "", "no such thing");
    check_judge("a\nerror late\n", CLIENT_FAILED, "a\n", "late");
    check_judge("error permission denied: uid 5\n", CLIENT_NOT_ALLOWED, "", "uid 5");
    check_judge("", CLIENT_NO_ANSWER, "", "before its answer was whole");
    check_judge("a\nb\n", CLIENT_NO_ANSWER, "", "before its answer was whole");
    check_judge("a\nok", CLIENT_NO_ANSWER, "", "before its answer was whole");
}

/* --- a daemon of one answer ------------------------------------------------------------------- */

static struct daemon {
    int listener;
    const char *answer;
    size_t n_repeats;
    bool reads;
    char heard[256];
} daemon_of;

static void *serve(void *unused)
{
    int fd = accept(daemon_of.listener, NULL, NULL);
    size_t n_bytes = 0;
    ssize_t n;

    (void)unused;
    while (daemon_of.reads &&
           (n = recv(fd, daemon_of.heard + n_bytes, sizeof(daemon_of.heard) - 1 - n_bytes, 0)) > 0)
        n_bytes += (size_t)n;
    daemon_of.heard[n_bytes] = '\0';
    for (size_t i = 0; i < daemon_of.n_repeats; i++)
        send(fd, daemon_of.answer, strlen(daemon_of.answer), MSG_NOSIGNAL);
    send(fd, "ok\n", 3, MSG_NOSIGNAL);
    close(fd);
    return NULL;
}

static void listen_at_path(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    strcpy(addr.sun_path, path);
    daemon_of.listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(daemon_of.listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(daemon_of.listener, 1), 0);
}

static void check_answer(const char *line, size_t n_repeats, bool reads)
{
    struct client_answer answer;
    pthread_t thread;

    listen_at_path();
    daemon_of.answer = "0123456789\n";
    daemon_of.n_repeats = n_repeats;
    daemon_of.reads = reads;
    assert_int_equal(pthread_create(&thread, NULL, serve, NULL), 0);
    assert_int_equal(client_ask(path, line, 10, &answer), CLIENT_OK);
    assert_int_equal(strlen(answer.body), 11 * n_repeats);
    client_answer_fini(&answer);
    pthread_join(thread, NULL);
    close(daemon_of.listener);
    unlink(path);
}

static void test_answers(void **state)
{
    (void)state;
    check_answer("show info", 1, true);
    assert_string_equal(daemon_of.heard, "show info\n");
    check_answer("x", 20000, true);
    check_answer("x", 1, false); /* turned away before it was heard */
}

/* Something else that never ends must not take all memory. */
static void test_endless_answer(void **state)
{
    static char piece[64 * 1024];
    struct client_answer answer;
    pthread_t thread;

    (void)state;
    memset(piece, '\n', sizeof(piece) - 1);
    listen_at_path();
    daemon_of.answer = piece;
    daemon_of.n_repeats = 350; /* 22 MiB */
    daemon_of.reads = true;
    assert_int_equal(pthread_create(&thread, NULL, serve, NULL), 0);
    assert_int_equal(client_ask(path, "x", 10, &answer), CLIENT_NO_ANSWER);
    assert_non_null(strstr(answer.message, "not lb4"));
    client_answer_fini(&answer);
    pthread_join(thread, NULL);
    close(daemon_of.listener);
    unlink(path);
}

static void check_refusal(const char *at, unsigned patience_s, const char *fragment)
{
    struct client_answer answer;

    assert_int_equal(client_ask(at, "x", patience_s, &answer), CLIENT_NO_ANSWER);
    assert_non_null(strstr(answer.message, fragment));
    client_answer_fini(&answer);
}

static void test_nobody_there(void **state)
{
    static char too_long[200];

    (void)state;
    check_refusal(path, 1, "does lb4 run, with `admin unix:/tmp/lb4ctl-");
    listen_at_path();
    check_refusal(path, 1, "has not answered for 1 s");
    close(daemon_of.listener);
    check_refusal(path, 1, "does not run any more");
    unlink(path);
    memset(too_long, 'x', sizeof(too_long) - 1);
    check_refusal(too_long, 1, "File name too long");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_judge),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_endless_answer),
        cmocka_unit_test(test_nobody_there),
    };

    snprintf(path, sizeof(path), "/tmp/lb4ctl-%d.sock", getpid());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
