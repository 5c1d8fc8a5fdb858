#include "lb4/control/process.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void test_signals_are_read_and_end_nobody(void **state)
{
    static const int known[] = {SIGHUP, SIGTERM, SIGQUIT, SIGINT, SIGUSR1, SIGUSR2};
    struct signalfd_siginfo info;
    int fd;

    (void)state;
    process_prepare();
    fd = process_open_signals();
    assert_true(fd >= 0);
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        raise(known[i]);
        assert_int_equal(read(fd, &info, sizeof(info)), sizeof(info));
        assert_int_equal(info.ssi_signo, known[i]);
    }
    raise(SIGPIPE);
    assert_int_equal(read(fd, &info, sizeof(info)), -1);
    close(fd);
}

/* In a child, which has none. */
static void test_standard_descriptors_are_filled(void **state)
{
    pid_t pid = fork();
    int status;

    (void)state;
    if (pid == 0) {
        close(0);
        close(1);
        close(2);
        process_prepare();
        _exit(fcntl(0, F_GETFD) < 0 || fcntl(1, F_GETFD) < 0 || fcntl(2, F_GETFD) < 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_cpus(void **state)
{
    (void)state;
    assert_true(process_count_cpus() >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signals_are_read_and_end_nobody),
        cmocka_unit_test(test_standard_descriptors_are_filled),
        cmocka_unit_test(test_cpus),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
