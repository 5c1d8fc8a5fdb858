/* Real programs: shell scripts in a folder of the test. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "lb4/probe/program_host.h"

#include "../relay/sockets.h"

enum { PATH_BYTES = 128, LINK_FD = 3 };

static char folder[] = "/tmp/lb4-programs-XXXXXX";
static int link_fd;
static pid_t host;
static struct program_place *places;

/* --- the process ------------------------------------------------------------------------------ */

static _Noreturn void be_host(int fd)
{
    sigset_t all;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    signal(SIGPIPE, SIG_IGN); /* as in lb4 */
    dup2(open("/dev/null", O_RDWR | O_CLOEXEC), STDIN_FILENO);
    if (fd != LINK_FD)
        dup3(fd, LINK_FD, O_CLOEXEC);
    closefrom(LINK_FD + 1);
    _exit(program_host_serve(LINK_FD, 1, places));
}

static struct program_answer hear(void)
{
    struct program_answer answer;

    sockets_wait(link_fd, POLLIN);
    assert_int_equal(recv(link_fd, &answer, sizeof(answer), 0), sizeof(answer));
    return answer;
}

static int begin(void **state)
{
    struct program_answer answer;
    int fds[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
    host = fork();
    if (host == 0) {
        close(fds[0]);
        be_host(fds[1]);
    }
    close(fds[1]);
    link_fd = fds[0];
    answer = hear();
    assert_int_equal(answer.fate, PROGRAM_HOST_BEGINS);
    assert_int_equal(answer.value, 1);
    return 0;
}

static void end_host(void)
{
    int status;

    close(link_fd);
    assert_int_equal(waitpid(host, &status, 0), host);
    assert_int_equal(status, 0);
    for (size_t i = 0; i < PROGRAMS_MAX; i++)
        assert_int_equal(places[i].group, 0);
}

static int end(void **state)
{
    (void)state;
    end_host();
    return 0;
}

/* --- programs --------------------------------------------------------------------------------- */

static const char *file(const char *name)
{
    static char path[PATH_BYTES];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void write_program(const char *name, const char *lines, mode_t mode)
{
    FILE *stream = fopen(file(name), "we");

    assert_non_null(stream);
    fprintf(stream, "#!/bin/sh\n%s\n", lines);
    fclose(stream);
    chmod(file(name), mode);
}

static void ask(uint64_t id, const char *path, uint64_t timeout_ms)
{
    struct program_request request = {.id = id, .timeout_ns = timeout_ms * CLOCK_NS_PER_MS};

    assert_true(program_request_begin(&request, path, strlen(path)));
    assert_true(program_request_env(&request, "FOLDER", folder));
    assert_true(program_request_env(&request, "PATH", "/usr/bin:/bin"));
    assert_true(send(link_fd, &request, program_request_size(&request), 0) > 0);
}

static struct program_answer run(const char *lines, uint64_t timeout_ms)
{
    static uint64_t id = 100;
    struct program_answer answer;

    write_program("it", lines, 0755);
    ask(++id, file("it"), timeout_ms);
    answer = hear();
    assert_int_equal(answer.id, id);
    return answer;
}

static pid_t read_pid(const char *name)
{
    struct patience patience = patience_new();
    int pid = 0;

    while (pid == 0 && patience_holds(&patience)) {
        FILE *stream = fopen(file(name), "re");

        if (stream) {
            if (fscanf(stream, "%d\n", &pid) != 1)
                pid = 0;
            fclose(stream);
        }
    }
    return pid;
}

/* Or nobody's child that was not waited for yet: its new parent may take its time. */
static bool is_alive(pid_t pid)
{
    char path[PATH_BYTES];
    char state = 'X';
    FILE *stream;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    stream = fopen(path, "re");
    if (stream && fscanf(stream, "%*d (%*[^)]) %c", &state) != 1)
        state = 'X';
    if (stream)
        fclose(stream);
    return state != 'X' && state != 'Z';
}

static void until_dead(pid_t pid)
{
    struct patience patience = patience_new();

    while (is_alive(pid) && patience_holds(&patience))
        usleep(1000);
}

static void expect(struct program_answer answer, enum program_fate fate, int value,
                   const char *line)
{
    assert_int_equal(answer.fate, fate);
    assert_int_equal(answer.value, value);
    assert_string_equal(answer.line, line);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void test_exit_status(void **state)
{
    (void)state;
    expect(run("exit 0", 5000), PROGRAM_EXITED, 0, "");
    expect(run("exit 3", 5000), PROGRAM_EXITED, 3, "");
    expect(run("echo lag 340 s; echo more; exit 1", 5000), PROGRAM_EXITED, 1, "lag 340 s");
    expect(run("echo noise >&2; echo lag; exit 1", 5000), PROGRAM_EXITED, 1, "lag");
    expect(run("echo only this >&2; exit 1", 5000), PROGRAM_EXITED, 1, "only this");
    expect(run("printf 'no newline'; exit 1", 5000), PROGRAM_EXITED, 1, "no newline");
}

static void test_killed(void **state)
{
    (void)state;
    expect(run("kill -SEGV $$", 5000), PROGRAM_KILLED, SIGSEGV, "");
    expect(run("kill -KILL $$", 5000), PROGRAM_KILLED, SIGKILL, "");
}

static void test_timed_out(void **state)
{
    struct program_answer answer;

    (void)state;
    answer = run("sleep 100 & echo $! >$FOLDER/child; echo $$ >$FOLDER/self; trap '' TERM; "
                 "echo asking; wait",
                 300);
    expect(answer, PROGRAM_TIMED_OUT, 0, "asking");
    until_dead(read_pid("child"));
    until_dead(read_pid("self"));
}

static void test_not_started(void **state)
{
    (void)state;
    ask(1, "/nowhere/program", 5000);
    expect(hear(), PROGRAM_NOT_STARTED, ENOENT, "");
    write_program("closed", "exit 0", 0644);
    ask(2, file("closed"), 5000);
    expect(hear(), PROGRAM_NOT_STARTED, EACCES, "");
    ask(3, folder, 5000);
    expect(hear(), PROGRAM_NOT_STARTED, EACCES, "");
}

static void test_flood(void **state)
{
    (void)state;
    expect(run("echo first; exec cat /dev/zero", 300), PROGRAM_TIMED_OUT, 0, "first");
    expect(run("echo first; head -c 5000000 /dev/zero; exit 4", 20000), PROGRAM_EXITED, 4, "first");
}

/* It does not wait for those that the program leaves behind, and they do not live on. */
static void test_grandchild_holds_output(void **state)
{
    (void)state;
    expect(run("sleep 100 & echo $! >$FOLDER/left; echo fine; exit 0", 20000), PROGRAM_EXITED, 0,
           "fine");
    until_dead(read_pid("left"));
}

/* The shell looks at its own signals first and by itself: it blocks some while it starts others. */
static void test_what_a_program_gets(void **state)
{
    static const char lines[] =
        "while read -r name set; do case $name in SigBlk:|SigIgn:) echo $set;; esac; done "
        "</proc/$$/status >$FOLDER/signals;"
        "ls /proc/self/fd | wc -l >$FOLDER/fds; readlink /proc/$$/fd/0 >$FOLDER/stdin;"
        "env | sort >$FOLDER/env; exit 0";
    char text[512];
    FILE *stream;

    (void)state;
    expect(run(lines, 20000), PROGRAM_EXITED, 0, "");
    assert_int_equal(read_pid("fds"), 4); /* 0, 1, 2, and the folder that ls looks at */
    stream = fopen(file("stdin"), "re");
    assert_non_null(fgets(text, sizeof(text), stream));
    assert_string_equal(text, "/dev/null\n");
    fclose(stream);
    stream = fopen(file("signals"), "re");
    for (int i = 0; i < 2; i++) {
        assert_non_null(fgets(text, sizeof(text), stream));
        assert_string_equal(text, "0000000000000000\n");
    }
    fclose(stream);
    stream = fopen(file("env"), "re");
    assert_non_null(fgets(text, sizeof(text), stream));
    assert_memory_equal(text, "FOLDER=", 7);
    assert_non_null(fgets(text, sizeof(text), stream));
    assert_string_equal(text, "PATH=/usr/bin:/bin\n");
    fclose(stream);
}

/* Killed on request: no answer, and what comes after it is served. */
static void test_wish_to_kill(void **state)
{
    struct program_request wish = {.id = 1};

    (void)state;
    write_program("long", "echo $$ >$FOLDER/long.pid; sleep 100", 0755);
    ask(1, file("long"), 60000);
    read_pid("long.pid");
    assert_true(send(link_fd, &wish, program_request_size(&wish), 0) > 0);
    until_dead(read_pid("long.pid"));
    expect(run("exit 0", 5000), PROGRAM_EXITED, 0, "");
}

static void test_junk(void **state)
{
    static const char junk[3000];

    (void)state;
    for (size_t n = 1; n < sizeof(junk); n += 37)
        assert_int_equal(send(link_fd, junk, n, 0), n);
    expect(run("exit 5", 5000), PROGRAM_EXITED, 5, "");
}

static void test_many_at_a_time(void **state)
{
    enum { N = 3 * PROGRAMS_MAX };
    bool is_answered[N] = {false};

    (void)state;
    write_program("short", "exit 0", 0755);
    for (uint64_t i = 0; i < N; i++)
        ask(i, file("short"), 60000);
    for (size_t i = 0; i < N; i++) {
        struct program_answer answer = hear();

        expect(answer, PROGRAM_EXITED, 0, "");
        assert_true(answer.id < N && !is_answered[answer.id]);
        is_answered[answer.id] = true;
    }
}

static void test_the_end_leaves_nothing(void **state)
{
    (void)state;
    begin(NULL);
    write_program("long", "sleep 100 & echo $! >$FOLDER/end; wait", 0755);
    ask(1, file("long"), 60000);
    read_pid("end");
    end_host();
    until_dead(read_pid("end"));
}

/* The programs' groups are known to whoever shares the places. */
static void test_a_host_that_is_killed(void **state)
{
    pid_t self;

    (void)state;
    begin(NULL);
    write_program("long", "echo $$ >$FOLDER/orphan; sleep 100", 0755);
    ask(1, file("long"), 60000);
    self = read_pid("orphan");
    assert_int_equal(places[0].group, self);
    kill(host, SIGKILL);
    waitpid(host, NULL, 0);
    until_dead(self);
    places[0].group = 0;
    close(link_fd);
}

static int open_folder(void **state)
{
    (void)state;
    places = mmap(NULL, PROGRAMS_MAX * sizeof(*places), PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return places != MAP_FAILED && mkdtemp(folder) ? 0 : -1;
}

static int close_folder(void **state)
{
    static const char *const names[] = {"it",       "child", "self",   "closed", "left",
                                        "fds",      "stdin", "env",    "long",   "end",
                                        "long.pid", "short", "orphan", "signals"};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unlink(file(names[i]));
    return rmdir(folder);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_exit_status, begin, end),
        cmocka_unit_test_setup_teardown(test_killed, begin, end),
        cmocka_unit_test_setup_teardown(test_timed_out, begin, end),
        cmocka_unit_test_setup_teardown(test_not_started, begin, end),
        cmocka_unit_test_setup_teardown(test_flood, begin, end),
        cmocka_unit_test_setup_teardown(test_grandchild_holds_output, begin, end),
        cmocka_unit_test_setup_teardown(test_what_a_program_gets, begin, end),
        cmocka_unit_test_setup_teardown(test_wish_to_kill, begin, end),
        cmocka_unit_test_setup_teardown(test_junk, begin, end),
        cmocka_unit_test_setup_teardown(test_many_at_a_time, begin, end),
        cmocka_unit_test(test_the_end_leaves_nothing),
        cmocka_unit_test(test_a_host_that_is_killed),
    };

    return cmocka_run_group_tests(tests, open_folder, close_folder);
}
