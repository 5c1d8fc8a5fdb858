/* The prober with checks that speak UDP. */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "lb4/base/sock_udp.h"
#include "lb4/probe/prober.h"

#include "stage.h"

enum { MAX_OPEN = 1000, QUESTION_MAX = 512 };

/* A question, and who asked. */
struct question {
    struct addr asker;
    uint8_t bytes[QUESTION_MAX];
    size_t n;
};

static int serve_at(const struct addr *at)
{
    int fd = sock_udp_listen(at, &(struct sock_udp_options){0});

    assert_true(fd >= 0);
    return fd;
}

static int serve(struct addr *ret_at)
{
    struct addr any = sockets_loopback(0);
    socklen_t length = sizeof(*ret_at);
    int fd = serve_at(&any);

    assert_int_equal(getsockname(fd, &ret_at->sa, &length), 0);
    return fd;
}

static struct addr nobody(void)
{
    struct addr at;

    close(serve(&at));
    return at;
}

static struct question take(int fd)
{
    struct question question;
    socklen_t length = sizeof(question.asker);
    ssize_t n;

    sockets_wait(fd, POLLIN);
    n = recvfrom(fd, question.bytes, QUESTION_MAX, 0, &question.asker.sa, &length);
    assert_true(n >= 0);
    question.n = (size_t)n;
    return question;
}

static void answer(int fd, const struct question *to, const void *bytes, size_t n)
{
    assert_int_equal(sendto(fd, bytes, n, 0, &to->asker.sa, addr_length(&to->asker)), n);
}

static void answer_next(int fd, const char *text)
{
    struct question question = take(fd);

    answer(fd, &question, text, strlen(text));
}

static void answer_next_dns(int fd, uint8_t rcode)
{
    struct question question = take(fd);

    question.bytes[2] = 0x81;
    question.bytes[3] = rcode;
    answer(fd, &question, question.bytes, question.n);
}

static struct service_check ask(enum conf_check_kind kind, const char *send, const char *expect)
{
    static uint8_t texts[2][QUESTION_MAX];
    struct service_check check = stage_check();

    check.kind = kind;
    check.is_udp = true;
    check.send = texts[0];
    check.expect = texts[1];
    check.n_send = strlen(send);
    check.n_expect = strlen(expect);
    memcpy(texts[0], send, check.n_send);
    memcpy(texts[1], expect, check.n_expect);
    return check;
}

static struct service_check ping(void)
{
    return ask(CONF_CHECK_SEND, "ping", "pong");
}

/* --- the first probe -------------------------------------------------------------------------- */

static void test_up_and_nothing_lingers(void **state)
{
    struct addr at;
    int fd = serve(&at);
    struct backend *backend = stage_add_server(stage_add_service("one", ping()), &at);
    size_t n_fds = sockets_count_fds() + 2;

    (void)state;
    stage_start(MAX_OPEN);
    answer_next(fd, "pong");
    stage_until_logged("first probes are done: 1 of 1 servers are up");
    assert_int_equal(stats_read(&stage_checks(backend)->ok), 1);
    assert_int_equal(sockets_count_fds(), n_fds);
    stage_stop();
    assert_false(stage_has(backend, PICK_UNUSABLE));
    assert_int_equal(poll(&(struct pollfd){fd, POLLIN, 0}, 1, 0), 0);
    close(fd);
}

static void test_dns_up(void **state)
{
    struct addr at;
    int fd = serve(&at);
    struct service_check check = ask(CONF_CHECK_DNS, "ns.example", "");
    struct service *service = stage_add_service("dns", check);

    (void)state;
    stage_add_server(service, &at);
    stage_add_server(service, &at);
    stage_start(MAX_OPEN);
    answer_next_dns(fd, 0);
    answer_next_dns(fd, 3);
    stage_until_logged("first probes are done: 2 of 2 servers are up");
    stage_stop();
    close(fd);
}

static void test_refused(void **state)
{
    struct addr at = nobody();
    struct backend *backend = stage_add_server(stage_add_service("one", ping()), &at);

    (void)state;
    stage_start(MAX_OPEN);
    stage_until(backend, PICK_DOWN, true);
    stage_until_logged("server one/s1 is DOWN: connection refused; this was its first probe; ");
    stage_until_logged("service one: no server is up, clients get no answer\n");
    assert_true(stage_has_logged("outcome=refused error=connection refused late_us="));
    stage_stop();
}

static void test_wrong_answers(void **state)
{
    static uint8_t pong[] = "pong";
    struct addr at[2];
    int fds[2] = {serve(&at[0]), serve(&at[1])};
    struct service_check check = ask(CONF_CHECK_DNS, "ns.example", "");

    (void)state;
    stage_add_server(stage_add_service("dns", check), &at[0]);
    check.kind = CONF_CHECK_SEND;
    check.expect = pong;
    check.n_expect = 4;
    stage_add_server(stage_add_service("text", check), &at[1]);
    stage_start(MAX_OPEN);
    answer_next_dns(fds[0], 2);
    answer_next(fds[1], "no");
    stage_until_logged("server dns/s1 is DOWN: DNS answer SERVFAIL; this was its first probe; ");
    stage_until_logged("server text/s1 is DOWN: unexpected answer; this was its first probe; ");
    stage_stop();
    close(fds[0]);
    close(fds[1]);
}

/* It is asked twice, the second time after half of the time-out. */
static void test_silent(void **state)
{
    struct service_check check = ping();
    struct addr at;
    int fd = serve(&at);
    struct backend *backend;
    struct question questions[2];
    uint64_t began_ns = clock_now_ns();

    (void)state;
    check.timeout_ns = stage_ms(1000);
    check.fast_ns = check.interval_ns; /* one attempt, whoever else is up */
    backend = stage_add_server(stage_add_service("hole", check), &at);
    stage_start(MAX_OPEN);
    questions[0] = take(fd);
    questions[1] = take(fd);
    assert_true(clock_now_ns() - began_ns >= stage_ms(500));
    assert_false(stage_has(backend, PICK_DOWN));
    assert_int_equal(questions[0].n, 4);
    assert_int_equal(questions[1].n, 4);
    assert_memory_equal(questions[1].bytes, "ping", 4);
    assert_true(addr_equal(&questions[0].asker, &questions[1].asker));
    stage_until_logged("server hole/s1 is DOWN: timed out after 1s; this was its first probe; ");
    assert_true(clock_now_ns() - began_ns >= stage_ms(1000));
    assert_int_equal(poll(&(struct pollfd){fd, POLLIN, 0}, 1, 0), 0);
    assert_int_equal(stats_read(&stage_checks(backend)->failed), 1);
    stage_stop();
    close(fd);
}

/* At start the first probe decides alone: one lost datagram must not. */
static void test_one_lost_datagram_is_forgiven(void **state)
{
    struct service_check check = ping();
    struct addr at;
    int fd = serve(&at);
    struct backend *backend;

    (void)state;
    check.timeout_ns = stage_ms(1000);
    backend = stage_add_server(stage_add_service("lossy", check), &at);
    stage_start(MAX_OPEN);
    take(fd);
    answer_next(fd, "pong");
    stage_until_count(&stage_checks(backend)->ok, 1);
    assert_int_equal(stats_read(&stage_checks(backend)->failed), 0);
    assert_false(stage_has(backend, PICK_DOWN));
    stage_stop();
    close(fd);
}

static void test_port_of_the_check(void **state)
{
    struct service_check check = ping();
    struct addr closed = nobody();
    struct addr portless = closed;
    struct addr open;
    int fd = serve(&open);
    struct service *service;

    (void)state;
    addr_set_port(&portless, 0);
    check.default_port = addr_port(&open);
    service = stage_add_service("default", check);
    stage_add_server(service, &portless);
    stage_add_server(service, &closed);
    check.port = addr_port(&open);
    stage_add_server(stage_add_service("other", check), &closed);
    stage_start(MAX_OPEN);
    answer_next(fd, "pong");
    answer_next(fd, "pong");
    stage_until_logged("first probes are done: 2 of 3 servers are up");
    stage_stop();
    close(fd);
}

/* --- changes ---------------------------------------------------------------------------------- */

static void test_comes_back(void **state)
{
    struct service_check check = ping();
    struct addr at = nobody();
    struct backend *backend;
    int fd;

    (void)state;
    check.interval_ns = stage_ms(100);
    backend = stage_add_server(stage_add_service("back", check), &at);
    stage_start(MAX_OPEN);
    stage_until(backend, PICK_DOWN, true);
    fd = serve_at(&at);
    answer_next(fd, "pong");
    assert_true(stage_has(backend, PICK_DOWN));
    answer_next(fd, "pong");
    stage_until(backend, PICK_DOWN, false);
    assert_true(stage_has(backend, PICK_FRESH));
    stage_until_logged("server back/s1 is UP; it was down for ");
    stage_stop();
    close(fd);
}

/* It takes `fall` probes, the second and third at the fast interval. */
static void test_goes_away(void **state)
{
    struct service_check check = ping();
    struct addr at;
    int fd = serve(&at);
    struct backend *backend;

    (void)state;
    check.interval_ns = stage_ms(300);
    backend = stage_add_server(stage_add_service("gone", check), &at);
    stage_start(MAX_OPEN);
    answer_next(fd, "pong");
    stage_until_count(&stage_checks(backend)->ok, 1);
    close(fd);
    stage_until(backend, PICK_DOWN, true);
    assert_int_equal(stats_read(&stage_checks(backend)->failed), 3);
    stage_until_logged("server gone/s1 is DOWN: connection refused; it was up for ");
    stage_stop();
}

static void test_suspect_is_probed_at_once(void **state)
{
    struct addr at;
    int fd = serve(&at);
    struct service_check check = ping();
    struct backend *backend;

    (void)state;
    check.fast_ns = stage_slow_check().fast_ns;
    backend = stage_add_server(stage_add_service("one", check), &at);
    stage_start(MAX_OPEN);
    answer_next(fd, "pong");
    stage_until_count(&stage_checks(backend)->ok, 1);
    stage_suspect(backend);
    answer_next(fd, "pong");
    stage_until(backend, PICK_SUSPECT, false);
    close(fd);
    stage_suspect(backend);
    stage_until(backend, PICK_DOWN, true);
    assert_int_equal(stats_read(&stage_checks(backend)->failed), 1);
    stage_until_logged("is DOWN: connection refused (clients met it first); it was up for ");
    stage_stop();
}

/* --- limits ----------------------------------------------------------------------------------- */

/* Those that wait for a place are begun as soon as one is there. */
static void test_silent_ones_take_turns(void **state)
{
    struct service_check check = ping();
    struct service *service;
    struct addr at;
    int fd = serve(&at);
    struct patience patience = patience_new();
    size_t n_fds;

    (void)state;
    check.timeout_ns = stage_ms(50);
    service = stage_add_service("holes", check);
    for (size_t i = 0; i < 8; i++)
        stage_add_server(service, &at);
    n_fds = sockets_count_fds() + 2;
    stage_start(2);
    while (!stage_has_logged("first probes are done: 0 of 8 servers") && patience_holds(&patience))
        assert_true(sockets_count_fds() <= n_fds + 2);
    stage_stop();
    close(fd);
}

/* stage_check_descriptors() counts. */
static void test_exits_in_the_middle(void **state)
{
    struct addr at;
    int fd = serve(&at);

    (void)state;
    stage_add_server(stage_add_service("one", ping()), &at);
    stage_start(MAX_OPEN);
    take(fd);
    stage_stop();
    close(fd);
}

/* The answer came while the process slept through the time-out: it counts. The test is the server;
 * the prober runs in a child. */
static void test_stopped_process_does_not_judge(void **state)
{
    struct service_check check = ping();
    struct question question;
    struct addr at;
    int fd = serve(&at);
    uint64_t stopped_ns;
    pid_t child;

    (void)state;
    check.timeout_ns = stage_ms(2000); /* for a machine that stops it late */
    stage_add_server(stage_add_service("slept", check), &at);
    assert_int_equal(prober_init(&stage.prober, &stage.table, MAX_OPEN), 0);
    child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prober_run(&stage.prober);
        _exit(0);
    }
    question = take(fd);
    kill(child, SIGSTOP);
    assert_int_equal(waitpid(child, NULL, WUNTRACED), child);
    stopped_ns = clock_now_ns();
    assert_false(stage_has_logged("outcome="));
    answer(fd, &question, "pong", 4);
    while (clock_now_ns() - stopped_ns < check.timeout_ns)
        usleep(10000);
    kill(child, SIGCONT);
    stage_until_logged("probe server=slept/s1 outcome=");
    assert_true(stage_has_logged("outcome=ok"));
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    prober_fini(&stage.prober);
    close(fd);
}

#define STAGED(test) cmocka_unit_test_setup_teardown(test, stage_prepare, stage_check_descriptors)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(test_up_and_nothing_lingers),
        STAGED(test_dns_up),
        STAGED(test_refused),
        STAGED(test_wrong_answers),
        STAGED(test_silent),
        STAGED(test_one_lost_datagram_is_forgiven),
        STAGED(test_port_of_the_check),
        STAGED(test_comes_back),
        STAGED(test_goes_away),
        STAGED(test_suspect_is_probed_at_once),
        STAGED(test_silent_ones_take_turns),
        STAGED(test_exits_in_the_middle),
        STAGED(test_stopped_process_does_not_judge),
    };

    return cmocka_run_group_tests(tests, stage_open_log, stage_close_log);
}
