#include "lb4/lb4ctl/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "lb4/base/scope.h"

enum {
    CHUNK = 64 * 1024,
    ANSWER_MAX = 16 * 1024 * 1024 /* chosen: lb4 sends 8 MiB at most */
};

int client_exit_code(enum client_result result)
{
    switch (result) {
    case CLIENT_OK:
        return EXIT_FINE;
    case CLIENT_FAILED:
        return EXIT_FAILED;
    case CLIENT_NO_ANSWER:
    case CLIENT_NOT_ALLOWED:
        return EXIT_NO_DAEMON;
    }
    return EXIT_FAILED;
}

static enum client_result refuse_connect(const char *path, int error,
                                         char message[static CLIENT_MESSAGE_MAX])
{
    switch (error) {
    case EACCES:
    case EPERM:
        snprintf(message, CLIENT_MESSAGE_MAX,
                 "no permission for %s: run lb4ctl as root, or as the user that lb4 runs as", path);
        return CLIENT_NOT_ALLOWED;
    case ENOENT:
        snprintf(
            message, CLIENT_MESSAGE_MAX,
            "there is no %s: does lb4 run, with `admin unix:%s` in its configuration? -s names "
            "another socket",
            path, path);
        return CLIENT_NO_ANSWER;
    case ECONNREFUSED:
        snprintf(message, CLIENT_MESSAGE_MAX, "nobody answers at %s: lb4 does not run any more",
                 path);
        return CLIENT_NO_ANSWER;
    case EAGAIN:
        snprintf(message, CLIENT_MESSAGE_MAX, "lb4 does not answer at %s: it hangs, or is stopped",
                 path);
        return CLIENT_NO_ANSWER;
    default:
        snprintf(message, CLIENT_MESSAGE_MAX, "%s: %s", path, strerror(error));
        return CLIENT_NO_ANSWER;
    }
}

static int connect_to(const char *path, unsigned patience_s)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = patience_s};
    scope_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof(addr.sun_path))
        return -ENAMETOOLONG;
    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
        connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
        return -errno;
    return take_fd(&fd);
}

/* That lb4 does not take it is no end: it may have said why. */
static void send_line(int fd, const char *line)
{
    struct iovec parts[] = {{.iov_base = strdup(line), .iov_len = strlen(line)},
                            {.iov_base = (char[]){'\n'}, .iov_len = 1}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};

    if (parts[0].iov_base)
        sendmsg(fd, &message, MSG_NOSIGNAL);
    free(parts[0].iov_base);
    shutdown(fd, SHUT_WR);
}

/* Everything up to the end; 0 or -errno. */
static int receive_all(int fd, char **ret)
{
    size_t n_bytes = 0;
    ssize_t n;

    *ret = NULL;
    do {
        char *grown = realloc(*ret, n_bytes + CHUNK + 1);

        if (!grown)
            return -ENOMEM;
        *ret = grown;
        do {
            n = recv(fd, *ret + n_bytes, CHUNK, 0);
        } while (n < 0 && errno == EINTR);
        n_bytes += n > 0 ? (size_t)n : 0;
        (*ret)[n_bytes] = '\0';
    } while (n > 0 && n_bytes <= ANSWER_MAX);
    if (n_bytes > ANSWER_MAX) {
        **ret = '\0';
        return -EMSGSIZE;
    }
    /* A client that was turned away has sent what nobody read. */
    return n < 0 && !(errno == ECONNRESET && n_bytes > 0) ? -errno : 0;
}

enum client_result client_judge(char *body, char message[static CLIENT_MESSAGE_MAX])
{
    static const char denied[] = "permission denied";
    size_t n = strlen(body);
    char *last;

    if (n > 0 && body[n - 1] == '\n') {
        body[n - 1] = '\0';
        last = strrchr(body, '\n');
        last = last ? last + 1 : body;
        if (strcmp(last, "ok") == 0) {
            *last = '\0';
            return CLIENT_OK;
        }
        if (strncmp(last, "error ", 6) == 0) {
            snprintf(message, CLIENT_MESSAGE_MAX, "%s", last + 6);
            *last = '\0';
            return strncmp(message, denied, sizeof(denied) - 1) == 0 ? CLIENT_NOT_ALLOWED
                                                                     : CLIENT_FAILED;
        }
    }
    snprintf(message, CLIENT_MESSAGE_MAX,
             "lb4 has ended the connection before its answer was whole");
    *body = '\0';
    return CLIENT_NO_ANSWER;
}

int client_open(const char *path, unsigned patience_s, enum client_result *ret,
                char message[static CLIENT_MESSAGE_MAX])
{
    int fd = connect_to(path, patience_s);

    *ret = fd < 0 ? refuse_connect(path, -fd, message) : CLIENT_OK;
    return fd < 0 ? -1 : fd;
}

enum client_result client_ask(const char *path, const char *line, unsigned patience_s,
                              struct client_answer *ret)
{
    scope_close int fd = connect_to(path, patience_s);
    int error;

    *ret = (struct client_answer){.body = NULL};
    if (fd < 0)
        return refuse_connect(path, -fd, ret->message);
    send_line(fd, line);
    error = receive_all(fd, &ret->body);
    if (error == -EAGAIN)
        snprintf(ret->message, sizeof(ret->message),
                 "lb4 has not answered for %u s: it hangs, or is stopped", patience_s);
    else if (error == -EMSGSIZE)
        snprintf(ret->message, sizeof(ret->message),
                 "%s: an answer of more than 16 MiB: it is not lb4 that listens there", path);
    else if (error)
        snprintf(ret->message, sizeof(ret->message), "%s: %s", path, strerror(-error));
    return error ? CLIENT_NO_ANSWER : client_judge(ret->body, ret->message);
}

void client_answer_fini(struct client_answer *answer)
{
    free(answer->body);
    answer->body = NULL;
}
