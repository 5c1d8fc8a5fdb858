#include "lb4/probe/datagram.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>

#include "../netns.h"
#include "asker.h"

/* Of the next recv(2) of the attempt. */
static int recv_error;

ssize_t __real_recv(int fd, void *bytes, size_t n, int flags);
ssize_t __wrap_recv(int fd, void *bytes, size_t n, int flags);

ssize_t __wrap_recv(int fd, void *bytes, size_t n, int flags)
{
    if (recv_error == 0 || fd != rig.attempt.source.fd)
        return __real_recv(fd, bytes, n, flags);
    errno = recv_error;
    recv_error = 0;
    return -1;
}

/* --- texts ------------------------------------------------------------------------------------ */

static void test_expected_answer(void **state)
{
    static const char *const answers[] = {"pong", "pong 1", "1 pong", "popong"};

    (void)state;
    for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++) {
        rig_ask("ping", "pong");
        check_question("ping");
        check_no_outcome();
        answer(answers[i]);
        check_outcome(HEALTH_OK, 0, NULL);
    }
}

static void test_unexpected_answer(void **state)
{
    static const char *const answers[] = {"", "pon", "ong", "PONG", "ping", "p o n g"};

    (void)state;
    for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++) {
        rig_ask("ping", "pong");
        take_question();
        answer(answers[i]);
        check_outcome(HEALTH_FAILED, EBADMSG, "unexpected answer");
    }
}

/* The reason of one attempt does not stick to the next. */
static void test_reason_is_forgotten(void **state)
{
    (void)state;
    rig_ask("ping", "pong");
    take_question();
    answer("no");
    check_outcome(HEALTH_FAILED, EBADMSG, "unexpected answer");
    rig_start();
    take_question();
    answer("pong");
    check_outcome(HEALTH_OK, 0, NULL);
}

static void test_texts_with_nuls(void **state)
{
    (void)state;
    rig_check(CONF_CHECK_SEND, "a.b", "x.y");
    rig.check.send[1] = '\0';
    rig.check.expect[1] = '\0';
    rig_start();
    take_question();
    assert_int_equal(rig.n_question, 3);
    assert_memory_equal(rig.question, "a\0b", 3);
    answer_bytes(rig.server_fd, "\0\0x\0y", 5);
    check_outcome(HEALTH_OK, 0, NULL);
    rig_start();
    take_question();
    answer_bytes(rig.server_fd, "x\0z", 3);
    check_outcome(HEALTH_FAILED, EBADMSG, "unexpected answer");
}

static void test_empty_texts(void **state)
{
    (void)state;
    rig_check(CONF_CHECK_SEND, "", "");
    rig.check.send = NULL;
    rig.check.expect = NULL;
    rig_start();
    check_question("");
    answer("");
    check_outcome(HEALTH_OK, 0, NULL);
}

static void test_largest_answer(void **state)
{
    (void)state;
    memset(rig.bytes, 'p', sizeof(rig.bytes));
    rig_ask("ping", "pong");
    take_question();
    answer_bytes(rig.server_fd, rig.bytes, sizeof(rig.bytes));
    check_outcome(HEALTH_FAILED, EBADMSG, "unexpected answer");
    memcpy(rig.bytes + sizeof(rig.bytes) - 4, "pong", 4);
    rig_start();
    take_question();
    answer_bytes(rig.server_fd, rig.bytes, sizeof(rig.bytes));
    check_outcome(HEALTH_OK, 0, NULL);
}

static void test_others_are_not_heard(void **state)
{
    struct addr elsewhere;
    int fd = open_server(&elsewhere);

    (void)state;
    rig_ask("ping", "pong");
    take_question();
    answer_bytes(fd, "pong", 4);
    answer_bytes(fd, "no", 2);
    check_no_outcome();
    answer("pong");
    check_outcome(HEALTH_OK, 0, NULL);
    close(fd);
}

/* --- refused, silent -------------------------------------------------------------------------- */

static void test_refused(void **state)
{
    (void)state;
    close_server();
    rig_ask("ping", "pong");
    check_outcome(HEALTH_REFUSED, ECONNREFUSED, NULL);
}

static void test_given_up(void **state)
{
    (void)state;
    rig_ask("ping", "pong");
    check_no_outcome();
    assert_int_equal(attempt_give_up(&rig.attempt), HEALTH_FAILED);
    assert_int_equal(rig.attempt.error, ETIMEDOUT);
    assert_null(rig.attempt.reason);
    assert_int_equal(rig.attempt.state, ATTEMPT_IDLE);
    assert_int_equal(rig.attempt.source.fd, -1);
}

static void test_closed_in_the_middle(void **state)
{
    (void)state;
    rig_ask("ping", "pong");
    take_question();
    answer("pong");
    attempt_close(&rig.attempt);
    rig_turn();
    assert_int_equal(rig.n_outcomes, 0);
    assert_int_equal(rig.attempt.state, ATTEMPT_IDLE);
}

/* --- the second question ---------------------------------------------------------------------- */

static void test_repeat_takes_what_has_come(void **state)
{
    (void)state;
    rig_ask("ping", "pong");
    take_question();
    answer("pong");
    sockets_wait(rig.attempt.source.fd, POLLIN);
    rig.n_outcomes = attempt_repeat(&rig.attempt, &rig.outcome);
    check_outcome(HEALTH_OK, 0, NULL);
    assert_int_equal(poll(&(struct pollfd){rig.server_fd, POLLIN, 0}, 1, 0), 0);
}

static void test_repeat_meets_a_refusal(void **state)
{
    (void)state;
    close_server();
    rig_ask("ping", "pong");
    sockets_wait(rig.attempt.source.fd, POLLERR);
    rig.n_outcomes = attempt_repeat(&rig.attempt, &rig.outcome);
    check_outcome(HEALTH_REFUSED, ECONNREFUSED, NULL);
}

/* The server went away in between. */
static void test_repeat_is_refused(void **state)
{
    (void)state;
    rig_ask("ping", "pong");
    take_question();
    close_server();
    assert_false(attempt_repeat(&rig.attempt, &rig.outcome));
    check_outcome(HEALTH_REFUSED, ECONNREFUSED, NULL);
}

/* --- our own trouble -------------------------------------------------------------------------- */

static void test_no_descriptor_says_nothing(void **state)
{
    struct rlimit before;
    struct rlimit none;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){0, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    rig_ask("ping", "pong");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    check_outcome(HEALTH_UNKNOWN, EMFILE, NULL);
}

static void test_no_watch_leaves_no_descriptor(void **state)
{
    int epoll_fd = rig.loop.epoll_fd;

    (void)state;
    rig.loop.epoll_fd = -1;
    rig_ask("ping", "pong");
    rig.loop.epoll_fd = epoll_fd;
    check_outcome(HEALTH_FAILED, EBADF, NULL);
}

/* IPv6 tells with EACCES that a filter on the way said no; our own filters refuse to send. */
static void test_errors_of_the_socket(void **state)
{
    static const struct {
        int told;
        enum health_outcome outcome;
        int error;
    } cases[] = {
        {ECONNREFUSED, HEALTH_REFUSED, ECONNREFUSED}, {EHOSTUNREACH, HEALTH_FAILED, EHOSTUNREACH},
        {ENOPROTOOPT, HEALTH_FAILED, ENOPROTOOPT},    {EACCES, HEALTH_FAILED, EHOSTUNREACH},
        {ENOBUFS, HEALTH_UNKNOWN, ENOBUFS},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        rig_ask("ping", "pong");
        take_question();
        recv_error = cases[i].told;
        answer("pong");
        check_outcome(cases[i].outcome, cases[i].error, NULL);
    }
}

/* --- in a namespace of its own ---------------------------------------------------------------- */

static bool set_local_ports(unsigned first, unsigned last)
{
    char text[32];
    int n = snprintf(text, sizeof(text), "%u %u", first, last);
    int fd = open("/proc/sys/net/ipv4/ip_local_port_range", O_WRONLY | O_CLOEXEC);
    bool is_set = fd >= 0 && write(fd, text, (size_t)n) == n;

    close(fd);
    return is_set;
}

/* K15: the only local port there is is the one to ask. */
static void test_self_connect_is_refused(void **state)
{
    unsigned port = addr_port(&rig.at);

    (void)state;
    if (!netns_enter() || !set_local_ports(port, port))
        skip();
    /* In this namespace nobody has it. */
    rig_ask("ping", "ping");
    check_outcome(HEALTH_REFUSED, ECONNREFUSED, NULL);
    set_local_ports(32768, 60999);
    rig_ask("ping", "ping");
    check_outcome(HEALTH_REFUSED, ECONNREFUSED, NULL);
}

static void test_no_local_port_says_nothing(void **state)
{
    unsigned port;

    (void)state;
    if (!netns_enter())
        skip();
    close_server();
    rig.server_fd = open_server(&rig.at);
    port = addr_port(&rig.at);
    if (!set_local_ports(port, port))
        skip();
    rig_ask("ping", "pong");
    check_outcome(HEALTH_UNKNOWN, EADDRNOTAVAIL, NULL);
    set_local_ports(32768, 60999);
    rig_ask("ping", "pong");
    take_question();
    answer("pong");
    check_outcome(HEALTH_OK, 0, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIGGED(test_expected_answer),
        RIGGED(test_unexpected_answer),
        RIGGED(test_reason_is_forgotten),
        RIGGED(test_texts_with_nuls),
        RIGGED(test_empty_texts),
        RIGGED(test_largest_answer),
        RIGGED(test_others_are_not_heard),
        RIGGED(test_refused),
        RIGGED(test_given_up),
        RIGGED(test_closed_in_the_middle),
        RIGGED(test_repeat_takes_what_has_come),
        RIGGED(test_repeat_meets_a_refusal),
        RIGGED(test_repeat_is_refused),
        RIGGED(test_no_descriptor_says_nothing),
        RIGGED(test_no_watch_leaves_no_descriptor),
        RIGGED(test_errors_of_the_socket),
        /* The last: they leave the namespace. */
        RIGGED(test_self_connect_is_refused),
        RIGGED(test_no_local_port_says_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
