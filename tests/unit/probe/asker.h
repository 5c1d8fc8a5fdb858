/* For tests of probe/datagram: one attempt in a loop of its own, and the server that it asks. */
#ifndef TEST_ASKER_H
#define TEST_ASKER_H

#include <string.h>

#include "lb4/base/sock_udp.h"
#include "lb4/probe/datagram.h"

#include "../relay/sockets.h"

enum { ANSWER_MAX = 65507, QUESTION_MAX = 512 };

static struct {
    struct loop loop;
    struct attempt attempt;
    struct service_check check;
    enum health_outcome outcome;
    size_t n_outcomes;
    int server_fd;
    struct addr at;
    struct addr asker; /* who sent the last question */
    uint8_t question[QUESTION_MAX];
    size_t n_question;
    uint8_t bytes[ANSWER_MAX];
    size_t n_fds;
} rig;

static inline int open_server(struct addr *ret_at)
{
    struct addr any = sockets_loopback(0);
    socklen_t length = sizeof(*ret_at);
    int fd = sock_udp_listen(&any, &(struct sock_udp_options){.buffer_bytes = 1 << 20});

    assert_true(fd >= 0);
    assert_int_equal(getsockname(fd, &ret_at->sa, &length), 0);
    return fd;
}

static inline int rig_open(void **state)
{
    (void)state;
    rig.n_fds = sockets_count_fds();
    rig.n_outcomes = 0;
    loop_clear(&rig.loop);
    assert_int_equal(loop_init(&rig.loop), 0);
    rig.server_fd = open_server(&rig.at);
    return 0;
}

static inline int rig_close(void **state)
{
    (void)state;
    attempt_close(&rig.attempt);
    attempt_close(&rig.attempt);
    loop_fini(&rig.loop);
    close(rig.server_fd);
    assert_int_equal(sockets_count_fds(), rig.n_fds);
    return 0;
}

static inline void rig_check(enum conf_check_kind kind, const char *send, const char *expect)
{
    static uint8_t send_copy[QUESTION_MAX];
    static uint8_t expect_copy[QUESTION_MAX];

    rig.check = (struct service_check){.kind = kind,
                                       .is_udp = true,
                                       .send = send_copy,
                                       .expect = expect_copy,
                                       .n_send = strlen(send),
                                       .n_expect = strlen(expect)};
    memcpy(send_copy, send, rig.check.n_send);
    memcpy(expect_copy, expect, rig.check.n_expect);
    attempt_init(&rig.attempt, &rig.check, true);
}

static inline void rig_start(void)
{
    rig.n_outcomes = 0;
    if (attempt_start(&rig.attempt, &rig.loop, &rig.at, false, &rig.outcome))
        assert_int_equal(rig.attempt.state, ATTEMPT_ASKING);
    else
        rig.n_outcomes++;
}

static inline void rig_ask(const char *send, const char *expect)
{
    rig_check(CONF_CHECK_SEND, send, expect);
    rig_start();
}

/* One turn of the loop. */
static inline void rig_turn(void)
{
    size_t n = loop_wait(&rig.loop, 10);

    for (size_t i = 0; i < n; i++) {
        if (!rig.loop.batch[i].source->is_closed)
            rig.n_outcomes += attempt_on_event(&rig.attempt, rig.loop.batch[i].bits, &rig.outcome);
    }
}

static inline void check_outcome(enum health_outcome outcome, int error, const char *reason)
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
    assert_int_equal(rig.attempt.state, ATTEMPT_IDLE);
    assert_int_equal(rig.attempt.source.fd, -1);
}

static inline void check_no_outcome(void)
{
    for (int i = 0; i < 3; i++)
        rig_turn();
    assert_int_equal(rig.n_outcomes, 0);
    assert_int_equal(rig.attempt.state, ATTEMPT_ASKING);
}

/* --- the server ------------------------------------------------------------------------------- */

static inline void take_question(void)
{
    socklen_t length = sizeof(rig.asker);
    ssize_t n;

    sockets_wait(rig.server_fd, POLLIN);
    n = recvfrom(rig.server_fd, rig.question, QUESTION_MAX, 0, &rig.asker.sa, &length);
    assert_true(n >= 0);
    rig.n_question = (size_t)n;
}

static inline void check_question(const char *expected)
{
    take_question();
    assert_int_equal(rig.n_question, strlen(expected));
    assert_memory_equal(rig.question, expected, rig.n_question);
}

static inline void answer_bytes(int fd, const void *bytes, size_t n)
{
    assert_int_equal(sendto(fd, bytes, n, 0, &rig.asker.sa, addr_length(&rig.asker)), n);
}

static inline void answer(const char *text)
{
    answer_bytes(rig.server_fd, text, strlen(text));
}

static inline void close_server(void)
{
    close(rig.server_fd);
    rig.server_fd = -1;
}

#define RIGGED(test) cmocka_unit_test_setup_teardown(test, rig_open, rig_close)

#endif
