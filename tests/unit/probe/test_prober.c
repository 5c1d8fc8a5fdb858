#include "lb4/probe/prober.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "stage.h"

enum { MAX_OPEN = 1000 };

/* --- the first probe -------------------------------------------------------------------------- */

/* K27: neither a server that says something nor one that is silent sees a reset. */
static void test_up_and_left_with_fin(void **state)
{
    struct addr at[2];
    int listeners[2] = {sockets_listen(&at[0]), sockets_listen(&at[1])};
    struct service *service = stage_add_service("two", stage_check());
    char bytes[8];

    (void)state;
    stage_add_server(service, &at[0]);
    stage_add_server(service, &at[1]);
    assert_int_equal(prober_count(&stage.table), 2);
    stage_start(MAX_OPEN);
    stage_until_logged("first probes are done: 2 of 2 servers are up");
    for (size_t i = 0; i < 2; i++) {
        int server = sockets_accept(listeners[i]);

        assert_int_equal(stats_read(&stage_checks(&service->backends[i])->ok), 1);
        if (i == 0)
            assert_int_equal(send(server, "hello", 5, 0), 5);
        sockets_wait(server, POLLIN);
        assert_int_equal(recv(server, bytes, sizeof(bytes), 0), 0);
        shutdown(server, SHUT_WR);
        assert_int_equal(sock_take_error(server), 0);
        close(server);
    }
    stage_stop();
    assert_false(stage_has(&service->backends[0], PICK_UNUSABLE | PICK_FRESH));
    close(listeners[0]);
    close(listeners[1]);
}

static void test_refused_at_start_is_down_at_once(void **state)
{
    struct addr closed = sockets_closed_port();
    struct addr open;
    int listener = sockets_listen(&open);
    struct service *half = stage_add_service("half", stage_check());
    struct service *none;

    (void)state;
    stage_add_server(half, &open);
    stage_add_server(half, &closed);
    none = stage_add_service("none", stage_check());
    stage_add_server(none, &closed);
    stage_start(MAX_OPEN);
    stage_until(&half->backends[1], PICK_DOWN, true);
    stage_until_logged("first probes are done: 1 of 3 servers are up");
    assert_int_equal(stats_read(&stage_checks(&half->backends[1])->failed), 1);
    assert_false(stage_has(&half->backends[0], PICK_DOWN));
    assert_true(
        stage_has_logged("server half/s2 is DOWN: connection refused; this was its first probe; "));
    assert_true(stage_has_logged("; 1 of 2 servers of half are up\n"));
    assert_true(stage_has_logged("ERROR"));
    assert_true(stage_has_logged("service none: no server is up, clients are reset\n"));
    assert_false(stage_has_logged("service half"));
    assert_true(stage_has_logged("outcome=refused error=connection refused late_us="));
    stage_stop();
    close(listener);
}

static void test_blackholed_times_out(void **state)
{
    struct service_check check = stage_slow_check();
    struct addr at;
    struct hole hole = hole_open(&at);
    struct backend *backend;

    (void)state;
    check.timeout_ns = stage_ms(100);
    backend = stage_add_server(stage_add_service("hole", check), &at);
    stage_start(MAX_OPEN);
    stage_until_logged("server hole/s1 is DOWN: timed out after 100ms; this was its first probe; ");
    assert_int_equal(stats_read(&stage_checks(backend)->failed), 1);
    stage_stop();
    hole_close(&hole);
}

static void test_port_of_the_check(void **state)
{
    struct addr closed = sockets_closed_port();
    struct addr portless;
    struct addr open;
    int listener = sockets_listen(&open);
    struct service_check check = stage_check();
    struct service *service;

    (void)state;
    portless = closed;
    addr_set_port(&portless, 0);
    check.default_port = addr_port(&open);
    service = stage_add_service("default", check);
    stage_add_server(service, &portless);
    stage_add_server(service, &closed);
    check.port = addr_port(&open);
    stage_add_server(stage_add_service("other", check), &closed);
    stage_start(MAX_OPEN);
    stage_until_logged("first probes are done: 2 of 3 servers are up");
    stage_stop();
    close(listener);
}

/* --- changes ---------------------------------------------------------------------------------- */

static int listen_at(const struct addr *at)
{
    int fd = sock_listen(at, &(struct sock_listen_options){0});

    assert_true(fd >= 0);
    return fd;
}

static void test_comes_back(void **state)
{
    struct addr at = sockets_closed_port();
    struct service_check check = stage_check();
    struct backend *backend;
    int listener;

    (void)state;
    check.interval_ns = stage_ms(100);
    backend = stage_add_server(stage_add_service("back", check), &at);
    stage_start(MAX_OPEN);
    stage_until(backend, PICK_DOWN, true);
    assert_false(stage_has(backend, PICK_FRESH));
    listener = listen_at(&at);
    stage_until(backend, PICK_DOWN, false);
    assert_true(stage_has(backend, PICK_FRESH));
    assert_in_range(stats_read(&stage_checks(backend)->ok), 2, 3); /* the next slot may be due */
    stage_until_logged("service back: served again, after ");
    assert_true(stage_has_logged("server back/s1 is UP; it was down for "));
    assert_true(stage_has_logged("; 1 of 1 servers of back are up\n"));
    stage_until(backend, PICK_FRESH, false);
    stage_stop();
    close(listener);
}

/* No client has told: it takes `fall` probes, the second and third at the fast interval. */
static void test_goes_away(void **state)
{
    struct service_check check = stage_check();
    struct addr at[2];
    int listeners[2] = {sockets_listen(&at[0]), sockets_listen(&at[1])};
    struct service *service;
    struct backend *backend;
    uint64_t began_ns;

    (void)state;
    check.interval_ns = stage_ms(1500);
    check.fast_ns = stage_ms(10);
    service = stage_add_service("gone", check);
    backend = stage_add_server(service, &at[0]);
    stage_add_server(service, &at[1]); /* up: then one that is down is left alone */
    stage_start(MAX_OPEN);
    stage_until_count(&stage_checks(backend)->ok, 1);
    assert_int_equal(stats_read(&stage_checks(backend)->failed), 0);
    close(listeners[0]);
    stage_until_count(&stage_checks(backend)->failed, 1);
    began_ns = clock_now_ns();
    stage_until(backend, PICK_DOWN, true);
    assert_true(clock_now_ns() - began_ns < stage_ms(750));
    assert_int_equal(stats_read(&stage_checks(backend)->failed), 3);
    stage_until_logged("server gone/s1 is DOWN: connection refused; it was up for ");
    assert_false(stage_has_logged("clients met it first"));
    stage_stop();
    close(listeners[1]);
}

/* While no other is up it is looked at every `fast`, or clients would wait for its slot. */
static void test_the_last_one_is_awaited(void **state)
{
    struct addr at = sockets_closed_port();
    struct backend *backend = stage_add_server(stage_add_service("last", stage_check()), &at);
    int listener;

    (void)state;
    stage_start(MAX_OPEN);
    stage_until(backend, PICK_DOWN, true);
    listener = listen_at(&at);
    stage_until(backend, PICK_DOWN, false);
    stage_stop();
    close(listener);
}

/* Down, up, down: the second fall is told as flapping, the rest not at all. */
static void test_flapping_is_told_once(void **state)
{
    struct service_check check = stage_check();
    struct addr at = sockets_closed_port();
    struct backend *backend;

    (void)state;
    check.interval_ns = stage_ms(500);
    check.fast_ns = stage_ms(10);
    backend = stage_add_server(stage_add_service("flap", check), &at);
    stage_start(MAX_OPEN);
    for (int i = 0; i < 3; i++) {
        int listener;

        stage_until(backend, PICK_DOWN, true);
        listener = listen_at(&at);
        stage_until(backend, PICK_DOWN, false);
        close(listener);
        stage_suspect(backend);
    }
    stage_until(backend, PICK_DOWN, true);
    stage_stop();
    assert_true(stage_has_logged("server flap/s1 is flapping: connection refused"));
    assert_non_null(strstr(stage_log.text, "is DOWN"));
    assert_null(strstr(strstr(stage_log.text, "is DOWN") + 1, "is DOWN"));
    assert_null(strstr(strstr(stage_log.text, "is flapping") + 1, "is flapping"));
    assert_null(strstr(strstr(stage_log.text, "is UP") + 1, "is UP"));
}

/* --- suspects --------------------------------------------------------------------------------- */

static void test_suspect_is_probed_at_once(void **state)
{
    struct addr at;
    int listener = sockets_listen(&at);
    struct backend *backend = stage_add_server(stage_add_service("one", stage_slow_check()), &at);

    (void)state;
    stage_start(MAX_OPEN);
    stage_until_count(&stage_checks(backend)->ok, 1);
    stage_suspect(backend);
    stage_until(backend, PICK_SUSPECT, false);
    assert_int_equal(stats_read(&stage_checks(backend)->ok), 2);
    close(listener);
    stage_suspect(backend);
    stage_until(backend, PICK_DOWN, true);
    assert_true(stage_has(backend, PICK_SUSPECT));
    assert_int_equal(stats_read(&stage_checks(backend)->failed), 1);
    stage_until_logged("is DOWN: connection refused (clients met it first); it was up for ");
    stage_stop();
}

/* A server that answers probes but not clients is not probed more than ten times a second. */
static void test_prompted_probes_keep_a_gap(void **state)
{
    struct addr at;
    int listener = sockets_listen(&at);
    struct backend *backend = stage_add_server(stage_add_service("one", stage_check()), &at);
    uint64_t began_ns;

    (void)state;
    stage_start(MAX_OPEN);
    stage_until_count(&stage_checks(backend)->ok, 1);
    began_ns = clock_now_ns();
    for (int i = 0; i < 5; i++) {
        backend_set(backend, PICK_DOUBT);
        mailbox_post(&stage.prober.mailbox, MAILBOX_SUSPECT);
        stage_until(backend, PICK_DOUBT, false);
    }
    assert_true(clock_now_ns() - began_ns >= stage_ms(400));
    assert_int_equal(stats_read(&stage_checks(backend)->ok), 6);
    stage_stop();
    close(listener);
}

/* The attempt that was under way when the client failed would connect with its next SYN only, after
 * a second; a new one does at once. */
static void test_suspect_starts_anew(void **state)
{
    struct addr at;
    struct hole hole = hole_open(&at);
    struct backend *backend = stage_add_server(stage_add_service("one", stage_check()), &at);
    uint64_t began_ns = clock_now_ns();

    (void)state;
    stage_start(MAX_OPEN);
    hole_until_knocked(&at);
    hole_make_room(&hole);
    stage_suspect(backend);
    stage_until(backend, PICK_SUSPECT, false);
    assert_true(clock_now_ns() - began_ns < stage_ms(900));
    assert_int_equal(stats_read(&stage_checks(backend)->ok), 1);
    assert_int_equal(stats_read(&stage_checks(backend)->failed), 0);
    stage_stop();
    hole_close(&hole);
}

/* Nobody probes it: it is spared for ten seconds. */
static void test_unprobed_suspect_is_spared_for_a_while(void **state)
{
    struct service_check check = stage_check();
    struct addr at = sockets_closed_port();
    struct service *service;
    uint64_t began_ns;

    (void)state;
    check.is_probed = false;
    service = stage_add_service("plain", check);
    stage_add_server(service, &at);
    stage_add_server(service, &at);
    assert_int_equal(prober_count(&stage.table), 0);
    stage_start(1);
    began_ns = clock_now_ns();
    stage_suspect(&service->backends[1]);
    stage_until_logged("suspect server=plain/s2\n");
    while (clock_now_ns() - began_ns < stage_ms(9900)) {
        assert_true(stage_has(&service->backends[1], PICK_SUSPECT));
        usleep(10000);
    }
    stage_until(&service->backends[1], PICK_TRIAL, true);
    assert_true(stage_has(&service->backends[1], PICK_SUSPECT));
    stage_prove(&service->backends[1]);
    stage_until(&service->backends[1], PICK_SUSPECT, false);
    assert_false(stage_has(&service->backends[1], PICK_TRIAL | PICK_PROVEN));
    stage_until_logged("server plain/s2: a client has reached it again");
    stage_suspect(&service->backends[1]);
    assert_int_equal(stats_read(&stage_checks(&service->backends[1])->failed), 0);
    assert_false(stage_has_logged("plain/s1"));
    stage_stop();
}

/* --- limits ----------------------------------------------------------------------------------- */

/* More than are begun in one turn, and all at the same time. */
static void test_many_at_once(void **state)
{
    struct service *service = stage_add_service("many", stage_check());
    struct addr at;
    int listener = sockets_listen(&at);

    (void)state;
    for (size_t i = 0; i < STAGE_SERVERS; i++)
        stage_add_server(service, &at);
    stage_start(MAX_OPEN);
    stage_until_logged("first probes are done: 200 of 200 servers are up");
    stage_stop();
    close(listener);
}

/* Nobody hangs up on the probes: each next one has to close the one before. */
static void test_lingering_makes_room(void **state)
{
    struct service *service = stage_add_service("many", stage_check());
    size_t n_fds;
    struct addr at;
    int listener = sockets_listen(&at);
    struct patience patience = patience_new();

    (void)state;
    for (size_t i = 0; i < 50; i++)
        stage_add_server(service, &at);
    n_fds = sockets_count_fds() + 2;
    stage_start(3);
    while (!stage_has_logged("first probes are done: 50 of 50 servers") &&
           patience_holds(&patience))
        assert_true(sockets_count_fds() <= n_fds + 3);
    stage_stop();
    close(listener);
}

/* Those that wait for a place are begun as soon as one is there, in their order. */
static void test_blackholed_ones_take_turns(void **state)
{
    struct service_check check = stage_check();
    struct service *service;
    struct addr at;
    struct hole hole = hole_open(&at);
    struct patience patience = patience_new();
    uint64_t began_ns = clock_now_ns();
    size_t n_fds;

    (void)state;
    check.timeout_ns = stage_ms(100);
    service = stage_add_service("holes", check);
    for (size_t i = 0; i < 8; i++)
        stage_add_server(service, &at);
    n_fds = sockets_count_fds() + 2;
    stage_start(2);
    while (!stage_has_logged("first probes are done: 0 of 8 servers") && patience_holds(&patience))
        assert_true(sockets_count_fds() <= n_fds + 2);
    assert_in_range(clock_now_ns() - began_ns, stage_ms(400), stage_ms(2000));
    stage_stop();
    hole_close(&hole);
}

static void test_no_descriptors_says_nothing(void **state)
{
    struct service_check check = stage_check();
    struct addr at;
    int listener = sockets_listen(&at);
    struct backend *backend;
    struct rlimit before;
    struct rlimit full;
    uint64_t began_ns;

    (void)state;
    check.fast_ns = stage_ms(1);
    backend = stage_add_server(stage_add_service("one", check), &at);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(prober_init(&stage.prober, &stage.table, MAX_OPEN), 0);
    full = (struct rlimit){(rlim_t)dup(listener), before.rlim_max};
    close((int)full.rlim_cur);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &full), 0);
    began_ns = clock_now_ns();
    stage_run();
    stage_until_count(&stage_checks(backend)->unknown, 4);
    assert_true(clock_now_ns() - began_ns >= stage_ms(300));
    assert_false(stage_has(backend, PICK_DOWN));
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    stage_until_count(&stage_checks(backend)->ok, 1);
    assert_int_equal(stats_read(&stage_checks(backend)->failed), 0);
    assert_true(stage_has_logged("outcome=unknown error=Too many open files"));
    stage_stop();
    close(listener);
}

static void test_maintenance_is_left_alone(void **state)
{
    struct addr at;
    int listener = sockets_listen(&at);
    struct service *service = stage_add_service("two", stage_check());

    (void)state;
    backend_set(stage_add_server(service, &at), PICK_MAINT);
    stage_add_server(service, &at);
    stage_start(MAX_OPEN);
    stage_until_count(&stage_checks(&service->backends[1])->ok, 1);
    stage_stop();
    close(sockets_accept(listener));
    assert_int_equal(poll(&(struct pollfd){listener, POLLIN, 0}, 1, 0), 0);
    close(listener);
}

/* Attempts in every state are closed; stage_check_descriptors() counts. */
static void test_exits_in_the_middle(void **state)
{
    struct service *service = stage_add_service("mixed", stage_check());
    struct addr at[2];
    struct hole hole = hole_open(&at[0]);
    int listener = sockets_listen(&at[1]);

    (void)state;
    for (size_t i = 0; i < 10; i++)
        stage_add_server(service, &at[i % 2]);
    stage_start(MAX_OPEN);
    stage_until_count(&stage_checks(&service->backends[9])->ok, 1);
    stage_stop();
    hole_close(&hole);
    close(listener);
}

/* --- a stopped process ------------------------------------------------------------------------ */

/* The answer came while the process slept through the time-out: it counts. The test is the server;
 * the prober runs in a child, which is stopped before the second SYN, a second after the first. The
 * time-out is long enough for a machine that stops it late. */
static void test_stopped_process_does_not_judge(void **state)
{
    struct service_check check = stage_check();
    struct addr at;
    struct hole hole = hole_open(&at);
    uint64_t knocked_ns;
    pid_t child;

    (void)state;
    check.timeout_ns = stage_ms(2000);
    stage_add_server(stage_add_service("slept", check), &at);
    assert_int_equal(prober_init(&stage.prober, &stage.table, MAX_OPEN), 0);
    child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prober_run(&stage.prober);
        _exit(0);
    }
    hole_until_knocked(&at);
    knocked_ns = clock_now_ns();
    kill(child, SIGSTOP);
    assert_int_equal(waitpid(child, NULL, WUNTRACED), child);
    assert_false(stage_has_logged("outcome="));
    hole_make_room(&hole);
    close(sockets_accept(hole.listener));
    while (clock_now_ns() - knocked_ns < check.timeout_ns)
        usleep(10000);
    kill(child, SIGCONT);
    stage_until_logged("probe server=slept/s1 outcome=");
    assert_true(stage_has_logged("outcome=ok"));
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    prober_fini(&stage.prober);
    hole_close(&hole);
}

#define STAGED(test) cmocka_unit_test_setup_teardown(test, stage_prepare, stage_check_descriptors)

/* --- what clients met, and probes do not ------------------------------------------------------ */

/* Takes connections and resets them, in a thread of its own. */
struct resetter {
    int listener;
    pthread_t thread;
};

static void *resetter_run(void *arg)
{
    const struct resetter *resetter = arg;
    struct pollfd ready = {resetter->listener, POLLIN, 0};

    for (;;) {
        int fd;

        poll(&ready, 1, -1);
        fd = accept(resetter->listener, NULL, NULL);
        if (fd < 0 && errno == EINVAL) /* shut down */
            return NULL;
        if (fd >= 0)
            sock_reset(fd);
    }
}

/* A plain probe calls it up: it accepts. Once a client has met it, the closer look tells; the next
 * one, if the machine was too busy for the reset to come within it. */
static void test_doubt_is_looked_into(void **state)
{
    struct service_check check = stage_check();
    struct patience patience = patience_new();
    struct resetter resetter;
    struct backend *backend;
    struct addr at;

    (void)state;
    resetter.listener = sockets_listen(&at);
    assert_int_equal(pthread_create(&resetter.thread, NULL, resetter_run, &resetter), 0);
    check.interval_ns = stage_ms(60000);
    check.fast_ns = stage_ms(10);
    backend = stage_add_server(stage_add_service("odd", check), &at);
    stage_start(MAX_OPEN);
    stage_until_count(&stage_checks(backend)->ok, 1);
    while (!stage_has(backend, PICK_DOWN) && patience_holds(&patience)) {
        if (!(backend_set(backend, PICK_DOUBT) & PICK_DOUBT))
            mailbox_post(&stage.prober.mailbox, MAILBOX_SUSPECT);
        usleep(1000);
    }
    stage_until_logged("server odd/s1 is DOWN: connection reset");
    assert_true(stage_has(backend, PICK_SUSPECT));
    stage_stop();
    shutdown(resetter.listener, SHUT_RDWR);
    pthread_join(resetter.thread, NULL);
    close(resetter.listener);
}

/* Probes succeed, clients fail: from the second time on it stays a suspect, longer each time. */
static void test_relapses_are_spared(void **state)
{
    struct service_check check = stage_check();
    struct addr at;
    int listener = sockets_listen(&at);
    struct backend *backend;
    uint64_t began_ns;

    (void)state;
    check.interval_ns = stage_ms(60000);
    backend = stage_add_server(stage_add_service("odd", check), &at);
    stage_start(MAX_OPEN);
    stage_until_count(&stage_checks(backend)->ok, 1);
    stage_suspect(backend);
    stage_until(backend, PICK_SUSPECT, false);
    assert_false(stage_has_logged("chosen last"));
    stage_suspect(backend);
    stage_until_logged("server odd/s1: clients' connects fail although probes succeed; it is "
                       "chosen last for 1s\n");
    began_ns = clock_now_ns();
    assert_true(stage_has(backend, PICK_SUSPECT));
    stage_until(backend, PICK_TRIAL, true);
    assert_true(clock_now_ns() - began_ns > stage_ms(500));
    assert_true(stage_has(backend, PICK_SUSPECT));
    stage_prove(backend);
    stage_until(backend, PICK_SUSPECT, false);
    stage_suspect(backend);
    stage_until_logged("chosen last for 2s\n");
    assert_false(stage_has(backend, PICK_DOWN));
    stage_stop();
    close(listener);
}

/* A server that falls by probes and returns has not been taken for well in between: its clients'
 * failures are no disagreement, even if one success is enough. */
static void test_a_fall_is_no_relapse(void **state)
{
    struct service_check check = stage_check();
    struct addr at;
    int listener = sockets_listen(&at);
    struct backend *backend;

    (void)state;
    check.rise = 1;
    check.interval_ns = stage_ms(40);
    backend = stage_add_server(stage_add_service("odd", check), &at);
    stage_start(MAX_OPEN);
    stage_until_count(&stage_checks(backend)->ok, 1);
    for (int round = 0; round < 3; round++) {
        uint32_t era = backend_era(backend);

        close(listener);
        stage_suspect(backend);
        stage_until(backend, PICK_DOWN, true);
        listener = listen_at(&at);
        stage_until(backend, PICK_DOWN, false);
        assert_false(stage_has(backend, PICK_SUSPECT));
        assert_int_not_equal(backend_era(backend), era);
    }
    assert_false(stage_has_logged("chosen last"));
    stage_stop();
    close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(test_up_and_left_with_fin),
        STAGED(test_refused_at_start_is_down_at_once),
        STAGED(test_blackholed_times_out),
        STAGED(test_port_of_the_check),
        STAGED(test_comes_back),
        STAGED(test_goes_away),
        STAGED(test_the_last_one_is_awaited),
        STAGED(test_flapping_is_told_once),
        STAGED(test_suspect_is_probed_at_once),
        STAGED(test_prompted_probes_keep_a_gap),
        STAGED(test_suspect_starts_anew),
        STAGED(test_doubt_is_looked_into),
        STAGED(test_relapses_are_spared),
        STAGED(test_a_fall_is_no_relapse),
        STAGED(test_unprobed_suspect_is_spared_for_a_while),
        STAGED(test_many_at_once),
        STAGED(test_lingering_makes_room),
        STAGED(test_blackholed_ones_take_turns),
        STAGED(test_no_descriptors_says_nothing),
        STAGED(test_maintenance_is_left_alone),
        STAGED(test_exits_in_the_middle),
        STAGED(test_stopped_process_does_not_judge),
    };

    return cmocka_run_group_tests(tests, stage_open_log, stage_close_log);
}
