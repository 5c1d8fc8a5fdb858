/* What a process must see to before it opens anything: its standard descriptors are open, and no
 * signal that lb4 knows ends it. Signals are blocked in every thread and read from a signalfd(2).
 * Thread: main, before others exist. */
#ifndef LB4_CONTROL_SIGNALS_H
#define LB4_CONTROL_SIGNALS_H

/* /dev/null for each of descriptors 0, 1, 2 that is closed; SIGPIPE ignored; HUP, TERM, QUIT, INT,
 * USR1 and USR2 blocked, which threads inherit. */
void signals_prepare(void);

/* A non-blocking signalfd for those that are blocked. Returns it, or -errno. */
int signals_open(void);

#endif
