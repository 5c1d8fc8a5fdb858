/* A unix socket where the test plays lb4. */
#ifndef TEST_PEER_H
#define TEST_PEER_H

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct peer {
    char path[64];
    int listener;
    int fd; /* of the last that came; -1 = nobody */
} peer;

static inline void peer_open(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    snprintf(peer.path, sizeof(peer.path), "/tmp/lb4ctl-peer-%d.sock", getpid());
    strcpy(addr.sun_path, peer.path);
    peer.fd = -1;
    peer.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(peer.listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(peer.listener, 4), 0);
}

static inline void peer_accept(void)
{
    if (peer.fd >= 0)
        close(peer.fd);
    peer.fd = accept(peer.listener, NULL, NULL);
    assert_true(peer.fd >= 0);
}

static inline void peer_say(const char *text)
{
    assert_int_equal(send(peer.fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* What is there to hear. */
static inline const char *peer_heard(void)
{
    static char text[1000];
    ssize_t n = recv(peer.fd, text, sizeof(text) - 1, MSG_DONTWAIT);

    text[n > 0 ? n : 0] = '\0';
    return text;
}

static inline void peer_go(void)
{
    close(peer.fd);
    peer.fd = -1;
}

static inline void peer_close(void)
{
    if (peer.fd >= 0)
        close(peer.fd);
    close(peer.listener);
    unlink(peer.path);
}

#endif
