/* A client:
 *
 *    reading --the head, or 5 s--> writing --all taken--> leaving --end, or 1 s--> closed
 *       |                             |
 *       +--end------------------------+--gone, or too slow-----------------------> closed
 *
 * leaving: our side is shut down, and what still comes is thrown away. To close with bytes unread
 * would send a reset, and that may overtake the answer (RFC 9112, section 9.6). Sockets are
 * edge-triggered: pump() goes on until the kernel says EAGAIN. */
#include "lb4/control/http.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"
#include "lb4/base/sock.h"
#include "lb4/control/http_answer.h"
#include "lb4/control/http_request.h"

enum {
    STEPS_MAX = 32 /* of one client in one turn: 256 KiB of noise; chosen */
};

static const uint64_t READ_NS = 5 * 1000000000ull;
static const uint64_t WRITE_NS = 10 * 1000000000ull; /* without a byte taken */
static const uint64_t ANSWER_NS = 60 * 1000000000ull;
static const uint64_t LEAVE_NS = 1 * 1000000000ull;

enum http_state { HTTP_READING, HTTP_WRITING, HTTP_LEAVING };

struct http_client {
    struct list link; /* on http->clients or http->dead */
    struct source source;
    enum http_state state;
    uint64_t due_ns;    /* the state's time is over */
    uint64_t answer_ns; /* writing: over, whatever was taken */
    size_t n_sent;      /* of the reply */
    struct reply reply;
    struct http_reader request;
};

/* --- one client ------------------------------------------------------------------------------- */

static void close_client(struct http *http, struct http_client *client)
{
    loop_close(&client->source);
    list_remove(&client->link);
    list_append(&http->dead, &client->link);
    http->n_clients--;
    reply_fini(&client->reply);
}

static void enter(struct http *http, struct http_client *client, enum http_state state,
                  uint64_t patience_ns)
{
    client->state = state;
    client->due_ns = http->loop->now_ns + patience_ns;
}

static void begin_answer(struct http *http, struct http_client *client)
{
    enter(http, client, HTTP_WRITING, WRITE_NS);
    client->answer_ns = http->loop->now_ns + ANSWER_NS;
}

/* Bytes into the reader's room. 0: no more will come; -1: not now. */
static ssize_t receive(struct http_client *client, char *to, size_t room)
{
    ssize_t n = recv(client->source.fd, to, room, MSG_DONTWAIT);

    return n < 0 && errno != EAGAIN && errno != EWOULDBLOCK ? 0 : n;
}

/* A page anywhere on the web may lead its reader's browser here, by a name of its own that points
 * to the loopback ("DNS rebinding"), and would read the answer. */
static void answer_request(struct http *http, struct http_client *client,
                           struct http_request *request)
{
    if (request->status == 200 && request->is_by_name && http->is_loopback)
        request->status = 421;
    http->has_answered = true;
    http_answer(http->from, request, &client->reply);
    begin_answer(http, client);
}

/* True: something was done, go on. */
static bool read_request(struct http *http, struct http_client *client)
{
    struct http_request request;
    size_t room;
    char *to = http_room(&client->request, &room);
    ssize_t n;

    if (http->has_answered) {
        loop_again(http->loop, &client->source);
        return false;
    }
    n = receive(client, to, room);
    if (n < 0)
        return false;
    if (n == 0) {
        close_client(http, client);
        return false;
    }
    if (http_came(&client->request, (size_t)n, &request))
        answer_request(http, client, &request);
    return true;
}

static bool write_answer(struct http *http, struct http_client *client)
{
    size_t before = client->n_sent;

    switch (reply_send(&client->reply, &client->n_sent, client->source.fd)) {
    case REPLY_BLOCKED:
        if (client->n_sent > before)
            client->due_ns = http->loop->now_ns + WRITE_NS;
        return false;
    case REPLY_UNWANTED:
        close_client(http, client);
        return false;
    case REPLY_SENT:
        break;
    }
    shutdown(client->source.fd, SHUT_WR);
    reply_fini(&client->reply);
    enter(http, client, HTTP_LEAVING, LEAVE_NS);
    return true;
}

static bool ignore_rest(struct http *http, struct http_client *client)
{
    ssize_t n = receive(client, client->request.bytes, sizeof(client->request.bytes));

    if (n < 0)
        return false;
    if (n > 0)
        return true;
    close_client(http, client);
    return false;
}

static bool step(struct http *http, struct http_client *client)
{
    switch (client->state) {
    case HTTP_READING:
        return read_request(http, client);
    case HTTP_WRITING:
        return write_answer(http, client);
    case HTTP_LEAVING:
        return ignore_rest(http, client);
    }
    return false;
}

static void pump(struct http *http, struct http_client *client)
{
    for (int i = 0; i < STEPS_MAX; i++) {
        if (!step(http, client))
            return;
    }
    loop_again(http->loop, &client->source);
}

void http_on_client(struct http *http, struct source *source, uint32_t bits)
{
    struct http_client *client = container_of(source, struct http_client, source);

    if (bits & (EPOLLHUP | EPOLLERR))
        close_client(http, client);
    else
        pump(http, client);
}

/* --- who comes -------------------------------------------------------------------------------- */

/* For one that is not served: a socket that is new has room for a line. What it has said is read,
 * so that no reset overtakes the answer. */
static void turn_away(int fd)
{
    char noise[4096];
    struct reply reply;
    size_t n_sent = 0;

    reply_init(&reply, sizeof(noise));
    http_answer_status(503, &reply);
    reply_send(&reply, &n_sent, fd);
    reply_fini(&reply);
    shutdown(fd, SHUT_WR);
    (void)!recv(fd, noise, sizeof(noise), MSG_DONTWAIT);
    close(fd);
}

static struct http_client *client_new(struct http *http, int fd)
{
    struct http_client *client = malloc(sizeof(*client));

    if (!client)
        return NULL;
    memset(client, 0, offsetof(struct http_client, request));
    source_init(&client->source, SOURCE_HTTP_CLIENT, fd);
    list_init(&client->link);
    http_reader_init(&client->request);
    reply_init(&client->reply, HTTP_REPLY_MAX);
    enter(http, client, HTTP_READING, READ_NS);
    return client;
}

static void take_in(struct http *http, int fd)
{
    struct http_client *client = client_new(http, fd);

    if (!client) {
        close(fd);
        return;
    }
    list_append(&http->clients, &client->link);
    http->n_clients++;
    if (loop_add(http->loop, &client->source, LOOP_EDGE) < 0)
        close_client(http, client);
}

void http_on_listener(struct http *http)
{
    door_on_event(&http->door);
}

static void accept_callers(struct http *http)
{
    int fd;

    while ((fd = door_accept(&http->door, http->n_clients < HTTP_CLIENTS)) >= 0) {
        if (http->n_clients == HTTP_CLIENTS)
            turn_away(fd);
        else
            take_in(http, fd);
    }
    door_end_turn(&http->door);
}

/* --- time ------------------------------------------------------------------------------------- */

static uint64_t client_due_ns(const struct http_client *client)
{
    bool is_bounded = client->state == HTTP_WRITING && client->answer_ns < client->due_ns;

    return is_bounded ? client->answer_ns : client->due_ns;
}

uint64_t http_due_ns(const struct http *http)
{
    uint64_t due_ns = door_due_ns(&http->door);

    for (struct list *at = http->clients.next; at != &http->clients; at = at->next) {
        uint64_t its_ns = client_due_ns(container_of(at, struct http_client, link));

        due_ns = its_ns < due_ns ? its_ns : due_ns;
    }
    return due_ns;
}

/* One that has said nothing is told nothing. */
static void expire(struct http *http, struct http_client *client)
{
    if (client->state != HTTP_READING || client->request.n_bytes == 0) {
        if (client->state == HTTP_WRITING)
            log_debug("http: a client has not taken its answer in time");
        close_client(http, client);
        return;
    }
    http_answer_status(408, &client->reply);
    begin_answer(http, client);
    pump(http, client);
}

static void reap(struct http *http)
{
    struct list *first;

    while ((first = list_take_first(&http->dead)))
        free(container_of(first, struct http_client, link));
}

/* What a client had to say may wait in the kernel, hence told_ns (loop/loop.h). */
void http_end_turn(struct http *http)
{
    struct list *next;

    for (struct list *at = http->clients.next; at != &http->clients; at = next) {
        struct http_client *client = container_of(at, struct http_client, link);

        next = at->next;
        if (client_due_ns(client) <= http->loop->told_ns)
            expire(http, client);
    }
    accept_callers(http);
    reap(http);
    http->has_answered = false;
}

/* --- the whole -------------------------------------------------------------------------------- */

void http_clear(struct http *http)
{
    *http = (struct http){0};
    list_init(&http->clients);
    list_init(&http->dead);
    door_init(&http->door, SOURCE_HTTP_LISTENER, -1);
}

int http_open(struct http *http, const struct addr *at, char reterr[static HTTP_ERROR_MAX])
{
    const struct sock_listen_options options = {0};
    char text[ADDR_TEXT_MAX];
    int fd = sock_listen(at, &options);

    if (fd < 0) {
        snprintf(reterr, HTTP_ERROR_MAX, "http: cannot listen on %s: %s%s", addr_format(at, text),
                 strerror(-fd),
                 fd == -EADDRINUSE ? " (another process listens there; see ss -ltnp)" : "");
        return fd;
    }
    door_init(&http->door, SOURCE_HTTP_LISTENER, fd);
    http->is_loopback = addr_is_loopback(at);
    return 0;
}

int http_start(struct http *http, struct loop *loop, const struct snapshot_from *from)
{
    http->loop = loop;
    http->from = from;
    return door_open(&http->door, loop);
}

void http_close(struct http *http)
{
    int fd = door_take_fd(&http->door);

    while (!list_is_empty(&http->clients))
        close_client(http, container_of(http->clients.next, struct http_client, link));
    reap(http);
    if (fd >= 0)
        close(fd);
}
