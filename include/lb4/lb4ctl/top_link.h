/* The one connection of lb4ctl top to a running lb4: several questions in one go, and their answers
 * as they come. Nothing waits here but the connect, for a second. */
#ifndef LB4_LB4CTL_TOP_LINK_H
#define LB4_LB4CTL_TOP_LINK_H

#include <stdbool.h>
#include <stddef.h>

#include "lb4/lb4ctl/client.h"

struct top_link {
    int fd; /* -1 = closed; poll it for input */
    char *bytes;
    size_t n_bytes;
    size_t cap;
};

/* Make top_link_close() harmless. */
void top_link_clear(struct top_link *link);
void top_link_close(struct top_link *link);

/* What client_open() says. */
enum client_result top_link_open(struct top_link *link, const char *path,
                                 char message[static CLIENT_MESSAGE_MAX]);

/* Send lines, each with its end. false: lb4 has gone. */
bool top_link_ask(const struct top_link *link, const char *lines);

/* There is input: read it. false: lb4 has gone, or there is no memory; answers that came before may
 * still be taken. */
bool top_link_read(struct top_link *link);

/* Take the next answer that is complete, with its last line (client_judge()): malloc, or NULL. */
char *top_link_take(struct top_link *link);

#endif
