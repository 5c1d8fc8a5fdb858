#include "lb4/lb4ctl/terminal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int master;
static int kept[2];

/* Standard input and output are a pseudo-terminal. */
static int prepare(void **state)
{
    struct winsize size = {.ws_row = 33, .ws_col = 99};
    int slave;

    (void)state;
    fflush(stdout);
    kept[0] = dup(0);
    kept[1] = dup(1);
    assert_int_equal(openpty(&master, &slave, NULL, NULL, &size), 0);
    dup2(slave, 0);
    dup2(slave, 1);
    close(slave);
    setenv("TERM", "vt100", 1);
    unsetenv("NO_COLOR");
    return 0;
}

static int finish(void **state)
{
    (void)state;
    dup2(kept[0], 0);
    dup2(kept[1], 1);
    close(kept[0]);
    close(kept[1]);
    close(master);
    return 0;
}

static const char *written(void)
{
    static char text[1000];
    struct pollfd input = {.fd = master, .events = POLLIN};
    size_t n = 0;

    while (poll(&input, 1, n ? 50 : 5000) > 0 && n < sizeof(text) - 1) {
        ssize_t n_read = read(master, text + n, sizeof(text) - 1 - n);

        if (n_read <= 0)
            break;
        n += (size_t)n_read;
    }
    text[n] = '\0';
    return text;
}

static void test_is_there(void **state)
{
    (void)state;
    assert_true(terminal_is_there());
    assert_true(terminal_is_coloured());
    setenv("NO_COLOR", "1", 1);
    assert_true(terminal_is_there());
    assert_false(terminal_is_coloured());
    setenv("TERM", "dumb", 1);
    assert_false(terminal_is_there());
    unsetenv("TERM");
    assert_false(terminal_is_there());
    setenv("TERM", "xterm", 1);
    dup2(kept[1], 1);
    if (!isatty(1))
        assert_false(terminal_is_there());
}

static void test_taken_and_given_back(void **state)
{
    struct termios before;
    struct termios now;
    struct terminal terminal;
    size_t width;
    size_t height;

    (void)state;
    tcgetattr(0, &before);
    assert_int_equal(terminal_open(&terminal), 0);
    assert_string_equal(written(), "\033[?25l");
    tcgetattr(0, &now);
    assert_int_equal(now.c_lflag & (ICANON | ECHO | ISIG), 0);
    terminal_size(&width, &height);
    assert_int_equal(width, 99);
    assert_int_equal(height, 33);
    terminal_close(&terminal);
    assert_string_equal(written(), "\033[0m\033[?25h\033[33;1H\033[K");
    tcgetattr(0, &now);
    assert_int_equal(now.c_lflag, before.c_lflag);
    assert_int_equal(now.c_iflag, before.c_iflag);
    assert_int_equal(now.c_cc[VMIN], before.c_cc[VMIN]);
    terminal_close(&terminal);
}

/* In the order of what counts, however many came. */
static void test_signals(void **state)
{
    struct terminal terminal;

    (void)state;
    assert_int_equal(terminal_open(&terminal), 0);
    assert_int_equal(terminal_signal(&terminal), TERMINAL_NOTHING);
    kill(getpid(), SIGWINCH);
    assert_int_equal(terminal_signal(&terminal), TERMINAL_RESIZED);
    kill(getpid(), SIGTERM);
    kill(getpid(), SIGWINCH);
    kill(getpid(), SIGTSTP);
    assert_int_equal(terminal_signal(&terminal), TERMINAL_END);
    assert_int_equal(terminal_signal(&terminal), TERMINAL_NOTHING);
    terminal_close(&terminal);
}

static void test_size_that_is_not_known(void **state)
{
    struct winsize size = {0};
    size_t width;
    size_t height;

    (void)state;
    assert_int_equal(ioctl(master, TIOCSWINSZ, &size), 0);
    terminal_size(&width, &height);
    assert_int_equal(width, 80);
    assert_int_equal(height, 24);
}

#define STAGED(test) cmocka_unit_test_setup_teardown(test, prepare, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(test_is_there),
        STAGED(test_taken_and_given_back),
        STAGED(test_signals),
        STAGED(test_size_that_is_not_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
