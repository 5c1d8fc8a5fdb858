#include "lb4/lb4ctl/top.h"

#include <errno.h>
#include <langinfo.h>
#include <limits.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lb4/base/clock.h"
#include "lb4/lb4ctl/keys.h"
#include "lb4/lb4ctl/terminal.h"
#include "lb4/lb4ctl/top_reader.h"

enum { CONNECTIONS_LEAST = 50, CONNECTIONS_MOST = 200 }; /* that are asked for; the second: lb4's */

struct top {
    struct top_options options;
    struct top_view view;
    struct top_reader reader;
    struct screen screen;
    struct terminal terminal;
    struct keys keys;
    bool is_over;
};

/* --- for a file ------------------------------------------------------------------------------- */

static bool print_reading(struct top *top, bool is_first)
{
    size_t width;
    size_t height;

    top_view_measure(&top->view, &top->screen, &width, &height);
    if (screen_begin(&top->screen, width < SCREEN_SIDE_MAX ? width : SCREEN_SIDE_MAX, height) < 0)
        return false;
    top_view_list(&top->view, &top->screen);
    fputs(is_first ? "" : "\n", stdout);
    screen_print(&top->screen, stdout);
    return fflush(stdout) == 0;
}

static int wait_ms(const struct top *top)
{
    uint64_t now_ns = clock_now_ns();
    uint64_t ms;

    if (top->reader.due_ns == UINT64_MAX)
        return -1;
    if (top->reader.due_ns <= now_ns)
        return 0;
    ms = (top->reader.due_ns - now_ns) / CLOCK_NS_PER_MS + 1;
    return ms < INT_MAX ? (int)ms : INT_MAX;
}

/* Rates need two readings, so the first is not printed. An lb4 that goes away is the end. */
static int list(struct top *top)
{
    uint64_t n_wanted = top->options.n_readings ? top->options.n_readings : 1;
    uint64_t n_printed = 0;

    while (n_printed < n_wanted && top->reader.result == CLIENT_OK) {
        struct pollfd input = {.fd = top->reader.link.fd, .events = POLLIN};
        uint64_t n_before = top->reader.n_readings;

        if (poll(&input, 1, wait_ms(top)) > 0)
            top_reader_take(&top->reader, clock_now_ns());
        top_reader_step(&top->reader, CONNECTIONS_MOST, clock_now_ns());
        if (top->reader.is_lost)
            top->reader.result = CLIENT_NO_ANSWER;
        if (top->reader.n_readings == n_before || n_before == 0)
            continue;
        if (!print_reading(top, n_printed == 0))
            return errno == EPIPE ? EXIT_FINE : EXIT_FAILED;
        n_printed++;
    }
    return client_exit_code(top->reader.result);
}

/* --- on a terminal ---------------------------------------------------------------------------- */

static void draw(struct top *top)
{
    size_t width;
    size_t height;
    size_t n = 0;
    char *bytes;

    terminal_size(&width, &height);
    if (screen_begin(&top->screen, width, height) < 0)
        return;
    top_view_draw(&top->view, &top->screen);
    bytes = screen_update(&top->screen, &n);
    if (bytes && terminal_write(bytes, n) < 0)
        top->screen.is_fresh = true;
    free(bytes);
}

/* lb4 closes who says nothing for long, so the connection is not kept. */
static void stop(struct top *top)
{
    top_reader_pause(&top->reader);
    if (terminal_stop(&top->terminal) < 0)
        top->is_over = true;
    top->screen.is_fresh = true;
    if (!top->view.is_paused)
        top_reader_resume(&top->reader, clock_now_ns());
}

static void pause_or_go_on(struct top *top)
{
    top->view.is_paused = !top->view.is_paused;
    if (top->view.is_paused)
        top_reader_pause(&top->reader);
    else
        top_reader_resume(&top->reader, clock_now_ns());
}

static void obey(struct top *top, int key)
{
    switch (key) {
    case 'q':
    case KEY_INTERRUPT:
        top->is_over = true;
        break;
    case KEY_SUSPEND:
        stop(top);
        break;
    case KEY_REDRAW:
        top->screen.is_fresh = true;
        break;
    case 'p':
        pause_or_go_on(top);
        break;
    default:
        top_view_key(&top->view, key);
    }
}

static void take_keys(struct top *top)
{
    unsigned char bytes[64];
    ssize_t n = read(top->terminal.fd, bytes, sizeof(bytes));

    if (n < 0 && errno != EINTR && errno != EAGAIN)
        top->is_over = true;
    for (ssize_t i = 0; i < n && !top->is_over; i++)
        obey(top, keys_take(&top->keys, bytes[i]));
}

static void take_signals(struct top *top)
{
    switch (terminal_signal(&top->terminal)) {
    case TERMINAL_NOTHING:
        break;
    case TERMINAL_RESIZED:
        top->screen.is_fresh = true;
        break;
    case TERMINAL_STOP:
        stop(top);
        break;
    case TERMINAL_END:
        top->is_over = true;
        break;
    }
}

static size_t n_connections(const struct top *top)
{
    if (top->screen.height < CONNECTIONS_LEAST)
        return CONNECTIONS_LEAST;
    return top->screen.height < CONNECTIONS_MOST ? top->screen.height : CONNECTIONS_MOST;
}

static void take_turn(struct top *top)
{
    struct pollfd polled[] = {{.fd = top->terminal.fd, .events = POLLIN},
                              {.fd = top->terminal.signal_fd, .events = POLLIN},
                              {.fd = top->reader.link.fd, .events = POLLIN}};

    if (poll(polled, 3, wait_ms(top)) > 0) {
        if (polled[2].revents)
            top_reader_take(&top->reader, clock_now_ns());
        if (polled[1].revents)
            take_signals(top);
        if (polled[0].revents & (POLLHUP | POLLERR | POLLNVAL))
            top->is_over = true;
        else if (polled[0].revents)
            take_keys(top);
    }
    top_reader_step(&top->reader, n_connections(top), clock_now_ns());
    if (top->reader.result != CLIENT_OK ||
        (top->options.n_readings && top->reader.n_readings > top->options.n_readings))
        top->is_over = true;
}

static int show(struct top *top)
{
    while (!top->is_over) {
        draw(top);
        take_turn(top);
    }
    terminal_close(&top->terminal);
    return client_exit_code(top->reader.result);
}

/* --- the whole -------------------------------------------------------------------------------- */

static bool read_words(struct top *top, char *const *words)
{
    char message[TOP_MESSAGE_MAX];

    if (!top_options_read(&top->options, words, message)) {
        fprintf(stderr, "lb4ctl: %s\n", message);
        return false;
    }
    top_view_init(&top->view);
    if (!top->options.sort || top_view_sort_by(&top->view, top->options.sort))
        return true;
    fprintf(stderr,
            "lb4ctl: top: no column '%s'; --sort takes the title of one, as in new/s, or rate\n",
            top->options.sort);
    return false;
}

static bool is_utf8(void)
{
    setlocale(LC_CTYPE, "");
    return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

int top_run(const char *path, char *const *words)
{
    static struct top top;
    int code;

    if (!read_words(&top, words))
        return EXIT_USAGE;
    top.screen.is_utf8 = is_utf8();
    top.screen.is_styled = terminal_is_there();
    top.screen.is_coloured = terminal_is_coloured();
    top_reader_init(&top.reader, path, &top.options, &top.view);
    if (top.screen.is_styled && terminal_open(&top.terminal) == 0) {
        code = show(&top);
    } else {
        top.screen.is_styled = false;
        code = list(&top);
    }
    if (top.reader.result != CLIENT_OK)
        fprintf(stderr, "lb4ctl: %s\n", top.view.message);
    top_reader_fini(&top.reader);
    top_view_fini(&top.view);
    screen_fini(&top.screen);
    return code;
}
