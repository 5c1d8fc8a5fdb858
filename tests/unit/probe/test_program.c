/* The prober's end of the link; the test is the process that runs programs. */
#include <sys/socket.h>

#include "lb4/probe/prober.h"

#include "stage.h"

enum { MAX_OPEN = 10 };

static const char path[] = "/usr/lib/lb4/check"; /* nobody starts it */

static int link_fd; /* the test's end */

static struct service_check exec_check(uint64_t timeout_ms)
{
    static uint8_t text[sizeof(path) - 1]; /* without a NUL, as plans have it */
    struct service_check check = stage_check();

    memcpy(text, path, sizeof(text));
    check.kind = CONF_CHECK_EXEC;
    check.send = text;
    check.n_send = sizeof(text);
    check.timeout_ns = stage_ms(timeout_ms);
    return check;
}

static struct backend *add_server(struct service *service)
{
    struct addr at = sockets_loopback(5432);

    return stage_add_server(service, &at);
}

static void start(void)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    link_fd = fds[0];
    assert_int_equal(prober_init(&stage.prober, &stage.table, MAX_OPEN), 0);
    assert_int_equal(programs_open(&stage.prober, fds[1], 0), 0);
    stage_run();
}

static void stop(void)
{
    stage_stop();
    close(link_fd);
}

static struct program_request take(void)
{
    struct program_request request;
    const char *env[PROGRAM_ENV_MAX + 1];
    ssize_t n;

    sockets_wait(link_fd, POLLIN);
    n = recv(link_fd, &request, sizeof(request), 0);
    assert_true(n > 0);
    assert_true(program_request_open(&request, (size_t)n, env));
    return request;
}

static bool has_request(void)
{
    return poll(&(struct pollfd){link_fd, POLLIN, 0}, 1, 0) > 0;
}

static void say(const struct program_answer *answer)
{
    assert_int_equal(send(link_fd, answer, sizeof(*answer), 0), sizeof(*answer));
}

static void answer(uint64_t id, int status, const char *line)
{
    struct program_answer what = {.id = id, .fate = PROGRAM_EXITED, .value = status};

    snprintf(what.line, sizeof(what.line), "%s", line);
    say(&what);
}

/* --- one program ------------------------------------------------------------------------------ */

static void test_request(void **state)
{
    struct service *service = stage_add_service("db", exec_check(5000));
    const char *env[PROGRAM_ENV_MAX + 1];
    struct program_request request;

    (void)state;
    add_server(service);
    start();
    request = take();
    assert_string_equal(request.text, path);
    assert_true(program_request_open(&request, program_request_size(&request), env));
    assert_string_equal(env[0],
                        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    assert_string_equal(env[1], "LB4_SERVICE=db");
    assert_string_equal(env[2], "LB4_SERVER=s1");
    assert_string_equal(env[3], "LB4_STATE=unknown");
    assert_string_equal(env[4], "LB4_ADDRESS=127.0.0.1");
    assert_string_equal(env[5], "LB4_PORT=5432");
    assert_null(env[6]);
    assert_int_equal(request.timeout_ns, stage_ms(5000));
    answer(request.id, 0, "fine");
    stage_until_logged("first probes are done: 1 of 1 servers are up");
    stop();
}

static void test_ipv6(void **state)
{
    struct addr at;
    const char *env[PROGRAM_ENV_MAX + 1];
    struct program_request request;

    (void)state;
    assert_int_equal(addr_parse("2001:db8::1", &at), 0);
    addr_set_port(&at, 80);
    stage_add_server(stage_add_service("db", exec_check(5000)), &at);
    start();
    request = take();
    assert_true(program_request_open(&request, program_request_size(&request), env));
    assert_string_equal(env[4], "LB4_ADDRESS=2001:db8::1");
    assert_string_equal(env[5], "LB4_PORT=80");
    stop();
}

static void test_failed(void **state)
{
    struct service_check check = exec_check(5000);
    struct backend *backend;
    char text[NOTE_TEXT_MAX];

    (void)state;
    check.interval_ns = stage_ms(50);
    backend = add_server(stage_add_service("db", check));
    start();
    answer(take().id, 1, "replication lag 340 s");
    stage_until_logged("server db/s1 is DOWN: exit 1: replication lag 340 s; this was its first");
    assert_true(stage_has(backend, PICK_DOWN));
    note_read(&backend->health, text);
    assert_string_equal(text, "exit 1: replication lag 340 s");
    for (int i = 0; i < 2; i++)
        answer(take().id, 0, "");
    stage_until(backend, PICK_DOWN, false);
    stop();
}

static void test_timed_out(void **state)
{
    struct program_answer late = {.fate = PROGRAM_TIMED_OUT};

    (void)state;
    add_server(stage_add_service("db", exec_check(1)));
    start();
    late.id = take().id;
    say(&late);
    stage_until_logged("server db/s1 is DOWN: timed out after ");
    stop();
}

static void test_answers_to_nothing(void **state)
{
    struct backend *backend = add_server(stage_add_service("db", exec_check(5000)));
    uint64_t id;

    (void)state;
    start();
    id = take().id;
    answer(id + 1, 1, "of the future");
    answer(0, 1, "of nobody");
    send(link_fd, "short", 5, 0);
    answer(id, 0, "");
    answer(id, 1, "a second one");
    stage_until_logged("first probes are done: 1 of 1 servers are up");
    stage_suspect(backend);
    answer(id, 1, "a third one");
    answer(take().id, 0, "");
    stage_until_count(&stage_checks(backend)->ok, 2);
    assert_int_equal(stats_read(&stage_checks(backend)->failed), 0);
    stop();
}

/* A new program takes the place of the one that was started before the client met trouble. */
static void test_suspect_while_it_runs(void **state)
{
    struct backend *backend = add_server(stage_add_service("db", exec_check(5000)));
    uint64_t id;
    struct program_request request;

    (void)state;
    start();
    id = take().id;
    stage_suspect(backend);
    request = take();
    assert_int_equal(request.id, id);
    assert_int_equal(request.timeout_ns, 0);
    request = take();
    assert_true(request.id != id);
    answer(id, 1, "too old");
    answer(request.id, 0, "");
    stage_until(backend, PICK_SUSPECT, false);
    assert_int_equal(stats_read(&stage_checks(backend)->failed), 0);
    stop();
}

/* --- many ------------------------------------------------------------------------------------- */

static void test_others_wait(void **state)
{
    struct service *service = stage_add_service("db", exec_check(5000));
    uint64_t ids[PROGRAMS_MAX + 6];
    size_t n = 0;

    (void)state;
    for (size_t i = 0; i < PROGRAMS_MAX + 6; i++)
        add_server(service);
    start();
    while (n < PROGRAMS_MAX)
        ids[n++] = take().id;
    usleep(20000);
    assert_false(has_request());
    for (size_t i = 0; i < PROGRAMS_MAX + 6; i++) {
        answer(ids[i], 0, "");
        if (n < PROGRAMS_MAX + 6)
            ids[n++] = take().id;
    }
    stage_until_logged("first probes are done: 70 of 70 servers are up");
    stop();
}

/* Programs need no descriptor of the prober's, and so wait for none. */
static void test_max_open_does_not_count(void **state)
{
    struct service *service = stage_add_service("db", exec_check(5000));

    (void)state;
    for (size_t i = 0; i < 2 * MAX_OPEN; i++)
        add_server(service);
    start();
    for (size_t i = 0; i < 2 * MAX_OPEN; i++)
        take();
    stop();
}

/* --- trouble at the other end ----------------------------------------------------------------- */

static void test_another_host(void **state)
{
    struct backend *backend = add_server(stage_add_service("db", exec_check(5000)));
    struct program_answer begins = {.fate = PROGRAM_HOST_BEGINS, .value = 1};

    (void)state;
    start();
    take();
    say(&begins);
    begins.value = 2;
    say(&begins);
    stage_until_logged("the process that runs the programs of `check exec` had died");
    stage_until_count(&stage_checks(backend)->unknown, 1);
    assert_int_equal(stats_read(&stage_checks(backend)->unknown), 1);
    answer(take().id, 0, "");
    stage_until_logged("first probes are done: 1 of 1 servers are up");
    stop();
}

static void test_no_answer_in_time(void **state)
{
    struct backend *backend = add_server(stage_add_service("db", exec_check(1)));
    struct program_request request;
    uint64_t id;

    (void)state;
    start();
    id = take().id;
    stage_until_count(&stage_checks(backend)->unknown, 1);
    assert_false(stage_has(backend, PICK_DOWN));
    request = take();
    assert_int_equal(request.id, id);
    assert_int_equal(request.timeout_ns, 0);
    answer(take().id, 0, "");
    stage_until_logged("first probes are done: 1 of 1 servers are up");
    stop();
}

static void test_the_link_ends(void **state)
{
    struct service *service = stage_add_service("db", exec_check(5000));
    struct backend *one = add_server(service);
    struct backend *two = add_server(service);

    (void)state;
    start();
    answer(take().id, 1, "it was down before");
    stage_until_count(&stage_checks(one)->failed, 1);
    take();
    close(link_fd);
    stage_until_logged("the process that starts the programs of `check exec` has ended");
    stage_until_logged("cannot be probed: there is no process that could run programs; its state");
    assert_true(stage_has(one, PICK_DOWN));
    assert_false(stage_has(two, PICK_DOWN));
    stage_stop();
}

static void test_without_a_link(void **state)
{
    struct backend *backend = add_server(stage_add_service("db", exec_check(5000)));

    (void)state;
    stage_start(MAX_OPEN);
    stage_until_logged("db/s1 cannot be probed: there is no process that could run programs");
    assert_false(stage_has(backend, PICK_UNUSABLE));
    stage_stop();
}

#define STAGED(test) cmocka_unit_test_setup_teardown(test, stage_prepare, stage_check_descriptors)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        STAGED(test_request),
        STAGED(test_ipv6),
        STAGED(test_failed),
        STAGED(test_timed_out),
        STAGED(test_answers_to_nothing),
        STAGED(test_suspect_while_it_runs),
        STAGED(test_others_wait),
        STAGED(test_max_open_does_not_count),
        STAGED(test_another_host),
        STAGED(test_no_answer_in_time),
        STAGED(test_the_link_ends),
        STAGED(test_without_a_link),
    };

    return cmocka_run_group_tests(tests, stage_open_log, stage_close_log);
}
