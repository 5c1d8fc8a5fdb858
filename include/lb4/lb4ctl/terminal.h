/* The terminal that lb4ctl top takes over, and gives back as it was at every end: on a signal, when
 * it is stopped, when lb4 is not there any more. Signals are read in the same loop as keys. One for
 * the process. */
#ifndef LB4_LB4CTL_TERMINAL_H
#define LB4_LB4CTL_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <termios.h>

enum terminal_event {
    TERMINAL_NOTHING,
    TERMINAL_RESIZED,
    TERMINAL_STOP, /* SIGTSTP: somebody wants it to stop */
    TERMINAL_END   /* SIGTERM, SIGINT, SIGHUP */
};

struct terminal {
    int fd;        /* where keys come from; frames go to standard output */
    int signal_fd; /* readable: terminal_signal() has something to say */
    bool owns_fd;
    struct termios before;
};

/* Is there one, that knows VT100 sequences: is standard output one, and TERM neither unset nor
 * "dumb"? */
bool terminal_is_there(void);
/* And no NO_COLOR (no-color.org). */
bool terminal_is_coloured(void);

/* Take it over: no echo, no lines, no cursor. Returns 0 or -errno; nothing has changed then. */
int terminal_open(struct terminal *terminal);
/* As it was; the cursor goes below the last line. May be called twice. */
void terminal_close(struct terminal *terminal);

/* Give it back, stop until somebody says SIGCONT, take it over again. Returns 0 or -errno. */
int terminal_stop(struct terminal *terminal);

/* 80 x 24 where the kernel does not know. */
void terminal_size(size_t *ret_width, size_t *ret_height);

/* All of it; 0 or -errno: it has gone. */
int terminal_write(const char *bytes, size_t n);

/* Of the signals that came, the one that counts. */
enum terminal_event terminal_signal(const struct terminal *terminal);

#endif
