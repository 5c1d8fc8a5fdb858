/* One question to a running lb4 and its answer, over the admin socket. */
#ifndef LB4_LB4CTL_CLIENT_H
#define LB4_LB4CTL_CLIENT_H

#include <stddef.h>

enum { CLIENT_MESSAGE_MAX = 512 }; /* with the NUL */

enum client_result {
    CLIENT_OK,
    CLIENT_FAILED,     /* lb4 says "error ...": the message has the rest */
    CLIENT_NO_ANSWER,  /* nobody there, or silent, or gone half-way; the message says what to do */
    CLIENT_NOT_ALLOWED /* the same */
};

/* Of lb4ctl. */
enum { EXIT_FINE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NO_DAEMON = 3 };

int client_exit_code(enum client_result result);

struct client_answer {
    char *body; /* malloc; lines, without the last one that tells how it went */
    char message[CLIENT_MESSAGE_MAX];
};

/* Send one line, without its end, to the socket at `path`, and read all that comes. `patience_s`
 * seconds of silence are too long; 0 = wait for ever. */
enum client_result client_ask(const char *path, const char *line, unsigned patience_s,
                              struct client_answer *ret);
void client_answer_fini(struct client_answer *answer);

/* A connection for several questions; -1: why not, and the message says what to do. */
int client_open(const char *path, unsigned patience_s, enum client_result *ret,
                char message[static CLIENT_MESSAGE_MAX]);

/* Take the last line off `body`, which is changed, and judge by it. */
enum client_result client_judge(char *body, char message[static CLIENT_MESSAGE_MAX]);

#endif
