#include "lb4/relay/connect.h"

#include <signal.h>

#include "rig.h"

static struct rig rig;

/* The next n calls of sock_connect() fail with this -errno; with 0, the kernel gives the socket the
 * very port that it connects to. */
static struct {
    int error;
    int n;
} injected;

int __real_sock_connect(const struct addr *to, int *ret_fd);
int __wrap_sock_connect(const struct addr *to, int *ret_fd);

static int connect_to_itself(const struct addr *to)
{
    int fd = socket(to->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, &to->sa, addr_length(to)), 0);
    assert_int_equal(connect(fd, &to->sa, addr_length(to)), -1);
    assert_int_equal(errno, EINPROGRESS);
    return fd;
}

int __wrap_sock_connect(const struct addr *to, int *ret_fd)
{
    if (injected.n > 0) {
        injected.n--;
        if (injected.error)
            return injected.error;
        *ret_fd = connect_to_itself(to);
        return 0;
    }
    return __real_sock_connect(to, ret_fd);
}

static bool is_suspect(size_t server)
{
    return backend_standing(&rig.services.services->backends[server]) & PICK_SUSPECT;
}

static void test_refused_goes_on(void **state)
{
    struct addr at[3] = {sockets_closed_port(), sockets_closed_port()};
    int listener = sockets_listen(&at[2]);
    int client;
    int server;

    (void)state;
    rig_open(&rig, at, 3, 0);
    client = rig_client(&rig);
    server = rig_server(&rig, listener);
    rig_pass(&rig, client, server, 1000);
    assert_int_equal(rig_connect_failures(&rig, 0), 1);
    assert_int_equal(rig_connect_failures(&rig, 1), 1);
    assert_int_equal(rig_connect_failures(&rig, 2), 0);
    assert_true(is_suspect(0) && is_suspect(1) && !is_suspect(2));
    assert_int_equal(mailbox_take(&rig.prober), MAILBOX_SUSPECT);
    assert_int_equal(rig_redispatches(&rig), 2);
    assert_int_equal(backend_active(&rig.services.services->backends[0]), 0);
    assert_int_equal(backend_active(&rig.services.services->backends[2]), 1);
    assert_int_equal(stats_read(&rig.stats.servers[2].connections), 1);
    assert_null(rig_conn(&rig)->tried.bits);
    close(client);
    close(server);
    rig_until_ended(&rig);
    rig_close(&rig);
    close(listener);
}

/* What the client said before, its end too, waits for the server that takes it (F44). */
static void test_early_bytes_and_end_wait(void **state)
{
    struct addr at[2] = {sockets_closed_port()};
    int listener = sockets_listen(&at[1]);
    struct pair pair = sockets_pair(0);
    int server;

    (void)state;
    sockets_send(pair.far, 0, 30000);
    shutdown(pair.far, SHUT_WR);
    rig_open(&rig, at, 2, 0);
    rig_accept_fd(&rig, pair.near, 1);
    server = rig_server(&rig, listener);
    rig_read(&rig, server, 0, 30000);
    rig_expect(&rig, server, 0);
    rig_pass(&rig, server, pair.far, 1000);
    close(server);
    rig_until_ended(&rig);
    rig_check_ended(&rig, CLOSE_CLIENT_FIN, 1);
    rig.n_fds--; /* of the client's end, which was there before */
    rig_close(&rig);
    close(pair.far);
    close(listener);
}

static void test_all_refused(void **state)
{
    struct addr at[] = {sockets_closed_port(), sockets_closed_port(), sockets_closed_port()};
    int client;

    (void)state;
    rig_open(&rig, at, 3, 0);
    client = rig_client(&rig);
    rig_expect(&rig, client, -ECONNRESET);
    assert_int_equal(rig.relay.n_live, 0);
    rig_check_ended(&rig, CLOSE_CONNECT_FAILED, 1);
    assert_int_equal(rig_redispatches(&rig), 2);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(rig_connect_failures(&rig, i), 1);
    close(client);
    rig_close(&rig);
}

/* K15. The client's bytes stay where they are, for the next server. */
static void self_connect_goes_on(const struct addr *first, uint16_t asked_port)
{
    struct addr at[2] = {*first};
    int listener = sockets_listen(&at[1]);
    struct pair pair = sockets_pair(0);
    int server;

    injected.error = 0;
    injected.n = 1;
    sockets_send(pair.far, 0, 1000);
    rig_open(&rig, at, 2, 0);
    rig_accept_fd(&rig, pair.near, asked_port);
    server = rig_server(&rig, listener);
    rig_read(&rig, server, 0, 1000);
    assert_int_equal(injected.n, 0);
    assert_int_equal(rig_connect_failures(&rig, 0), 1);
    assert_true(is_suspect(0) == !addr_lacks_port(first));
    close(pair.far);
    close(server);
    rig_until_ended(&rig);
    rig.n_fds -= 2; /* of the client's connection, which was there before */
    rig_close(&rig);
    close(listener);
}

static void test_self_connect_goes_on(void **state)
{
    struct addr at = sockets_closed_port();
    struct addr no_port = sockets_loopback(0);

    (void)state;
    self_connect_goes_on(&at, 1);
    self_connect_goes_on(&no_port, addr_port(&at));
}

/* --- silent servers --------------------------------------------------------------------------- */

/* A server whose queue is full: further connects hang (K20). */
struct silent {
    int listener_fd;
    int fds[3];
};

static void silent_open(struct silent *silent, struct addr *ret_at)
{
    silent->listener_fd = sockets_listen(ret_at);
    assert_int_equal(listen(silent->listener_fd, 0), 0);
    for (size_t i = 0; i < 3; i++)
        silent->fds[i] = sockets_connect(ret_at);
    sockets_wait(silent->fds[0], POLLOUT);
}

static void silent_close(struct silent *silent)
{
    for (size_t i = 0; i < 3; i++)
        close(silent->fds[i]);
    close(silent->listener_fd);
}

static void test_timed_out_goes_on(void **state)
{
    struct silent silent;
    struct addr at[2];
    int listener = sockets_listen(&at[1]);
    int client;
    int server;

    (void)state;
    silent_open(&silent, &at[0]);
    rig_open(&rig, at, 2, 0);
    client = rig_client(&rig);
    rig_turn(&rig, 20);
    rig_advance(&rig, RIG_CONNECT_MS - 100);
    assert_int_equal(rig_redispatches(&rig), 0);
    assert_int_equal(backend_active(&rig.services.services->backends[0]), 1);
    rig_advance(&rig, 200);
    assert_int_equal(rig_redispatches(&rig), 1);
    assert_int_equal(rig_connect_failures(&rig, 0), 1);
    server = rig_server(&rig, listener);
    rig_pass(&rig, client, server, 1000);
    close(client);
    close(server);
    rig_until_ended(&rig);
    rig_close(&rig);
    silent_close(&silent);
    close(listener);
}

/* `tries` is 2: the third server, silent or not, is not asked for a client's patience. */
static void test_tries_are_limited(void **state)
{
    struct silent silents[3];
    struct addr at[3];
    int client;

    (void)state;
    for (size_t i = 0; i < 3; i++)
        silent_open(&silents[i], &at[i]);
    rig_open(&rig, at, 3, 0);
    client = rig_client(&rig);
    rig_turn(&rig, 20);
    rig_advance(&rig, RIG_CONNECT_MS + 100);
    assert_int_equal(rig.relay.n_live, 1);
    rig_advance(&rig, RIG_CONNECT_MS + 100);
    assert_int_equal(rig.relay.n_live, 0);
    rig_expect(&rig, client, -ECONNRESET);
    rig_check_ended(&rig, CLOSE_CONNECT_FAILED, 1);
    assert_int_equal(rig_connect_failures(&rig, 0), 1);
    assert_int_equal(rig_connect_failures(&rig, 1), 1);
    assert_int_equal(rig_connect_failures(&rig, 2), 0);
    assert_int_equal(rig_redispatches(&rig), 1);
    close(client);
    rig_close(&rig);
    for (size_t i = 0; i < 3; i++)
        silent_close(&silents[i]);
}

/* One that waits between its tries may time out more often than the count can hold: it is over, and
 * does not begin anew. */
static void test_more_time_outs_than_can_be_counted(void **state)
{
    struct silent silents[2];
    struct addr at[2];
    int client;

    (void)state;
    for (size_t i = 0; i < 2; i++)
        silent_open(&silents[i], &at[i]);
    rig_open(&rig, at, 2, 0);
    client = rig_client(&rig);
    rig_turn(&rig, 20);
    container_of(rig.relay.live.next, struct conn, link)->n_timeouts = UINT8_MAX;
    rig_advance(&rig, RIG_CONNECT_MS + 100);
    rig_expect(&rig, client, -ECONNRESET);
    rig_check_ended(&rig, CLOSE_CONNECT_FAILED, 1);
    assert_int_equal(rig_redispatches(&rig), 0);
    close(client);
    rig_close(&rig);
    for (size_t i = 0; i < 2; i++)
        silent_close(&silents[i]);
}

/* Refused servers do not count as tries: after a silent and a refused one, the third is asked. */
static void test_refused_is_no_try(void **state)
{
    struct silent silent;
    struct addr at[3] = {sockets_closed_port(), sockets_closed_port()};
    int listener = sockets_listen(&at[2]);
    int client;
    int server;

    (void)state;
    silent_open(&silent, &at[0]);
    rig_open(&rig, at, 3, 0);
    client = rig_client(&rig);
    rig_turn(&rig, 20);
    rig_advance(&rig, RIG_CONNECT_MS + 100);
    server = rig_server(&rig, listener);
    rig_pass(&rig, client, server, 10);
    assert_int_equal(rig_redispatches(&rig), 2);
    close(client);
    close(server);
    rig_until_ended(&rig);
    rig_close(&rig);
    silent_close(&silent);
    close(listener);
}

static void test_client_resets_while_connecting(void **state)
{
    struct silent silent;
    struct addr at;
    int client;

    (void)state;
    silent_open(&silent, &at);
    rig_open(&rig, &at, 1, 0);
    client = rig_client(&rig);
    rig_turn(&rig, 20);
    assert_int_equal(rig_conn(&rig)->state, CONN_CONNECTING);
    sock_reset(client);
    rig_until_ended(&rig);
    rig_check_ended(&rig, CLOSE_CLIENT_RST, 1);
    assert_int_equal(rig_connect_failures(&rig, 0), 0);
    rig_close(&rig);
    silent_close(&silent);
}

/* What it said before waits a second for the server that is being asked; no other one is. */
static void test_gone_client_does_not_wait_long(void **state)
{
    struct silent silent;
    struct addr at[2];
    int other = sockets_listen(&at[1]);
    int client;

    (void)state;
    silent_open(&silent, &at[0]);
    rig_open(&rig, at, 2, 0);
    client = rig_client(&rig);
    sockets_send(client, 0, 5);
    sockets_wait(rig_conn(&rig)->client.source.fd, POLLIN);
    sock_reset(client);
    sockets_wait(rig_conn(&rig)->client.source.fd, POLLRDHUP);
    rig_turn(&rig, 20);
    rig_advance(&rig, 900);
    assert_int_equal(rig.relay.n_live, 1);
    rig_advance(&rig, 200);
    assert_int_equal(rig.relay.n_live, 0);
    rig_check_ended(&rig, CLOSE_CLIENT_RST, 1);
    assert_int_equal(rig_redispatches(&rig), 0);
    rig_close(&rig);
    silent_close(&silent);
    close(other);
}

static void test_client_end_is_no_abort(void **state)
{
    struct silent silent;
    struct addr at;
    int client;

    (void)state;
    silent_open(&silent, &at);
    rig_open(&rig, &at, 1, 0);
    client = rig_client(&rig);
    shutdown(client, SHUT_WR);
    for (int i = 0; i < 5; i++)
        rig_turn(&rig, 10);
    assert_int_equal(rig.relay.n_live, 1);
    rig_advance(&rig, 2 * RIG_CONNECT_MS);
    rig_check_ended(&rig, CLOSE_CONNECT_FAILED, 1);
    close(client);
    rig_close(&rig);
    silent_close(&silent);
}

/* The client said something and reset before the connect was through: it is still delivered. */
static void test_last_bytes_of_a_client(void **state)
{
    struct addr at;
    int listener = sockets_listen(&at);
    struct pair pair = sockets_pair(0);
    int server;

    (void)state;
    sockets_send(pair.far, 0, 5);
    sockets_wait(pair.near, POLLIN);
    sock_reset(pair.far);
    sockets_wait(pair.near, POLLRDHUP);
    rig_open(&rig, &at, 1, 0);
    rig_accept_fd(&rig, pair.near, 1);
    server = rig_server(&rig, listener);
    rig_read(&rig, server, 0, 5);
    rig_expect(&rig, server, -ECONNRESET);
    rig_until_ended(&rig);
    rig_check_ended(&rig, CLOSE_CLIENT_RST, 1);
    close(server);
    rig.n_fds--;
    rig_close(&rig);
    close(listener);
}

/* --- servers that accept and reset ------------------------------------------------------------ */

/* Accept, say n bytes, reset: all before lb4 takes its first look. */
static void accept_and_reset(int listener, size_t n)
{
    int server = sockets_accept(listener);
    struct patience patience = patience_new();

    sockets_send(server, 0, n);
    while (sock_unacked(server) && patience_holds(&patience))
        ;
    sock_reset(server);
    sockets_wait(rig_conn(&rig)->server.source.fd, POLLRDHUP);
}

static void test_last_words_before_the_first_look(void **state)
{
    struct addr at[2];
    int listener = sockets_listen(&at[0]);
    int other = sockets_listen(&at[1]);
    int client;

    (void)state;
    rig_open(&rig, at, 2, 0);
    client = rig_client(&rig);
    accept_and_reset(listener, 20);
    rig_read(&rig, client, 0, 20);
    rig_expect(&rig, client, -ECONNRESET);
    rig_until_ended(&rig);
    rig_check_ended(&rig, CLOSE_SERVER_RST, 1);
    assert_int_equal(rig_redispatches(&rig), 0);
    close(client);
    rig_close(&rig);
    close(listener);
    close(other);
}

static void test_mute_reset_goes_on(void **state)
{
    struct addr at[2];
    int listener = sockets_listen(&at[0]);
    int other = sockets_listen(&at[1]);
    int client;
    int server;

    (void)state;
    rig_open(&rig, at, 2, 0);
    client = rig_client(&rig);
    accept_and_reset(listener, 0);
    server = rig_server(&rig, other);
    rig_pass(&rig, client, server, 10);
    assert_int_equal(rig_connect_failures(&rig, 0), 1);
    close(client);
    close(server);
    rig_until_ended(&rig);
    rig_close(&rig);
    close(listener);
    close(other);
}

static void test_mute_reset_of_the_only_server(void **state)
{
    struct addr at;
    int listener = sockets_listen(&at);
    int client;

    (void)state;
    rig_open(&rig, &at, 1, 0);
    client = rig_client(&rig);
    accept_and_reset(listener, 0);
    rig_expect(&rig, client, -ECONNRESET);
    rig_check_ended(&rig, CLOSE_SERVER_RST, 1);
    close(client);
    rig_close(&rig);
    close(listener);
}

/* The server at `listener` takes the connection, which is relayed from then on. */
static int until_relaying(int listener)
{
    int server = rig_server(&rig, listener);

    rig_until_relaying(&rig);
    return server;
}

/* Its reset came after the first look, but before any byte: nothing is lost with another one. */
static void test_spurned_goes_on(void **state)
{
    struct addr at[3] = {sockets_closed_port()};
    int listener = sockets_listen(&at[1]);
    int other = sockets_listen(&at[2]);
    int client;
    int server;

    (void)state;
    rig_open(&rig, at, 3, 0);
    client = rig_client(&rig);
    sock_reset(until_relaying(listener));
    server = rig_server(&rig, other);
    rig_pass(&rig, client, server, 1000);
    rig_pass(&rig, server, client, 1000);
    assert_int_equal(rig_connect_failures(&rig, 1), 1);
    assert_int_equal(rig_redispatches(&rig), 2);
    assert_true(is_suspect(1) && !is_suspect(2));
    assert_int_equal(backend_active(&rig.services.services->backends[1]), 0);
    assert_null(rig_conn(&rig)->tried.bits);
    close(client);
    close(server);
    rig_until_ended(&rig);
    rig_close(&rig);
    close(listener);
    close(other);
}

/* Two that both do so are asked once each. */
static void test_spurned_by_all(void **state)
{
    struct addr at[2];
    int listeners[2] = {sockets_listen(&at[0]), sockets_listen(&at[1])};
    int client;

    (void)state;
    rig_open(&rig, at, 2, 0);
    client = rig_client(&rig);
    sock_reset(until_relaying(listeners[0]));
    sock_reset(rig_server(&rig, listeners[1]));
    rig_expect(&rig, client, -ECONNRESET);
    rig_check_ended(&rig, CLOSE_SERVER_RST, 1);
    assert_int_equal(rig_connect_failures(&rig, 0) + rig_connect_failures(&rig, 1), 2);
    close(client);
    rig_close(&rig);
    close(listeners[0]);
    close(listeners[1]);
}

static bool is_doubted(size_t server)
{
    return backend_standing(&rig.services.services->backends[server]) & PICK_DOUBT;
}

/* `n` bytes of the client's have reached the server, or so much time has passed: the reset is the
 * server's answer, and the client's. One that comes at once is a reason to look at the server. */
static void check_reset_is_an_answer(size_t n, uint64_t ms)
{
    struct addr at[2];
    int listener = sockets_listen(&at[0]);
    int other = sockets_listen(&at[1]);
    int client;
    int server;

    rig_open(&rig, at, 2, 0);
    client = rig_client(&rig);
    server = until_relaying(listener);
    if (n)
        rig_pass(&rig, client, server, n);
    rig_advance(&rig, ms);
    sock_reset(server);
    rig_expect(&rig, client, -ECONNRESET);
    rig_check_ended(&rig, CLOSE_SERVER_RST, 1);
    assert_int_equal(rig_redispatches(&rig), 0);
    assert_false(is_suspect(0));
    assert_int_equal(is_doubted(0), ms == 0);
    close(client);
    rig_close(&rig);
    close(listener);
    close(other);
}

static void test_a_later_reset_is_an_answer(void **state)
{
    (void)state;
    check_reset_is_an_answer(0, 1100);
    check_reset_is_an_answer(1, 0);
}

/* The client resets in the same moment: there is nobody to find another server for. */
static void test_spurned_and_gone(void **state)
{
    struct addr at[2];
    int listener = sockets_listen(&at[0]);
    int other = sockets_listen(&at[1]);
    int client;
    int server;

    (void)state;
    rig_open(&rig, at, 2, 0);
    client = rig_client(&rig);
    server = until_relaying(listener);
    sock_reset(client);
    sock_reset(server);
    rig_until_ended(&rig);
    assert_int_equal(rig_redispatches(&rig), 0);
    rig_close(&rig);
    close(listener);
    close(other);
}

/* --- errors of connect(2) itself -------------------------------------------------------------- */

static void connect_fails(int error, uint64_t n_failures)
{
    struct addr at[2];
    int listener = sockets_listen(&at[0]);
    int other = sockets_listen(&at[1]);
    struct pair pair = sockets_pair(0);
    int server;

    rig_open(&rig, at, 2, 0);
    injected.error = error;
    injected.n = 1;
    rig_accept_fd(&rig, pair.near, 1);
    server = rig_server(&rig, other);
    rig_pass(&rig, pair.far, server, 10);
    assert_int_equal(rig_connect_failures(&rig, 0), n_failures);
    assert_int_equal(rig_redispatches(&rig), 1);
    close(server);
    tcp_reset_all(&rig.relay, CLOSE_ADMIN);
    tcp_reap(&rig.relay);
    rig.n_fds--;
    rig_close(&rig);
    close(pair.far);
    close(listener);
    close(other);
}

/* Our own trouble is not held against a server. */
static void test_blame(void **state)
{
    (void)state;
    connect_fails(-ENETUNREACH, 1);
    connect_fails(-ECONNREFUSED, 1);
    connect_fails(-EADDRNOTAVAIL, 0);
    connect_fails(-EMFILE, 0);
}

static void test_no_server_can_be_asked(void **state)
{
    struct addr at[2] = {sockets_loopback(1), sockets_loopback(2)};
    struct pair pair = sockets_pair(0);

    (void)state;
    rig_open(&rig, at, 2, 0);
    injected.error = -EADDRNOTAVAIL;
    injected.n = 2;
    rig_accept_fd(&rig, pair.near, 1);
    tcp_reap(&rig.relay);
    assert_int_equal(rig.relay.n_live, 0);
    rig_expect(&rig, pair.far, -ECONNRESET);
    rig_check_ended(&rig, CLOSE_CONNECT_FAILED, 1);
    assert_int_equal(rig_connect_failures(&rig, 0) + rig_connect_failures(&rig, 1), 0);
    assert_true(!is_suspect(0) && !is_suspect(1));
    assert_int_equal(mailbox_take(&rig.prober), 0);
    rig.n_fds--;
    rig_close(&rig);
    close(pair.far);
}

/* A server without a port gets the one that the client asked for. */
static void test_asked_port(void **state)
{
    struct addr at;
    struct addr portless = sockets_loopback(0);
    int listener = sockets_listen(&at);
    struct pair pair = sockets_pair(0);
    int server;

    (void)state;
    rig_open(&rig, &portless, 1, 0);
    rig_accept_fd(&rig, pair.near, addr_port(&at));
    server = rig_server(&rig, listener);
    rig_pass(&rig, pair.far, server, 10);
    assert_int_equal(addr_port(&rig.services.services->backends[0].addr), 0);
    tcp_reset_all(&rig.relay, CLOSE_ADMIN);
    tcp_reap(&rig.relay);
    close(server);
    rig.n_fds--;
    rig_close(&rig);
    close(pair.far);
    close(listener);
}

/* The prober is told once, however many clients meet the server before it has looked. */
static void test_evidence_is_posted_once(void **state)
{
    struct addr at = sockets_closed_port();

    (void)state;
    rig_open(&rig, &at, 1, 0);
    for (int i = 0; i < 2; i++) {
        int client = rig_client(&rig);

        rig_expect(&rig, client, -ECONNRESET);
        close(client);
        assert_int_equal(mailbox_take(&rig.prober), i == 0 ? MAILBOX_SUSPECT : 0);
        assert_true(is_suspect(0));
    }
    rig_close(&rig);
}

/* Those who began while the server was silent wait out their time: it has been back for long. */
static void test_old_evidence_is_no_evidence(void **state)
{
    struct silent silent;
    struct addr at;
    int client;

    (void)state;
    silent_open(&silent, &at);
    rig_open(&rig, &at, 1, 0);
    client = rig_client(&rig);
    backend_exonerate(&rig.services.services->backends[0]);
    rig_advance(&rig, RIG_CONNECT_MS);
    rig_expect(&rig, client, -ECONNRESET);
    assert_int_equal(rig_connect_failures(&rig, 0), 1);
    assert_false(is_suspect(0));
    assert_int_equal(mailbox_take(&rig.prober), 0);
    close(client);
    client = rig_client(&rig);
    rig_advance(&rig, RIG_CONNECT_MS);
    rig_expect(&rig, client, -ECONNRESET);
    assert_true(is_suspect(0));
    close(client);
    rig_close(&rig);
    silent_close(&silent);
}

/* A suspect whose connect succeeds is reported, once. */
static void test_a_suspect_is_proven(void **state)
{
    struct addr at;
    int listener = sockets_listen(&at);

    (void)state;
    rig_open(&rig, &at, 1, 0);
    for (int i = 0; i < 3; i++) {
        int client;
        int server;

        if (i == 1)
            backend_set(&rig.services.services->backends[0], PICK_SUSPECT);
        client = rig_client(&rig);
        server = rig_server(&rig, listener);
        rig_pass(&rig, client, server, 1000);
        assert_int_equal(mailbox_take(&rig.prober), i == 1 ? MAILBOX_SUSPECT : 0);
        assert_int_equal(!!(backend_standing(&rig.services.services->backends[0]) & PICK_PROVEN),
                         i > 0);
        close(client);
        close(server);
        rig_until_ended(&rig);
    }
    rig_close(&rig);
    close(listener);
}

/* A client may ask for any port of a range: where nobody listens it says nothing about the rest. */
static void test_an_asked_port_is_no_evidence(void **state)
{
    struct addr at = sockets_closed_port();
    struct addr portless = sockets_loopback(0);
    struct pair pair = sockets_pair(0);

    (void)state;
    rig_open(&rig, &portless, 1, 0);
    rig_accept_fd(&rig, pair.near, addr_port(&at));
    rig_expect(&rig, pair.far, -ECONNRESET);
    assert_int_equal(rig_connect_failures(&rig, 0), 1);
    assert_false(is_suspect(0));
    assert_int_equal(mailbox_take(&rig.prober), 0);
    rig.n_fds--;
    rig_close(&rig);
    close(pair.far);
}

/* --- a busy Unix socket ----------------------------------------------------------------------- */

/* Its own connect is not one of those that fail. */
static int busy_client(void)
{
    int n = injected.n;
    struct pair pair;

    injected.n = 0;
    pair = sockets_pair(0);
    injected.n = n;
    rig_accept_fd(&rig, pair.near, 1);
    return pair.far;
}

static int busy_open(int n)
{
    struct addr at;

    addr_unix(0, &at);
    rig_open(&rig, &at, 1, 0);
    injected.error = -EAGAIN;
    injected.n = n;
    return busy_client();
}

static void busy_close(int client)
{
    injected.n = 0;
    close(client);
    rig_close(&rig);
}

static void check_waits(int n_left)
{
    assert_int_equal(injected.n, n_left);
    assert_int_equal(rig.relay.n_live, 1);
    assert_null(rig_conn(&rig)->backend);
    assert_int_equal(backend_active(&rig.services.services->backends[0]), 0);
}

static void test_busy_is_asked_again_and_times_out(void **state)
{
    int client = busy_open(1000);

    (void)state;
    check_waits(999);
    rig_advance(&rig, 10);
    check_waits(998);
    rig_advance(&rig, RIG_CONNECT_MS - 20);
    check_waits(997);
    rig_advance(&rig, 10);
    assert_int_equal(injected.n, 996);
    rig_expect(&rig, client, -ECONNRESET);
    rig_check_ended(&rig, CLOSE_CONNECT_FAILED, 1);
    assert_int_equal(rig_connect_failures(&rig, 0), 1);
    assert_int_equal(rig_redispatches(&rig), 0);
    assert_false(is_suspect(0));
    assert_int_equal(mailbox_take(&rig.prober), 0);
    busy_close(client);
}

/* Many that wait cost a turn one connect. */
static void test_busy_is_asked_once_a_turn(void **state)
{
    int first = busy_open(1000);
    int second = busy_client();

    (void)state;
    rig_advance(&rig, 20);
    assert_int_equal(injected.n, 998);
    sock_reset(first);
    sock_reset(second);
    rig_until_ended(&rig);
    rig_check_ended(&rig, CLOSE_CLIENT_RST, 2);
    injected.n = 0;
    rig_close(&rig);
}

/* Its end is no abort: what it will read is the answer (F44). */
static void test_client_end_waits_for_a_busy_server(void **state)
{
    struct patience patience = patience_new();
    int client = busy_open(1000);

    (void)state;
    shutdown(client, SHUT_WR);
    while (!rig_conn(&rig)->client.has_hangup && patience_holds(&patience))
        rig_turn(&rig, 1);
    rig_advance(&rig, 10);
    assert_int_equal(rig.relay.n_live, 1);
    rig_advance(&rig, RIG_CONNECT_MS);
    rig_check_ended(&rig, CLOSE_CONNECT_FAILED, 1);
    busy_close(client);
}

/* No connect is under way that could deliver what it has said. */
static void test_client_resets_while_its_server_is_busy(void **state)
{
    struct patience patience = patience_new();
    int client = busy_open(1000);

    (void)state;
    sockets_send(client, 0, 100);
    sock_reset(client);
    while (rig.relay.n_live > 0 && !rig_conn(&rig)->client.error && patience_holds(&patience))
        rig_turn(&rig, 1);
    assert_int_equal(rig.relay.n_live, 0);
    rig_check_ended(&rig, CLOSE_CLIENT_RST, 1);
    injected.n = 0;
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_goes_on),
        cmocka_unit_test(test_early_bytes_and_end_wait),
        cmocka_unit_test(test_all_refused),
        cmocka_unit_test(test_self_connect_goes_on),
        cmocka_unit_test(test_timed_out_goes_on),
        cmocka_unit_test(test_tries_are_limited),
        cmocka_unit_test(test_more_time_outs_than_can_be_counted),
        cmocka_unit_test(test_refused_is_no_try),
        cmocka_unit_test(test_client_resets_while_connecting),
        cmocka_unit_test(test_gone_client_does_not_wait_long),
        cmocka_unit_test(test_client_end_is_no_abort),
        cmocka_unit_test(test_last_bytes_of_a_client),
        cmocka_unit_test(test_last_words_before_the_first_look),
        cmocka_unit_test(test_mute_reset_goes_on),
        cmocka_unit_test(test_mute_reset_of_the_only_server),
        cmocka_unit_test(test_spurned_goes_on),
        cmocka_unit_test(test_spurned_by_all),
        cmocka_unit_test(test_a_later_reset_is_an_answer),
        cmocka_unit_test(test_spurned_and_gone),
        cmocka_unit_test(test_blame),
        cmocka_unit_test(test_no_server_can_be_asked),
        cmocka_unit_test(test_asked_port),
        cmocka_unit_test(test_evidence_is_posted_once),
        cmocka_unit_test(test_old_evidence_is_no_evidence),
        cmocka_unit_test(test_a_suspect_is_proven),
        cmocka_unit_test(test_an_asked_port_is_no_evidence),
        cmocka_unit_test(test_busy_is_asked_again_and_times_out),
        cmocka_unit_test(test_busy_is_asked_once_a_turn),
        cmocka_unit_test(test_client_end_waits_for_a_busy_server),
        cmocka_unit_test(test_client_resets_while_its_server_is_busy),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
