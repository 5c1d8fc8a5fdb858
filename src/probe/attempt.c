#include "lb4/probe/attempt.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "lb4/base/origin.h"
#include "lb4/base/scope.h"
#include "lb4/base/sock.h"
#include "lb4/base/sock_options.h"
#include "lb4/probe/announce.h"
#include "lb4/probe/converse.h"
#include "lb4/probe/datagram.h"

void attempt_init(struct attempt *attempt, const struct service_check *check, bool is_local)
{
    *attempt = (struct attempt){.check = check, .waiting = "", .is_local = is_local};
    source_init(&attempt->source, SOURCE_PROBE, -1);
}

static void drop_talk(struct attempt *attempt)
{
    free(attempt->talk);
    attempt->talk = NULL;
}

static enum health_outcome outcome_of(int error)
{
    if (error == ECONNREFUSED)
        return HEALTH_REFUSED;
    return sock_connect_error_is_local(error) ? HEALTH_UNKNOWN : HEALTH_FAILED;
}

static enum health_outcome fail(struct attempt *attempt, int error)
{
    attempt_close(attempt);
    attempt->error = error;
    return outcome_of(error);
}

/* A Unix socket says at once what it has to say. A path that is missing, or not for us, refuses
 * whoever asks; a full backlog is as good as no answer. */
static enum health_outcome fail_at_start(struct attempt *attempt, const struct addr *to, int error)
{
    enum health_outcome outcome = fail(attempt, error);

    if (!addr_is_unix(to))
        return outcome;
    if (error == EAGAIN)
        attempt->reason = "its backlog is full (EAGAIN)";
    if (error == ENOENT || error == EACCES)
        return HEALTH_REFUSED;
    return outcome == HEALTH_UNKNOWN && !origin_error_is_ours(to, error) ? HEALTH_FAILED : outcome;
}

static bool talks(const struct service_check *check)
{
    switch (check->kind) {
    case CONF_CHECK_HTTP:
    case CONF_CHECK_REDIS:
    case CONF_CHECK_POSTGRES:
    case CONF_CHECK_MYSQL:
        return true;
    case CONF_CHECK_SEND:
    case CONF_CHECK_DNS:
        return !check->is_udp;
    case CONF_CHECK_AUTO:
    case CONF_CHECK_NONE:
    case CONF_CHECK_TCP:
    case CONF_CHECK_EXEC:
        break;
    }
    return false;
}

/* The socket is the attempt's from here on. */
static int listen_to(struct attempt *attempt, struct loop *loop, int fd, enum loop_trigger trigger)
{
    source_init(&attempt->source, SOURCE_PROBE, fd);
    return loop_add(loop, &attempt->source, trigger);
}

static int talk_new(struct attempt *attempt, const struct addr *to)
{
    if (!talks(attempt->check))
        return 0;
    attempt->talk = malloc(sizeof(*attempt->talk));
    if (!attempt->talk)
        return -ENOMEM;
    talk_begin(attempt->talk, attempt->check);
    attempt->talk->server = *to;
    return 0;
}

/* The source of the check counts in the place of the server's. NULL: as the kernel likes. */
static const struct origin *choose_origin(const struct attempt *attempt, struct origin *room)
{
    if (attempt->check->source.sa.sa_family == AF_UNSPEC)
        return attempt->origin;
    *room = attempt->origin ? *attempt->origin : (struct origin){0};
    room->n_sources = 1;
    room->sources[0] = attempt->check->source;
    return room;
}

/* Who speaks first has no need to acknowledge the handshake by a packet of its own: the question
 * does. A server that waits for the acknowledgement to speak would wait for 200 ms. */
static bool speaks_first(const struct service_check *check)
{
    return talks(check) && check->kind != CONF_CHECK_MYSQL &&
           (check->kind != CONF_CHECK_SEND || check->n_send > 0);
}

static int connect_to_ask(const struct addr *to, int *ret_fd)
{
    scope_close int fd = sock_open(to->sa.sa_family);
    int error;

    if (fd < 0)
        return fd;
    sock_delay_ack(fd);
    error = sock_start(fd, to);
    if (!error)
        *ret_fd = take_fd(&fd);
    return error;
}

static int connect_from(const struct attempt *attempt, const struct origin *origin,
                        const struct addr *to, int *ret_fd, enum origin_step *ret_step)
{
    *ret_step = ORIGIN_CONNECT;
    if (attempt->check->is_udp)
        return origin_connect_udp(origin, attempt->turn, to, ret_fd, ret_step);
    if (!origin && speaks_first(attempt->check))
        return connect_to_ask(to, ret_fd);
    return origin_connect(origin, attempt->turn, to, ret_fd, ret_step);
}

int attempt_socket(struct attempt *attempt, const struct addr *to, int *ret_fd)
{
    struct origin room;
    const struct origin *origin = choose_origin(attempt, &room);
    enum origin_step step;
    int error = connect_from(attempt, origin, to, ret_fd, &step);

    attempt->turn++;
    if (!error)
        return 0;
    if (step == ORIGIN_SOURCE)
        attempt->reason = origin == &room ? "the source address of its check is not this machine's"
                                          : "no source address of it is this machine's";
    else if (step == ORIGIN_MARK)
        attempt->reason = "its mark needs CAP_NET_ADMIN or CAP_NET_RAW";
    else if (step == ORIGIN_INTERFACE)
        attempt->reason = "there is no such interface";
    else if (error == -EINVAL)
        attempt->reason = "there is no way from its source to it";
    return error;
}

static int start_connect(struct attempt *attempt, struct loop *loop, const struct addr *to)
{
    int fd;
    int error = talk_new(attempt, to);

    if (!error)
        error = attempt_socket(attempt, to, &fd);
    if (error)
        return error;
    attempt->state = ATTEMPT_CONNECTING;
    return listen_to(attempt, loop, fd, LOOP_EDGE);
}

static int start_asking(struct attempt *attempt, struct loop *loop, const struct addr *to)
{
    int fd = datagram_open(attempt, to);
    int error;

    if (fd < 0)
        return fd;
    attempt->state = ATTEMPT_ASKING;
    error = listen_to(attempt, loop, fd, LOOP_LEVEL);
    return error ? error : datagram_ask(attempt);
}

bool attempt_start(struct attempt *attempt, struct loop *loop, const struct addr *to, bool watches,
                   enum health_outcome *ret_outcome)
{
    int error;

    attempt->error = 0;
    attempt->reason = NULL;
    attempt->waiting = "";
    attempt->n_heard = 0;
    attempt->watches = watches;
    attempt->has_strays = false;
    attempt->port = addr_port(to);
    attempt->told = 0;
    error =
        attempt->check->is_udp ? start_asking(attempt, loop, to) : start_connect(attempt, loop, to);
    if (error)
        *ret_outcome = fail_at_start(attempt, to, -error);
    return !error;
}

/* Of a stream a short read is all there is, unless something else than bytes was told of, too. */
ssize_t attempt_recv(struct attempt *attempt, void *bytes, size_t n_bytes)
{
    ssize_t n;

    if (!attempt->told)
        return -EAGAIN;
    n = recv(attempt->source.fd, bytes, n_bytes, 0);
    if (n < 0 ? sock_would_block(errno) : (size_t)n < n_bytes && attempt->told == EPOLLIN)
        attempt->told = 0;
    return n < 0 ? -errno : n;
}

/* Read until there is nothing left. The server's FIN, a reset, or a server that does not stop
 * talking end the attempt. */
static void drain(struct attempt *attempt)
{
    char bytes[4096];

    while (attempt->n_heard < ATTEMPT_HEAR_MAX) {
        ssize_t n = attempt_recv(attempt, bytes, sizeof(bytes));

        if (n < 0 && sock_would_block((int)-n))
            return;
        if (n <= 0)
            break;
        attempt->n_heard += (uint32_t)n;
    }
    attempt_close(attempt);
}

/* 0, or the errno of a connect that failed. */
static int take_result(struct attempt *attempt, uint32_t bits)
{
    int fd = attempt->source.fd;
    int error = bits & (EPOLLERR | EPOLLHUP) ? sock_take_error(fd) : 0;

    /* Linux says so only after the handshake (before it, a reset is ECONNREFUSED): it had accepted.
     * Whether its reset comes before our look or after must make no difference. */
    if (sock_error_is_reset(error) && ((!attempt->watches && !attempt->talk) || sock_has_input(fd)))
        error = 0;
    if (error == 0 && attempt->is_local && sock_is_self_connected(fd, attempt->port)) {
        /* Nobody listens there but the connect itself (K15). Closed with a FIN it would stay in
         * TIME_WAIT on the very port that the server wants back. */
        sock_reset(source_take_fd(&attempt->source));
        error = ECONNREFUSED;
    }
    return error;
}

static void take_leave(struct attempt *attempt)
{
    attempt->state = ATTEMPT_LINGERING;
    shutdown(attempt->source.fd, SHUT_WR);
    drain(attempt);
}

enum health_outcome attempt_settle(struct attempt *attempt)
{
    take_leave(attempt);
    return HEALTH_OK;
}

/* true: something came. Its FIN is as good as a word: it knew what it did. */
static bool watch(struct attempt *attempt, enum health_outcome *ret_outcome)
{
    char byte;

    if (recv(attempt->source.fd, &byte, 1, MSG_PEEK) >= 0) {
        *ret_outcome = attempt_settle(attempt);
        return true;
    }
    if (sock_would_block(errno))
        return false;
    *ret_outcome = fail(attempt, errno);
    return true;
}

/* The verdict of a conversation, or not yet. What the reason points to goes with the talk. Where
 * all was said and read, close(2) sends the FIN as shutdown(2) would, and the rest is the kernel's:
 * that saves a wake-up for the server's FIN. */
static bool end_talk(struct attempt *attempt, int error, enum health_outcome *ret_outcome)
{
    const struct talk *talk = attempt->talk;
    bool has_all = !error && talk->has_all && !talk->is_last_word && !attempt->told;

    if (error && sock_would_block(error))
        return false;
    if (error && error != -EBADMSG) {
        *ret_outcome = fail(attempt, -error);
        return true;
    }
    drop_talk(attempt);
    if (has_all)
        attempt_close(attempt);
    else
        take_leave(attempt);
    attempt->error = -error;
    *ret_outcome = error ? HEALTH_FAILED : HEALTH_OK;
    return true;
}

static bool end_connect(struct attempt *attempt, uint32_t bits, enum health_outcome *ret_outcome)
{
    int error = take_result(attempt, bits);

    if (error) {
        *ret_outcome = fail(attempt, error);
        return true;
    }
    if (attempt->send_proxy)
        error = announce(attempt->source.fd, attempt->send_proxy);
    if (error) {
        *ret_outcome = fail(attempt, error);
        return true;
    }
    if (attempt->talk) {
        attempt->state = ATTEMPT_TALKING;
        return end_talk(attempt, converse_open(attempt), ret_outcome);
    }
    if (attempt->watches) {
        attempt->state = ATTEMPT_WATCHING;
        return watch(attempt, ret_outcome);
    }
    *ret_outcome = attempt_settle(attempt);
    return true;
}

static bool end_asking(struct attempt *attempt, enum health_outcome *ret_outcome)
{
    int error = datagram_hear(attempt);

    if (error && sock_would_block(error))
        return false;
    if (error) {
        *ret_outcome = fail(attempt, -error);
        return true;
    }
    attempt_close(attempt);
    *ret_outcome = HEALTH_OK;
    return true;
}

bool attempt_on_event(struct attempt *attempt, uint32_t bits, enum health_outcome *ret_outcome)
{
    attempt->told |= bits & ~(uint32_t)EPOLLOUT;
    switch (attempt->state) {
    case ATTEMPT_IDLE:
    case ATTEMPT_RUNNING:
        return false;
    case ATTEMPT_CONNECTING:
        return bits & (EPOLLOUT | EPOLLERR | EPOLLHUP) && end_connect(attempt, bits, ret_outcome);
    case ATTEMPT_WATCHING:
        return watch(attempt, ret_outcome);
    case ATTEMPT_ASKING:
        return end_asking(attempt, ret_outcome);
    case ATTEMPT_TALKING:
        return end_talk(attempt, converse(attempt), ret_outcome);
    case ATTEMPT_LINGERING:
        drain(attempt);
        return false;
    }
    return false;
}

/* What stands at the socket comes first: a send would take the error of an ICMP message for its
 * own. An error of the send itself is no news, as the first question is on its way. */
bool attempt_repeat(struct attempt *attempt, enum health_outcome *ret_outcome)
{
    if (end_asking(attempt, ret_outcome))
        return true;
    datagram_ask(attempt);
    return false;
}

enum health_outcome attempt_give_up(struct attempt *attempt)
{
    if (attempt->has_strays)
        attempt->reason = "no answer to the query, only other datagrams";
    if (attempt->talk)
        attempt->waiting =
            attempt->state == ATTEMPT_TALKING ? " waiting for the answer" : " connecting";
    if (attempt->state == ATTEMPT_TALKING)
        converse_keep_reason(attempt, talk_give_up(attempt->talk));
    return fail(attempt, ETIMEDOUT);
}

void attempt_close(struct attempt *attempt)
{
    loop_close(&attempt->source);
    drop_talk(attempt);
    attempt->state = ATTEMPT_IDLE;
}
