/* The servers. LOAD_ANSWER closes first: so the TIME_WAIT of a proxied connection rests on
 * listening ports, on both legs, and neither the clients' nor the proxy's ephemeral ports run out
 * or become slow to find. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

/* Bytes that a connection of LOAD_ECHO could not send at once. */
struct backlog {
    size_t offset, length;
    uint8_t bytes[LOAD_BUFFER_BYTES];
};

struct peer {
    int fd;
    enum load_mode mode;
    uint64_t n_received;
    struct backlog *backlog; /* NULL unless there is one */
};

struct server {
    int epoll_fd;
    unsigned request_bytes;
    struct load_listener *listeners;
    unsigned n_listeners;
};

static uint8_t buffer[LOAD_BUFFER_BYTES];
static volatile sig_atomic_t must_stop;

static void on_signal(int number)
{
    (void)number;
    must_stop = 1;
}

static bool would_block(void)
{
    return errno == EAGAIN || errno == EINTR;
}

static void close_peer(struct peer *peer)
{
    close(peer->fd);
    free(peer->backlog);
    free(peer);
}

static bool watch(const struct server *server, struct peer *peer, int operation, uint32_t mask)
{
    struct epoll_event event = {.events = mask, .data.ptr = peer};

    return epoll_ctl(server->epoll_fd, operation, peer->fd, &event) == 0;
}

/* Every handler returns false once the connection is to be closed. */

static bool send_backlog(const struct server *server, struct peer *peer)
{
    struct backlog *backlog = peer->backlog;
    ssize_t sent = send(peer->fd, backlog->bytes + backlog->offset,
                        backlog->length - backlog->offset, MSG_NOSIGNAL);

    if (sent < 0)
        return would_block();
    backlog->offset += (size_t)sent;
    if (backlog->offset == backlog->length) {
        free(backlog);
        peer->backlog = NULL;
        return watch(server, peer, EPOLL_CTL_MOD, EPOLLIN);
    }
    return true;
}

static bool keep_backlog(const struct server *server, struct peer *peer, const uint8_t *rest,
                         size_t length)
{
    peer->backlog = malloc(sizeof(*peer->backlog));
    if (!peer->backlog)
        return false;
    peer->backlog->offset = 0;
    peer->backlog->length = length;
    memcpy(peer->backlog->bytes, rest, length);
    return watch(server, peer, EPOLL_CTL_MOD, EPOLLOUT);
}

static bool serve_echo(const struct server *server, struct peer *peer)
{
    if (peer->backlog)
        return send_backlog(server, peer);

    ssize_t got = recv(peer->fd, buffer, sizeof(buffer), 0);
    if (got <= 0)
        return got < 0 && would_block();
    ssize_t sent = send(peer->fd, buffer, (size_t)got, MSG_NOSIGNAL);
    if (sent < 0 && !would_block())
        return false;
    sent = sent < 0 ? 0 : sent;
    return sent == got || keep_backlog(server, peer, buffer + sent, (size_t)(got - sent));
}

static bool serve_answer(const struct server *server, struct peer *peer)
{
    ssize_t got = recv(peer->fd, buffer, sizeof(buffer), 0);

    if (got <= 0)
        return got < 0 && would_block();
    peer->n_received += (uint64_t)got;
    if (peer->n_received < server->request_bytes)
        return true;
    (void)send(peer->fd, buffer, server->request_bytes, MSG_NOSIGNAL);
    return false;
}

static bool serve_source(struct peer *peer)
{
    ssize_t sent = send(peer->fd, buffer, sizeof(buffer), MSG_NOSIGNAL);

    return sent >= 0 || would_block();
}

static bool serve_sink(struct peer *peer)
{
    ssize_t got = recv(peer->fd, buffer, sizeof(buffer), 0);

    if (got < 0)
        return would_block();
    peer->n_received += (uint64_t)got;
    if (got == 0)
        (void)send(peer->fd, &peer->n_received, sizeof(peer->n_received), MSG_NOSIGNAL);
    return got > 0;
}

static bool serve_peer(const struct server *server, struct peer *peer)
{
    switch (peer->mode) {
    case LOAD_ECHO:
        return serve_echo(server, peer);
    case LOAD_ANSWER:
        return serve_answer(server, peer);
    case LOAD_SOURCE:
        return serve_source(peer);
    case LOAD_SINK:
        return serve_sink(peer);
    case LOAD_N_MODES:
        break;
    }
    return false;
}

static void accept_peers(const struct server *server, const struct load_listener *listener)
{
    int fd;

    while ((fd = net_accept(listener->fd)) >= 0) {
        struct peer *peer = calloc(1, sizeof(*peer));
        if (!peer) {
            close(fd);
            return;
        }
        peer->fd = fd;
        peer->mode = listener->mode;
        uint32_t mask = listener->mode == LOAD_SOURCE ? EPOLLOUT : EPOLLIN;
        if (!watch(server, peer, EPOLL_CTL_ADD, mask))
            close_peer(peer);
    }
}

static const struct load_listener *as_listener(const struct server *server, const void *source)
{
    for (unsigned i = 0; i < server->n_listeners; i++) {
        if (source == &server->listeners[i])
            return source;
    }
    return NULL;
}

static void serve_turn(const struct server *server)
{
    struct epoll_event events[LOAD_CAP_EVENTS];
    int n = epoll_wait(server->epoll_fd, events, LOAD_CAP_EVENTS, -1);

    for (int i = 0; i < n; i++) {
        void *source = events[i].data.ptr;
        const struct load_listener *listener = as_listener(server, source);
        if (listener)
            accept_peers(server, listener);
        else if (!serve_peer(server, source))
            close_peer(source);
    }
}

static int open_listeners(const struct server *server)
{
    for (unsigned i = 0; i < server->n_listeners; i++) {
        struct load_listener *listener = &server->listeners[i];
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = listener};
        listener->fd = net_listen(&listener->addr, false);
        if (listener->fd < 0)
            return listener->fd;
        if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, listener->fd, &event) < 0)
            return -errno;
    }
    return 0;
}

int load_serve(struct load_listener *listeners, unsigned n_listeners, unsigned request_bytes)
{
    struct server server = {epoll_create1(EPOLL_CLOEXEC), request_bytes, listeners, n_listeners};
    struct sigaction action = {.sa_handler = on_signal};

    sigaction(SIGTERM, &action, NULL);
    int error = open_listeners(&server);
    if (error < 0) {
        fprintf(stderr, "load: listen: %s\n", strerror(-error));
        return 2;
    }
    puts("ready");
    fflush(stdout);
    while (!must_stop)
        serve_turn(&server);
    return 0;
}
