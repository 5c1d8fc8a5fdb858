#include "lb4/lb4ctl/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { WIDTH = 80, HEIGHT = 24, SIDE_MAX = 1000, PATIENCE_MS = 5000 };

static const char CURSOR_OFF[] = "\033[?25l";
static const char CURSOR_ON[] = "\033[0m\033[?25h";

bool terminal_is_there(void)
{
    const char *term = getenv("TERM");

    return isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb") != 0;
}

bool terminal_is_coloured(void)
{
    const char *no_color = getenv("NO_COLOR");

    return terminal_is_there() && !(no_color && *no_color);
}

static sigset_t wanted_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGTSTP, SIGWINCH};
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        sigaddset(&set, numbers[i]);
    return set;
}

/* Characters one by one, signals of keys as characters; what is written is changed as before. */
static int make_raw(const struct terminal *terminal)
{
    struct termios raw = terminal->before;

    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG | IEXTEN);
    raw.c_iflag &= ~(tcflag_t)(IXON | ICRNL | INLCR | ISTRIP);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    if (tcsetattr(terminal->fd, TCSADRAIN, &raw) < 0)
        return -errno;
    return terminal_write(CURSOR_OFF, strlen(CURSOR_OFF));
}

static void give_back(const struct terminal *terminal)
{
    size_t width;
    size_t height;
    char bytes[64];

    terminal_size(&width, &height);
    snprintf(bytes, sizeof(bytes), "%s\033[%zu;1H\033[K", CURSOR_ON, height);
    terminal_write(bytes, strlen(bytes));
    tcsetattr(terminal->fd, TCSADRAIN, &terminal->before);
}

static int choose_fd(struct terminal *terminal)
{
    terminal->owns_fd = !isatty(STDIN_FILENO);
    terminal->fd = STDIN_FILENO;
    if (terminal->owns_fd)
        terminal->fd = open("/dev/tty", O_RDWR | O_CLOEXEC);
    return terminal->fd < 0 ? -errno : 0;
}

int terminal_open(struct terminal *terminal)
{
    sigset_t set = wanted_signals();
    int error;

    *terminal = (struct terminal){.fd = -1, .signal_fd = -1};
    error = choose_fd(terminal);
    if (!error && tcgetattr(terminal->fd, &terminal->before) < 0)
        error = -errno;
    if (error)
        return error;
    sigprocmask(SIG_BLOCK, &set, NULL);
    terminal->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    error = terminal->signal_fd < 0 ? -errno : make_raw(terminal);
    if (error)
        terminal_close(terminal);
    return error;
}

void terminal_close(struct terminal *terminal)
{
    if (terminal->signal_fd >= 0)
        close(terminal->signal_fd);
    terminal->signal_fd = -1;
    if (terminal->fd < 0)
        return;
    give_back(terminal);
    if (terminal->owns_fd)
        close(terminal->fd);
    terminal->fd = -1;
}

/* The whole job stops, as by the key. The signal is pending until it is let through, and stops us
 * there. */
int terminal_stop(struct terminal *terminal)
{
    sigset_t set;

    give_back(terminal);
    sigemptyset(&set);
    sigaddset(&set, SIGTSTP);
    signal(SIGTSTP, SIG_DFL);
    kill(0, SIGTSTP);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return make_raw(terminal);
}

static size_t side(unsigned short n, size_t otherwise)
{
    if (n == 0)
        return otherwise;
    return n < SIDE_MAX ? n : SIDE_MAX;
}

void terminal_size(size_t *ret_width, size_t *ret_height)
{
    struct winsize size = {0};

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
        size = (struct winsize){0};
    *ret_width = side(size.ws_col, WIDTH);
    *ret_height = side(size.ws_row, HEIGHT);
}

/* One that takes nothing for long (flow control) is left alone: the frame is lost. */
int terminal_write(const char *bytes, size_t n)
{
    while (n > 0) {
        struct pollfd writable = {.fd = STDOUT_FILENO, .events = POLLOUT};
        ssize_t n_written;

        if (poll(&writable, 1, PATIENCE_MS) <= 0)
            return -EAGAIN;
        n_written = write(STDOUT_FILENO, bytes, n);
        if (n_written < 0 && errno != EINTR && errno != EAGAIN)
            return -errno;
        if (n_written > 0) {
            bytes += n_written;
            n -= (size_t)n_written;
        }
    }
    return 0;
}

static enum terminal_event event_of(unsigned number)
{
    switch (number) {
    case SIGWINCH:
        return TERMINAL_RESIZED;
    case SIGTSTP:
        return TERMINAL_STOP;
    default:
        return TERMINAL_END;
    }
}

enum terminal_event terminal_signal(const struct terminal *terminal)
{
    enum terminal_event event = TERMINAL_NOTHING;
    struct signalfd_siginfo info;

    while (read(terminal->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        enum terminal_event next = event_of(info.ssi_signo);

        event = next > event ? next : event;
    }
    return event;
}
