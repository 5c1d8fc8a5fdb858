/* Conversations of an attempt with servers made of real sockets. */
#include "lb4/probe/converse.h"

#include <stdlib.h>
#include <string.h>

#include "../relay/sockets.h"

static uint8_t path[] = "/";
static const struct service_check http = {
    .kind = CONF_CHECK_HTTP, .send = path, .n_send = 1, .status_min = 200, .status_max = 399};
static const struct service_check redis = {.kind = CONF_CHECK_REDIS};
static const char pong[] = "+PONG\r\n";

enum { LONG_SPEECH = 8 << 20 }; /* more than both socket buffers take */

/* One attempt, and its server. */
static struct {
    struct loop loop;
    struct attempt attempt;
    struct service_check check;
    struct addr at;
    int listener;
    int server;
    enum health_outcome outcome;
    size_t n_outcomes;
    size_t n_fds;
    size_t n_recvs; /* of the attempt */
    bool fails_malloc;
    bool speaks_long;
    bool says_goodbye;
} rig;

enum talk_step __real_talk_open(struct talk *talk);
enum talk_step __wrap_talk_open(struct talk *talk);
enum talk_step __real_talk_hear(struct talk *talk);
enum talk_step __wrap_talk_hear(struct talk *talk);
void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
ssize_t __real_recv(int fd, void *bytes, size_t n, int flags);
ssize_t __wrap_recv(int fd, void *bytes, size_t n, int flags);

enum talk_step __wrap_talk_open(struct talk *talk)
{
    static uint8_t speech[LONG_SPEECH];

    return rig.speaks_long ? talk_say(talk, speech, sizeof(speech)) : __real_talk_open(talk);
}

enum talk_step __wrap_talk_hear(struct talk *talk)
{
    enum talk_step step = __real_talk_hear(talk);

    if (!rig.says_goodbye || step != TALK_GOOD)
        return step;
    talk->is_last_word = true;
    return talk_say_text(talk, "QUIT");
}

void *__wrap_malloc(size_t n)
{
    return rig.fails_malloc ? NULL : __real_malloc(n);
}

ssize_t __wrap_recv(int fd, void *bytes, size_t n, int flags)
{
    rig.n_recvs += fd == rig.attempt.source.fd;
    return __real_recv(fd, bytes, n, flags);
}

static int rig_open(void **state)
{
    (void)state;
    memset(&rig, 0, sizeof(rig));
    rig.n_fds = sockets_count_fds();
    loop_clear(&rig.loop);
    assert_int_equal(loop_init(&rig.loop), 0);
    rig.listener = sockets_listen(&rig.at);
    rig.server = -1;
    return 0;
}

static int rig_close(void **state)
{
    (void)state;
    attempt_close(&rig.attempt);
    loop_fini(&rig.loop);
    close(rig.listener);
    if (rig.server >= 0)
        close(rig.server);
    assert_int_equal(sockets_count_fds(), rig.n_fds);
    return 0;
}

static void rig_start(const struct service_check *check)
{
    rig.check = *check;
    attempt_init(&rig.attempt, &rig.check, true);
    if (!attempt_start(&rig.attempt, &rig.loop, &rig.at, false, &rig.outcome))
        rig.n_outcomes++;
}

static void rig_turn(void)
{
    size_t n = loop_wait(&rig.loop, 10);

    for (size_t i = 0; i < n; i++) {
        if (!rig.loop.batch[i].source->is_closed)
            rig.n_outcomes += attempt_on_event(&rig.attempt, rig.loop.batch[i].bits, &rig.outcome);
    }
}

static void rig_until(enum attempt_state state)
{
    struct patience patience = patience_new();

    while (rig.attempt.state != state && patience_holds(&patience))
        rig_turn();
}

/* Connected, and its question is on its way. */
static void rig_talk(const struct service_check *check)
{
    rig_start(check);
    rig_until(ATTEMPT_TALKING);
    rig.server = sockets_accept(rig.listener);
}

static void say(const char *text)
{
    assert_int_equal(send(rig.server, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Up to `text`, which is the last thing that the server hears for now. */
static void hear(const char *text)
{
    struct patience patience = patience_new();
    char heard[2048] = "";
    size_t n_heard = 0;

    while (!strstr(heard, text) && patience_holds(&patience)) {
        ssize_t n;

        sockets_wait(rig.server, POLLIN);
        n = recv(rig.server, heard + n_heard, sizeof(heard) - 1 - n_heard, 0);
        assert_true(n > 0);
        n_heard += (size_t)n;
        heard[n_heard] = '\0';
    }
    assert_string_equal(heard + n_heard - strlen(text), text);
}

static void check_outcome(enum health_outcome outcome, int error, const char *reason)
{
    struct patience patience = patience_new();

    while (rig.n_outcomes == 0 && patience_holds(&patience))
        rig_turn();
    assert_int_equal(rig.n_outcomes, 1);
    assert_int_equal(rig.outcome, outcome);
    assert_int_equal(rig.attempt.error, error);
    if (reason)
        assert_string_equal(rig.attempt.reason, reason);
    else
        assert_null(rig.attempt.reason);
}

/* The server reads a FIN, no reset, and hangs up itself; nothing is left. */
static void check_farewell(void)
{
    char byte;

    sockets_wait(rig.server, POLLIN);
    assert_int_equal(recv(rig.server, &byte, 1, 0), 0);
    assert_int_equal(rig.attempt.state, ATTEMPT_LINGERING);
    shutdown(rig.server, SHUT_WR);
    rig_until(ATTEMPT_IDLE);
    assert_int_equal(rig.attempt.source.fd, -1);
    assert_null(rig.attempt.talk);
    assert_int_equal(rig.n_outcomes, 1);
}

/* All was said: the FIN, no reset, and the rest is the kernel's. */
static void check_closed(void)
{
    char byte;

    assert_int_equal(rig.attempt.state, ATTEMPT_IDLE);
    assert_int_equal(rig.attempt.source.fd, -1);
    assert_null(rig.attempt.talk);
    sockets_wait(rig.server, POLLIN);
    assert_int_equal(recv(rig.server, &byte, 1, 0), 0);
    assert_int_equal(rig.n_outcomes, 1);
}

static void test_good(void **state)
{
    (void)state;
    rig_talk(&http);
    hear("\r\n\r\n");
    say("HTTP/1.1 200 OK\r\n\r\nsome body");
    check_outcome(HEALTH_OK, 0, NULL);
    check_farewell();
}

static void test_wrong_is_polite(void **state)
{
    (void)state;
    rig_talk(&http);
    hear("\r\n\r\n");
    say("HTTP/1.1 503 no\r\n\r\nsome body");
    check_outcome(HEALTH_FAILED, EBADMSG, "HTTP status 503");
    say("more body");
    check_farewell();
    assert_string_equal(rig.attempt.reason, "HTTP status 503");
}

static void test_single_bytes(void **state)
{
    (void)state;
    rig_talk(&redis);
    hear("PING\r\n");
    for (size_t i = 0; i < sizeof(pong) - 1; i++) {
        assert_int_equal(rig.n_outcomes, 0);
        assert_int_equal(send(rig.server, pong + i, 1, 0), 1);
        rig_turn();
    }
    check_outcome(HEALTH_OK, 0, NULL);
    check_closed();
}

/* A server is read when something has come from it. */
static void test_nothing_is_read_in_vain(void **state)
{
    (void)state;
    rig_talk(&redis);
    hear("PING\r\n");
    rig_turn();
    assert_int_equal(rig.n_recvs, 0);
    say(pong);
    check_outcome(HEALTH_OK, 0, NULL);
    rig_turn();
    assert_int_equal(rig.n_recvs, 1);
    check_closed();
}

/* A close(2) with unread bytes would be a reset. */
static void test_more_than_the_answer(void **state)
{
    (void)state;
    rig_talk(&redis);
    hear("PING\r\n");
    say("+PONG\r\n+PONG\r\n");
    check_outcome(HEALTH_OK, 0, NULL);
    check_farewell();
}

/* A read ends before an urgent byte, whatever is behind it. */
static void test_urgent_byte_within_the_answer(void **state)
{
    (void)state;
    rig_talk(&redis);
    hear("PING\r\n");
    say("+PO");
    assert_int_equal(send(rig.server, "!", 1, MSG_OOB), 1);
    say("NG\r\n");
    check_outcome(HEALTH_OK, 0, NULL);
    check_farewell();
}

static void test_hangs_up_at_once(void **state)
{
    (void)state;
    rig_talk(&redis);
    hear("PING\r\n");
    shutdown(rig.server, SHUT_WR);
    check_outcome(HEALTH_FAILED, EBADMSG, "hung up without an answer");
    rig_until(ATTEMPT_IDLE);
}

static void test_reset_without_a_word(void **state)
{
    (void)state;
    rig_talk(&redis);
    sock_reset(rig.server);
    rig.server = -1;
    check_outcome(HEALTH_FAILED, ECONNRESET, NULL);
    assert_int_equal(rig.attempt.state, ATTEMPT_IDLE);
}

/* Whether it comes before our first look or after must make no difference. */
static void test_reset_before_the_first_look(void **state)
{
    (void)state;
    rig_start(&redis);
    sock_reset(sockets_accept(rig.listener));
    check_outcome(HEALTH_FAILED, ECONNRESET, NULL);
}

/* The question, unread, is answered by a reset: what was said before counts. */
static void test_last_words_before_a_reset(void **state)
{
    (void)state;
    rig_talk(&redis);
    sockets_wait(rig.server, POLLIN);
    say("-ERR max number of clients\r\n");
    close(rig.server);
    rig.server = -1;
    check_outcome(HEALTH_FAILED, EBADMSG, "answer '-ERR max number of clients'");
}

/* The same, before we have said anything. */
static void test_last_words_before_the_first_look(void **state)
{
    (void)state;
    rig_start(&redis);
    rig.server = sockets_accept(rig.listener);
    say(pong);
    sock_reset(rig.server);
    rig.server = -1;
    check_outcome(HEALTH_OK, 0, NULL);
}

static void flood(void)
{
    static char junk[64 * 1024];
    struct patience patience = patience_new();

    memset(junk, 'j', sizeof(junk));
    while (rig.attempt.state != ATTEMPT_IDLE && patience_holds(&patience)) {
        send(rig.server, junk, sizeof(junk), MSG_NOSIGNAL | MSG_DONTWAIT);
        rig_turn();
    }
}

static void test_junk_has_an_end(void **state)
{
    uint8_t needle[] = "needle";
    const struct service_check check = {
        .kind = CONF_CHECK_SEND, .expect = needle, .n_expect = sizeof(needle) - 1};

    (void)state;
    rig_talk(&check);
    flood();
    check_outcome(HEALTH_FAILED, EBADMSG,
                  "answer 'jjjjjjjjjjjjjjjjjjjjjjjjjjjjjjjj...' does not match");
    assert_in_range(rig.attempt.n_heard, ATTEMPT_HEAR_MAX, ATTEMPT_HEAR_MAX + TALK_IN_MAX);
}

/* A good answer stays good, however much comes behind it. */
static void test_junk_behind_a_good_answer(void **state)
{
    (void)state;
    rig_talk(&http);
    say("HTTP/1.1 200 OK\r\n");
    flood();
    check_outcome(HEALTH_OK, 0, NULL);
}

static void test_given_up(void **state)
{
    (void)state;
    rig_talk(&redis);
    assert_int_equal(attempt_give_up(&rig.attempt), HEALTH_FAILED);
    assert_int_equal(rig.attempt.error, ETIMEDOUT);
    assert_null(rig.attempt.reason);
    assert_string_equal(rig.attempt.waiting, " waiting for the answer");
    hear("PING\r\n");
    assert_int_equal(rig.attempt.state, ATTEMPT_IDLE);
}

static void test_given_up_within_the_answer(void **state)
{
    struct patience patience = patience_new();

    (void)state;
    rig_talk(&redis);
    say("+PO");
    while (rig.attempt.n_heard < 3 && patience_holds(&patience))
        rig_turn();
    assert_int_equal(attempt_give_up(&rig.attempt), HEALTH_FAILED);
    assert_int_equal(rig.attempt.error, ETIMEDOUT);
    assert_string_equal(rig.attempt.reason, "timed out waiting for the rest of '+PO'");
}

static void test_given_up_connecting(void **state)
{
    (void)state;
    rig_start(&redis);
    assert_int_equal(rig.attempt.state, ATTEMPT_CONNECTING);
    assert_int_equal(attempt_give_up(&rig.attempt), HEALTH_FAILED);
    assert_string_equal(rig.attempt.waiting, " connecting");
    assert_null(rig.attempt.talk);
}

/* More than the socket takes at once: it goes on when there is room. */
static void test_long_speech(void **state)
{
    static char heard[64 * 1024];
    struct patience patience = patience_new();
    size_t n_heard = 0;

    (void)state;
    rig.speaks_long = true;
    rig_talk(&redis);
    assert_true(rig.attempt.talk->n_out > 0);
    while (n_heard < LONG_SPEECH && patience_holds(&patience)) {
        ssize_t n = recv(rig.server, heard, sizeof(heard), MSG_DONTWAIT);

        n_heard += n > 0 ? (size_t)n : 0;
        rig_turn();
    }
    say(pong);
    check_outcome(HEALTH_OK, 0, NULL);
    check_closed();
}

static void test_goodbye(void **state)
{
    (void)state;
    rig.says_goodbye = true;
    rig_talk(&redis);
    hear("PING\r\n");
    say(pong);
    check_outcome(HEALTH_OK, 0, NULL);
    hear("QUIT");
    check_farewell();
}

static void test_no_memory_says_nothing(void **state)
{
    (void)state;
    rig.fails_malloc = true;
    rig_start(&redis);
    rig.fails_malloc = false;
    check_outcome(HEALTH_UNKNOWN, ENOMEM, NULL);
    assert_int_equal(rig.attempt.state, ATTEMPT_IDLE);
}

static void test_source(void **state)
{
    struct service_check check = redis;
    struct addr peer;

    (void)state;
    assert_int_equal(addr_parse("127.0.0.9", &check.source), 0);
    rig_start(&check);
    rig_until(ATTEMPT_TALKING);
    sockets_wait(rig.listener, POLLIN);
    rig.server = sock_accept(rig.listener, &peer);
    assert_true(addr_equal_host(&peer, &check.source));
    say(pong);
    check_outcome(HEALTH_OK, 0, NULL);
}

/* That the address is not ours says nothing about the server; nor one of the other family. */
static void test_source_of_others(void **state)
{
    static const char *const sources[] = {"198.51.100.77", "2001:db8::77"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct service_check check = redis;

        assert_int_equal(addr_parse(sources[i], &check.source), 0);
        rig.n_outcomes = 0;
        rig_start(&check);
        check_outcome(HEALTH_UNKNOWN, EADDRNOTAVAIL,
                      "the source address of its check is not this machine's");
    }
}

#define RIG_TEST(name) cmocka_unit_test_setup_teardown(name, rig_open, rig_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG_TEST(test_good),
        RIG_TEST(test_wrong_is_polite),
        RIG_TEST(test_single_bytes),
        RIG_TEST(test_nothing_is_read_in_vain),
        RIG_TEST(test_more_than_the_answer),
        RIG_TEST(test_urgent_byte_within_the_answer),
        RIG_TEST(test_hangs_up_at_once),
        RIG_TEST(test_reset_without_a_word),
        RIG_TEST(test_reset_before_the_first_look),
        RIG_TEST(test_last_words_before_a_reset),
        RIG_TEST(test_last_words_before_the_first_look),
        RIG_TEST(test_junk_has_an_end),
        RIG_TEST(test_junk_behind_a_good_answer),
        RIG_TEST(test_given_up),
        RIG_TEST(test_given_up_within_the_answer),
        RIG_TEST(test_given_up_connecting),
        RIG_TEST(test_long_speech),
        RIG_TEST(test_goodbye),
        RIG_TEST(test_no_memory_says_nothing),
        RIG_TEST(test_source),
        RIG_TEST(test_source_of_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
