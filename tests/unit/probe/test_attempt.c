#include "lb4/probe/attempt.h"

#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>

#include "lb4/base/unix_listen.h"
#include "lb4/base/unix_path.h"

#include "../relay/sockets.h"

/* One attempt in a loop of its own. */
static struct {
    struct loop loop;
    struct attempt attempt;
    struct service_check check;
    enum health_outcome outcome;
    size_t n_outcomes;
    bool watches;
    size_t n_fds;
} rig;

static int rig_open(void **state)
{
    (void)state;
    rig.n_fds = sockets_count_fds();
    rig.n_outcomes = 0;
    rig.watches = false;
    loop_clear(&rig.loop);
    assert_int_equal(loop_init(&rig.loop), 0);
    rig.check = (struct service_check){.kind = CONF_CHECK_TCP};
    attempt_init(&rig.attempt, &rig.check, true);
    return 0;
}

static int rig_close(void **state)
{
    (void)state;
    attempt_close(&rig.attempt);
    attempt_close(&rig.attempt);
    loop_fini(&rig.loop);
    assert_int_equal(sockets_count_fds(), rig.n_fds);
    return 0;
}

static void rig_start(const struct addr *to)
{
    if (attempt_start(&rig.attempt, &rig.loop, to, rig.watches, &rig.outcome))
        assert_int_equal(rig.attempt.state, ATTEMPT_CONNECTING);
    else
        rig.n_outcomes++;
}

/* One turn of the loop. */
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

static void check_outcome(enum health_outcome outcome, int error)
{
    struct patience patience = patience_new();

    while (rig.n_outcomes == 0 && patience_holds(&patience))
        rig_turn();
    assert_int_equal(rig.n_outcomes, 1);
    assert_int_equal(rig.outcome, outcome);
    assert_int_equal(rig.attempt.error, error);
}

/* What the server reads at the end: 0 for a FIN, an error for a reset. */
static ssize_t end_of(int server)
{
    char byte;
    ssize_t n;

    sockets_wait(server, POLLIN);
    n = recv(server, &byte, 1, 0);
    return n < 0 ? -errno : n;
}

/* --- outcomes --------------------------------------------------------------------------------- */

static void test_ok_ends_with_fin(void **state)
{
    struct addr at;
    int listener = sockets_listen(&at);
    int server;

    (void)state;
    rig_start(&at);
    check_outcome(HEALTH_OK, 0);
    assert_int_equal(rig.attempt.state, ATTEMPT_LINGERING);
    server = sockets_accept(listener);
    assert_int_equal(end_of(server), 0);
    close(server);
    rig_until(ATTEMPT_IDLE);
    assert_int_equal(rig.attempt.source.fd, -1);
    assert_int_equal(rig.n_outcomes, 1);
    close(listener);
}

/* K27: input that nobody reads would make close(2) a reset. */
static void test_banner_is_read_and_answered_with_fin(void **state)
{
    struct addr at;
    int listener = sockets_listen(&at);
    int server;

    (void)state;
    rig_start(&at);
    check_outcome(HEALTH_OK, 0);
    server = sockets_accept(listener);
    for (size_t i = 0; i < 20; i++) {
        assert_int_equal(sockets_send(server, 0, 1000), 1000);
        rig_turn();
    }
    assert_int_equal(end_of(server), 0);
    assert_int_equal(rig.attempt.state, ATTEMPT_LINGERING);
    shutdown(server, SHUT_WR);
    rig_until(ATTEMPT_IDLE);
    assert_int_equal(sock_take_error(server), 0);
    assert_int_equal(end_of(server), 0);
    assert_int_equal(rig.n_outcomes, 1);
    close(server);
    close(listener);
}

static void test_refused(void **state)
{
    struct addr at = sockets_closed_port();

    (void)state;
    rig_start(&at);
    check_outcome(HEALTH_REFUSED, ECONNREFUSED);
    assert_int_equal(rig.attempt.state, ATTEMPT_IDLE);
}

/* A namespace with nothing but its loopback has no way there; elsewhere a test network is silent.
 */
static void test_unreachable(void **state)
{
    struct addr at;

    (void)state;
    assert_int_equal(addr_parse("255.255.255.255", &at), 0);
    addr_set_port(&at, 9);
    rig_start(&at);
    check_outcome(rig.attempt.error == EACCES ? HEALTH_UNKNOWN : HEALTH_FAILED, rig.attempt.error);
    assert_int_not_equal(rig.attempt.error, 0);
    assert_int_equal(rig.attempt.state, ATTEMPT_IDLE);
}

static void test_no_descriptor_says_nothing(void **state)
{
    struct rlimit before;
    struct rlimit none;
    struct addr at;
    int listener = sockets_listen(&at);

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){0, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    rig_start(&at);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    check_outcome(HEALTH_UNKNOWN, EMFILE);
    assert_int_equal(rig.attempt.state, ATTEMPT_IDLE);
    close(listener);
}

/* Where the loop cannot take it, the socket is not forgotten. */
static void test_no_watch_leaves_no_descriptor(void **state)
{
    struct addr at;
    int listener = sockets_listen(&at);
    int epoll_fd;

    (void)state;
    epoll_fd = rig.loop.epoll_fd;
    rig.loop.epoll_fd = -1;
    rig_start(&at);
    rig.loop.epoll_fd = epoll_fd;
    check_outcome(HEALTH_FAILED, EBADF);
    assert_int_equal(rig.attempt.state, ATTEMPT_IDLE);
    close(listener);
}

/* --- resets ----------------------------------------------------------------------------------- */

/* Before we looked, with nothing said: nobody serves there. */
/* It has accepted, and had its reset come a moment later it would have been an answer, too. */
static void test_reset_before_the_first_look(void **state)
{
    struct addr at;
    int listener = sockets_listen(&at);

    (void)state;
    rig_start(&at);
    sock_reset(sockets_accept(listener));
    check_outcome(HEALTH_OK, 0);
    assert_int_equal(rig.attempt.state, ATTEMPT_IDLE);
    close(listener);
}

/* Who says "too many connections" and resets is alive. */
static void test_last_words_before_a_reset_are_an_answer(void **state)
{
    struct addr at;
    int listener = sockets_listen(&at);
    int server;

    (void)state;
    rig_start(&at);
    server = sockets_accept(listener);
    assert_int_equal(send(server, "too many", 8, 0), 8);
    sock_reset(server);
    check_outcome(HEALTH_OK, 0);
    assert_int_equal(rig.attempt.state, ATTEMPT_IDLE);
    close(listener);
}

static void test_reset_while_lingering_is_no_second_outcome(void **state)
{
    struct addr at;
    int listener = sockets_listen(&at);

    (void)state;
    rig_start(&at);
    check_outcome(HEALTH_OK, 0);
    sock_reset(sockets_accept(listener));
    rig_until(ATTEMPT_IDLE);
    assert_int_equal(rig.n_outcomes, 1);
    assert_int_equal(rig.outcome, HEALTH_OK);
    close(listener);
}

/* --- limits ----------------------------------------------------------------------------------- */

static void test_flood_is_hung_up_on(void **state)
{
    struct addr at;
    int listener = sockets_listen(&at);
    struct patience patience = patience_new();
    size_t sent = 0;
    int server;

    (void)state;
    rig_start(&at);
    check_outcome(HEALTH_OK, 0);
    server = sockets_accept(listener);
    while (rig.attempt.state == ATTEMPT_LINGERING && patience_holds(&patience)) {
        sent += sockets_send(server, 0, 1000);
        rig_turn();
    }
    assert_in_range(sent, 64 * 1024, 80 * 1024);
    assert_int_equal(rig.n_outcomes, 1);
    close(server);
    close(listener);
}

/* A listener whose queue is full: the kernel drops what comes. */
static int blackhole(struct addr *ret_at, int *ret_filler)
{
    int listener = sockets_listen(ret_at);

    assert_int_equal(listen(listener, 0), 0);
    *ret_filler = sockets_connect(ret_at);
    sockets_wait(*ret_filler, POLLOUT);
    return listener;
}

static void test_given_up(void **state)
{
    struct addr at;
    int filler;
    int listener = blackhole(&at, &filler);

    (void)state;
    rig_start(&at);
    for (int i = 0; i < 5; i++)
        rig_turn();
    assert_int_equal(rig.n_outcomes, 0);
    assert_int_equal(rig.attempt.state, ATTEMPT_CONNECTING);
    assert_int_equal(attempt_give_up(&rig.attempt), HEALTH_FAILED);
    assert_int_equal(rig.attempt.error, ETIMEDOUT);
    assert_int_equal(rig.attempt.state, ATTEMPT_IDLE);
    close(filler);
    close(listener);
}

static void test_closed_in_any_state(void **state)
{
    struct addr at;
    int filler;
    int listener = blackhole(&at, &filler);

    (void)state;
    attempt_close(&rig.attempt);
    rig_start(&at);
    attempt_close(&rig.attempt);
    assert_int_equal(rig.attempt.state, ATTEMPT_IDLE);
    assert_true(rig.attempt.source.is_closed);
    rig_turn();
    assert_int_equal(rig.n_outcomes, 0);
    close(filler);
    close(listener);
    listener = sockets_listen(&at);
    rig_start(&at);
    check_outcome(HEALTH_OK, 0);
    close(listener);
}

/* K15: on a single ephemeral port a connect meets itself. The machine's range stays as it is; the
 * same happens to a socket that is bound first. */
static void test_self_connect_is_refused(void **state)
{
    struct addr at = sockets_closed_port();
    int fd;

    (void)state;
    rig_start(&at);
    check_outcome(HEALTH_REFUSED, ECONNREFUSED);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, &at.sa, addr_length(&at)), 0);
    assert_int_equal(connect(fd, &at.sa, addr_length(&at)), -1);
    assert_int_equal(errno, EINPROGRESS);
    source_init(&rig.attempt.source, SOURCE_PROBE, fd);
    assert_int_equal(loop_add(&rig.loop, &rig.attempt.source, LOOP_EDGE), 0);
    rig.attempt.state = ATTEMPT_CONNECTING;
    rig.attempt.error = 0;
    rig.n_outcomes = 0;
    check_outcome(HEALTH_REFUSED, ECONNREFUSED);
    assert_int_equal(rig.attempt.state, ATTEMPT_IDLE);
    /* Without SO_REUSEADDR: nothing is left of it in TIME_WAIT. */
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, &at.sa, addr_length(&at)), 0);
    close(fd);
}

/* --- a closer look ---------------------------------------------------------------------------- */

/* A server that has taken the connection of an attempt that watches it. */
static int start_watched(int listener, const struct addr *at)
{
    int server;

    rig.watches = true;
    rig_start(at);
    server = sockets_accept(listener);
    rig_until(ATTEMPT_WATCHING);
    assert_int_equal(rig.n_outcomes, 0);
    return server;
}

static void test_watched_reset_is_a_failure(void **state)
{
    struct addr at;
    int listener = sockets_listen(&at);

    (void)state;
    sock_reset(start_watched(listener, &at));
    check_outcome(HEALTH_FAILED, ECONNRESET);
    assert_int_equal(rig.attempt.state, ATTEMPT_IDLE);
    close(listener);
}

static void test_watched_reset_before_the_first_look(void **state)
{
    struct addr at;
    int listener = sockets_listen(&at);

    (void)state;
    rig.watches = true;
    rig_start(&at);
    sock_reset(sockets_accept(listener));
    check_outcome(HEALTH_FAILED, ECONNRESET);
    close(listener);
}

/* Until it is settled it sends nothing, not even its FIN. */
static void test_watched_silence_is_fine(void **state)
{
    struct addr at;
    int listener = sockets_listen(&at);
    int server;

    (void)state;
    server = start_watched(listener, &at);
    rig_turn();
    assert_int_equal(sockets_read(server, 0, 1), -EAGAIN);
    assert_int_equal(attempt_settle(&rig.attempt), HEALTH_OK);
    assert_int_equal(rig.attempt.state, ATTEMPT_LINGERING);
    assert_int_equal(end_of(server), 0);
    close(server);
    rig_until(ATTEMPT_IDLE);
    assert_int_equal(rig.n_outcomes, 0);
    close(listener);
}

static void test_watched_words_or_end_are_fine(void **state)
{
    struct addr at;
    int listener = sockets_listen(&at);

    (void)state;
    for (int has_words = 0; has_words < 2; has_words++) {
        int server = start_watched(listener, &at);

        rig.n_outcomes = 0;
        if (has_words)
            assert_int_equal(send(server, "hello", 5, 0), 5);
        else
            shutdown(server, SHUT_WR);
        check_outcome(HEALTH_OK, 0);
        assert_int_equal(end_of(server), 0);
        close(server);
        rig_until(ATTEMPT_IDLE);
        rig.n_outcomes = 0;
    }
    close(listener);
}

static void check_unix(const char *path, enum health_outcome outcome, int error)
{
    struct addr at;

    addr_unix((uint32_t)unix_path_number(path), &at);
    rig.n_outcomes = 0;
    rig_start(&at);
    assert_int_equal(rig.n_outcomes, 1);
    assert_int_equal(rig.outcome, outcome);
    assert_int_equal(rig.attempt.error, error);
}

/* Nobody there, no such path: refused. A full backlog: failed, in words. */
static void test_unix_sockets(void **state)
{
    const struct unix_listen_options options = {.backlog = 0};
    char text[UNIX_LISTEN_ERROR_MAX];
    struct unix_file file;
    struct addr at;
    char name[64];
    int listener;
    int waiting;

    (void)state;
    snprintf(name, sizeof(name), "@lb4-test-attempt-%d", getpid());
    check_unix(name, HEALTH_REFUSED, ECONNREFUSED);
    check_unix("/nonexistent/x", HEALTH_REFUSED, ENOENT);
    assert_null(rig.attempt.reason);
    listener = unix_listen(name, &options, &file, text);
    addr_unix((uint32_t)unix_path_number(name), &at);
    assert_int_equal(sock_connect(&at, &waiting), 0);
    check_unix(name, HEALTH_FAILED, EAGAIN);
    assert_non_null(strstr(rig.attempt.reason, "backlog is full"));
    close(accept(listener, NULL, NULL));
    close(waiting);
    rig.n_outcomes = 0;
    rig_start(&at);
    while (rig.n_outcomes == 0)
        rig_turn();
    assert_int_equal(rig.outcome, HEALTH_OK);
    attempt_close(&rig.attempt);
    close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ok_ends_with_fin, rig_open, rig_close),
        cmocka_unit_test_setup_teardown(test_banner_is_read_and_answered_with_fin, rig_open,
                                        rig_close),
        cmocka_unit_test_setup_teardown(test_refused, rig_open, rig_close),
        cmocka_unit_test_setup_teardown(test_unreachable, rig_open, rig_close),
        cmocka_unit_test_setup_teardown(test_no_descriptor_says_nothing, rig_open, rig_close),
        cmocka_unit_test_setup_teardown(test_no_watch_leaves_no_descriptor, rig_open, rig_close),
        cmocka_unit_test_setup_teardown(test_reset_before_the_first_look, rig_open, rig_close),
        cmocka_unit_test_setup_teardown(test_last_words_before_a_reset_are_an_answer, rig_open,
                                        rig_close),
        cmocka_unit_test_setup_teardown(test_reset_while_lingering_is_no_second_outcome, rig_open,
                                        rig_close),
        cmocka_unit_test_setup_teardown(test_flood_is_hung_up_on, rig_open, rig_close),
        cmocka_unit_test_setup_teardown(test_given_up, rig_open, rig_close),
        cmocka_unit_test_setup_teardown(test_closed_in_any_state, rig_open, rig_close),
        cmocka_unit_test_setup_teardown(test_self_connect_is_refused, rig_open, rig_close),
        cmocka_unit_test_setup_teardown(test_watched_reset_is_a_failure, rig_open, rig_close),
        cmocka_unit_test_setup_teardown(test_watched_reset_before_the_first_look, rig_open,
                                        rig_close),
        cmocka_unit_test_setup_teardown(test_watched_silence_is_fine, rig_open, rig_close),
        cmocka_unit_test_setup_teardown(test_watched_words_or_end_are_fine, rig_open, rig_close),
        cmocka_unit_test_setup_teardown(test_unix_sockets, rig_open, rig_close),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
