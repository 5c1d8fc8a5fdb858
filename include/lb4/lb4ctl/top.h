/* lb4ctl top: what goes on in a running lb4, live on a terminal; or as text where there is none. */
#ifndef LB4_LB4CTL_TOP_H
#define LB4_LB4CTL_TOP_H

/* Ask at the socket; `words` are those behind "top", with NULL behind the last. Returns the exit
 * code, after a message on standard error if it is not 0. SIGPIPE is ignored. */
int top_run(const char *path, char *const *words);

#endif
