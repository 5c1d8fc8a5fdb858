/* The spawner as lb4 starts it. Run as root it becomes another user. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lb4/base/clock.h"
#include "lb4/control/spawner.h"
#include "lb4/probe/program_wire.h"

#include "../relay/sockets.h"

static struct spawner spawner;
static int link_fd;

static struct privileges_ids someone(void)
{
    struct privileges_ids ids;
    char text[PRIVILEGES_ERROR_MAX];

    assert_int_equal(privileges_resolve(geteuid() == 0 ? "65534" : "", "", &ids, text), 0);
    return ids;
}

static struct program_answer hear(void)
{
    struct program_answer answer;

    sockets_wait(link_fd, POLLIN);
    assert_int_equal(recv(link_fd, &answer, sizeof(answer), 0), sizeof(answer));
    return answer;
}

static void ask(uint64_t id, const char *path)
{
    struct program_request request = {.id = id, .timeout_ns = 20000 * CLOCK_NS_PER_MS};

    assert_true(program_request_begin(&request, path, strlen(path)));
    assert_true(send(link_fd, &request, program_request_size(&request), MSG_NOSIGNAL) > 0);
}

static void expect(struct program_answer answer, enum program_fate fate, int value)
{
    assert_int_equal(answer.fate, fate);
    assert_int_equal(answer.value, value);
}

static int begin(void **state)
{
    struct privileges_ids ids = someone();

    (void)state;
    spawner_start(&spawner);
    assert_int_equal(spawner.error, 0);
    link_fd = spawner_take_link(&spawner, &ids);
    assert_true(link_fd >= 0);
    assert_int_equal(spawner_take_link(&spawner, &ids), -1);
    return 0;
}

static void expect_no_child(void)
{
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static int end(void **state)
{
    (void)state;
    close(link_fd);
    spawner_end(&spawner);
    expect_no_child();
    return 0;
}

/* The host, which the keeper has begun. */
static pid_t find_host(void)
{
    char path[64];
    int pid = 0;
    FILE *stream;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", spawner.pid, spawner.pid);
    stream = fopen(path, "re");
    assert_non_null(stream);
    assert_int_equal(fscanf(stream, "%d", &pid), 1);
    fclose(stream);
    return pid;
}

static void test_runs_programs(void **state)
{
    (void)state;
    ask(1, "/bin/true");
    expect(hear(), PROGRAM_HOST_BEGINS, 1);
    expect(hear(), PROGRAM_EXITED, 0);
    ask(2, "/bin/false");
    expect(hear(), PROGRAM_EXITED, 1);
}

static void test_another_host_for_one_that_is_killed(void **state)
{
    (void)state;
    ask(1, "/bin/true");
    hear();
    hear();
    kill(find_host(), SIGKILL);
    ask(2, "/bin/false");
    expect(hear(), PROGRAM_HOST_BEGINS, 2);
    expect(hear(), PROGRAM_EXITED, 1);
}

/* A signal that is for lb4 is none for the processes beside it. */
static void test_signals_end_nothing(void **state)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGPIPE};

    (void)state;
    ask(1, "/bin/true");
    hear();
    hear();
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        kill(spawner.pid, numbers[i]);
        kill(find_host(), numbers[i]);
    }
    ask(2, "/bin/false");
    expect(hear(), PROGRAM_EXITED, 1);
}

static void test_a_keeper_that_is_killed(void **state)
{
    char byte;

    (void)state;
    ask(1, "/bin/true");
    hear();
    hear();
    kill(spawner.pid, SIGKILL);
    sockets_wait(link_fd, POLLIN);
    assert_int_equal(recv(link_fd, &byte, 1, 0), 0);
}

/* lb4 that ends before it has become somebody. */
static void test_an_end_without_a_user(void **state)
{
    (void)state;
    spawner_start(&spawner);
    spawner_end(&spawner);
    expect_no_child();
    spawner_end(&spawner);
}

static void test_never_root(void **state)
{
    const struct privileges_ids root = {.uid = 0, .gid = 0, .is_named = false};
    char byte;

    (void)state;
    if (geteuid() != 0)
        skip();
    spawner_start(&spawner);
    link_fd = spawner_take_link(&spawner, &root);
    assert_true(link_fd >= 0);
    sockets_wait(link_fd, POLLIN);
    assert_int_equal(recv(link_fd, &byte, 1, 0), 0);
    end(NULL);
}

static void test_no_process_to_be_had(void **state)
{
    struct rlimit limit;
    struct rlimit none;

    (void)state;
    if (geteuid() == 0)
        skip(); /* root is not bound by RLIMIT_NPROC */
    assert_int_equal(getrlimit(RLIMIT_NPROC, &limit), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NPROC, &none), 0);
    spawner_start(&spawner);
    assert_int_equal(setrlimit(RLIMIT_NPROC, &limit), 0);
    assert_int_equal(spawner.error, -EAGAIN);
    assert_int_equal(spawner.link_fd, -1);
    spawner_end(&spawner);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_runs_programs, begin, end),
        cmocka_unit_test_setup_teardown(test_another_host_for_one_that_is_killed, begin, end),
        cmocka_unit_test_setup_teardown(test_signals_end_nothing, begin, end),
        cmocka_unit_test_setup_teardown(test_a_keeper_that_is_killed, begin, end),
        cmocka_unit_test(test_an_end_without_a_user),
        cmocka_unit_test(test_never_root),
        cmocka_unit_test(test_no_process_to_be_had),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
