#include "lb4/control/http.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "lb4/base/sock.h"

#include "command_rig.h"

/* The control thread's loop, turned by the test; time goes as the test says. */
static struct desk {
    struct loop loop;
    struct http http;
    struct addr at;
    char came[1 << 20];
} desk;

static int prepare(void **state)
{
    char text[HTTP_ERROR_MAX];
    socklen_t n = sizeof(desk.at);

    rig_prepare(state);
    assert_int_equal(loop_init(&desk.loop), 0);
    addr_parse("127.0.0.1", &desk.at);
    http_clear(&desk.http);
    http_end_turn(&desk.http);
    http_close(&desk.http);
    http_clear(&desk.http);
    assert_int_equal(http_open(&desk.http, &desk.at, text), 0);
    assert_int_equal(http_start(&desk.http, &desk.loop, &rig.from), 0);
    assert_int_equal(getsockname(desk.http.door.source.fd, &desk.at.sa, &n), 0);
    return 0;
}

static int finish(void **state)
{
    http_close(&desk.http);
    http_close(&desk.http);
    assert_int_equal(desk.http.n_clients, 0);
    loop_fini(&desk.loop);
    return rig_finish(state);
}

#define DESKED(test) cmocka_unit_test_setup_teardown(test, prepare, finish)

static void turn(void)
{
    size_t n = loop_wait(&desk.loop, 0);

    for (size_t i = 0; i < n; i++) {
        struct source *source = desk.loop.batch[i].source;

        if (source->is_closed)
            continue;
        if (source->kind == SOURCE_HTTP_LISTENER)
            http_on_listener(&desk.http);
        else
            http_on_client(&desk.http, source, desk.loop.batch[i].bits);
    }
    http_end_turn(&desk.http);
}

static void turns(int n)
{
    while (n-- > 0)
        turn();
}

/* So much later. */
static void pass(uint64_t ms)
{
    loop_wait(&desk.loop, 0);
    desk.loop.now_ns += ms * CLOCK_NS_PER_MS;
    desk.loop.told_ns = desk.loop.now_ns;
    http_end_turn(&desk.http);
}

static int enter(void)
{
    int fd = socket(desk.at.sa.sa_family, SOCK_STREAM, 0);

    assert_int_equal(connect(fd, &desk.at.sa, addr_length(&desk.at)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    turns(2);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* What has come up to now, and whether it has ended. */
static const char *hear(int fd, bool *ret_end)
{
    size_t n_bytes = 0;
    ssize_t n;

    turns(3);
    while ((n = recv(fd, desk.came + n_bytes, sizeof(desk.came) - 1 - n_bytes, 0)) > 0) {
        n_bytes += (size_t)n;
        turn();
    }
    desk.came[n_bytes] = '\0';
    *ret_end = n == 0 || errno != EAGAIN;
    return desk.came;
}

static void expect(int fd, const char *begin)
{
    bool has_ended;

    assert_int_equal(strncmp(hear(fd, &has_ended), begin, strlen(begin)), 0);
    assert_true(has_ended);
}

static void expect_silence(int fd)
{
    bool has_ended;

    assert_string_equal(hear(fd, &has_ended), "");
    assert_false(has_ended);
}

static void leave(int fd)
{
    size_t before = desk.http.n_clients;

    close(fd);
    turns(2);
    assert_int_equal(desk.http.n_clients, before - 1);
}

static void test_one_answer(void **state)
{
    int fd = enter();

    (void)state;
    say(fd, "GET /ready HTTP/1.1\r\nHost: a\r\n\r\nGET /ready HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(fd, "HTTP/1.1 200 OK\r\n");
    assert_null(strstr(desk.came + 1, "HTTP/1.1"));
    leave(fd);
}

static void test_byte_by_byte(void **state)
{
    const char *request = "GET /ready HTTP/1.0\r\n\r\n";
    int fd = enter();

    (void)state;
    for (; request[1]; request++) {
        send(fd, request, 1, 0);
        turn();
    }
    expect_silence(fd);
    say(fd, request);
    expect(fd, "HTTP/1.1 200 OK\r\n");
    leave(fd);
}

/* Its side has ended, but it reads. */
static void test_half_closed(void **state)
{
    int fd = enter();

    (void)state;
    say(fd, "GET /ready HTTP/1.0\r\n\r\n");
    shutdown(fd, SHUT_WR);
    expect(fd, "HTTP/1.1 200 OK\r\n");
    assert_int_equal(desk.http.n_clients, 0);
    close(fd);
    fd = enter();
    say(fd, "GET /ready");
    shutdown(fd, SHUT_WR);
    expect(fd, "");
    assert_int_equal(desk.http.n_clients, 0);
    close(fd);
}

/* The answer arrives although much was sent that nobody reads. */
static void test_large_head(void **state)
{
    static char noise[200000];
    size_t n_sent = 0;
    int fd = enter();

    (void)state;
    memset(noise, 'a', sizeof(noise));
    memcpy(noise, "GET / HTTP/1.0\r\nA: ", 19);
    while (n_sent < sizeof(noise)) {
        ssize_t n = send(fd, noise + n_sent, sizeof(noise) - n_sent, MSG_NOSIGNAL);

        n_sent += n > 0 ? (size_t)n : 0;
        turn();
    }
    expect(fd, "HTTP/1.1 431 ");
    leave(fd);
}

static void test_request_in_time(void **state)
{
    int silent = enter();
    int slow = enter();

    (void)state;
    say(slow, "GET /");
    turn();
    pass(4000);
    assert_int_equal(desk.http.n_clients, 2);
    assert_in_range(http_due_ns(&desk.http) - desk.loop.now_ns, 1, 2 * CLOCK_NS_PER_S);
    say(slow, "x");
    turn();
    pass(5500);
    expect(slow, "HTTP/1.1 408 ");
    expect(silent, "");
    close(silent);
    close(slow);
}

/* One that leaves when told so late is closed. */
static void test_leaves_in_time(void **state)
{
    int fd = enter();

    (void)state;
    say(fd, "GET /ready HTTP/1.0\r\n\r\n");
    expect(fd, "HTTP/1.1 200 ");
    assert_int_equal(desk.http.n_clients, 1);
    pass(2000);
    assert_int_equal(desk.http.n_clients, 0);
    close(fd);
}

/* A long answer: so many servers that it fills all buffers. */
static int enter_and_ask(int bytes, const char *request)
{
    int fd = socket(desk.at.sa.sa_family, SOCK_STREAM, 0);

    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    assert_int_equal(connect(fd, &desk.at.sa, addr_length(&desk.at)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    turns(2);
    for (int i = 3; i < 100; i++) { /* ours at the other end, of which nothing else is known */
        struct addr peer;
        struct addr own;
        socklen_t n = sizeof(peer);
        socklen_t m = sizeof(own);

        if (getpeername(i, &peer.sa, &n) == 0 && getsockname(fd, &own.sa, &m) == 0 &&
            addr_equal(&peer, &own))
            setsockopt(i, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    }
    say(fd, request);
    turns(3);
    return fd;
}

static void test_reader_that_never_reads(void **state)
{
    int fd = enter_and_ask(4096, "GET /metrics HTTP/1.0\r\n\r\n");

    (void)state;
    pass(8000);
    assert_int_equal(desk.http.n_clients, 1);
    pass(11000);
    assert_int_equal(desk.http.n_clients, 0);
    close(fd);
}

static void receive_all(int fd)
{
    while (recv(fd, desk.came, sizeof(desk.came), 0) > 0)
        ;
}

/* A little now and then is progress, but not for ever. */
static void test_reader_that_is_slow(void **state)
{
    int fd = enter_and_ask(4096, "GET / HTTP/1.0\r\n\r\n");
    uint64_t skew_ns = 0;

    (void)state;
    for (int i = 1; i <= 7; i++) {
        size_t n;

        receive_all(fd);
        skew_ns += 9000 * CLOCK_NS_PER_MS;
        n = loop_wait(&desk.loop, 100);
        desk.loop.now_ns += skew_ns;
        desk.loop.told_ns = desk.loop.now_ns;
        for (size_t k = 0; k < n; k++)
            http_on_client(&desk.http, desk.loop.batch[k].source, desk.loop.batch[k].bits);
        http_end_turn(&desk.http);
        assert_int_equal(desk.http.n_clients, i < 7);
    }
    close(fd);
}

/* More than one turn's share, with an end behind it: no event tells of what is left. */
static void test_much_noise(void **state)
{
    static char noise[1 << 19];
    const int bytes = sizeof(noise);
    int fd;
    ssize_t n;

    (void)state;
    setsockopt(desk.http.door.source.fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    fd = enter();
    memset(noise, 'x', sizeof(noise));
    n = send(fd, noise, sizeof(noise), MSG_NOSIGNAL);
    assert_true(n > 300000);
    shutdown(fd, SHUT_WR);
    turns(10);
    assert_int_equal(desk.http.n_clients, 0);
    expect(fd, "HTTP/1.1 414 ");
    close(fd);
}

static void test_too_many(void **state)
{
    int fds[HTTP_CLIENTS];
    int more;

    (void)state;
    for (int i = 0; i < HTTP_CLIENTS; i++)
        fds[i] = enter();
    more = socket(desk.at.sa.sa_family, SOCK_STREAM, 0);
    assert_int_equal(connect(more, &desk.at.sa, addr_length(&desk.at)), 0);
    say(more, "GET /ready HTTP/1.0\r\n\r\n");
    turns(2);
    assert_true(recv(more, desk.came, sizeof(desk.came), 0) > 0);
    assert_int_equal(strncmp(desk.came, "HTTP/1.1 503 Service Unavailable\r\n", 34), 0);
    assert_int_equal(recv(more, desk.came, 1, 0), 0); /* an end, no reset */
    close(more);
    assert_int_equal(desk.http.n_clients, HTTP_CLIENTS);
    leave(fds[3]);
    fds[3] = enter();
    say(fds[3], "GET /ready HTTP/1.0\r\n\r\n");
    expect(fds[3], "HTTP/1.1 200 ");
    for (int i = 0; i < HTTP_CLIENTS; i++)
        leave(fds[i]);
}

static int n_with_answers(const int *fds, int n)
{
    int n_found = 0;
    char byte;

    for (int i = 0; i < n; i++)
        n_found += recv(fds[i], &byte, 1, MSG_PEEK) == 1;
    return n_found;
}

/* Whoever else has something to say to the control thread comes in between. */
static void test_one_answer_in_a_turn(void **state)
{
    int fds[3];

    (void)state;
    for (int i = 0; i < 3; i++)
        fds[i] = enter();
    for (int i = 0; i < 3; i++)
        say(fds[i], "GET /metrics HTTP/1.0\r\n\r\n");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(n_with_answers(fds, 3), i);
        turn();
    }
    for (int i = 0; i < 3; i++)
        expect(fds[i], "HTTP/1.1 200 ");
    for (int i = 0; i < 3; i++)
        leave(fds[i]);
}

static void test_resets(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        int fd = enter();

        if (i % 2)
            say(fd, "GET /metrics HTTP/1.0\r\n\r\n");
        if (i % 4 > 1)
            turn();
        sock_reset(fd);
        turns(3);
    }
    assert_int_equal(desk.http.n_clients, 0);
}

/* A name of the public DNS that points to the loopback. */
static void test_rebound_name(void **state)
{
    int fd = enter();

    (void)state;
    say(fd, "GET /status.json HTTP/1.1\r\nHost: rebound.example:9404\r\n\r\n");
    expect(fd, "HTTP/1.1 421 Misdirected Request");
    assert_null(strstr(desk.came, "services"));
    leave(fd);
    desk.http.is_loopback = false;
    fd = enter();
    say(fd, "GET /ready HTTP/1.1\r\nHost: lb4.example:9404\r\n\r\n");
    expect(fd, "HTTP/1.1 200 ");
    leave(fd);
}

static void test_address_in_use(void **state)
{
    char text[HTTP_ERROR_MAX];
    struct http other;

    (void)state;
    http_clear(&other);
    assert_int_equal(http_open(&other, &desk.at, text), -EADDRINUSE);
    assert_non_null(strstr(text, "another process listens there"));
    http_close(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DESKED(test_one_answer),
        DESKED(test_byte_by_byte),
        DESKED(test_half_closed),
        DESKED(test_large_head),
        DESKED(test_request_in_time),
        DESKED(test_leaves_in_time),
        DESKED(test_reader_that_never_reads),
        DESKED(test_reader_that_is_slow),
        DESKED(test_much_noise),
        DESKED(test_too_many),
        DESKED(test_one_answer_in_a_turn),
        DESKED(test_resets),
        DESKED(test_rebound_name),
        DESKED(test_address_in_use),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
