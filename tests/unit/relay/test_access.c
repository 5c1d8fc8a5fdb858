#include "lb4/relay/access.h"

#include <fcntl.h>
#include <stdio.h>

#include "lb4/base/log.h"

#include "rig.h"

enum { N_CONNS = 4, INTERVAL_MS = 1000, TEXT_MAX = 1 << 17 };

static struct stage {
    struct rig rig;
    struct addr at;
    int listener;
    int log[2];
    char text[TEXT_MAX];
} stage;

static bool has_no_memory;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
    return has_no_memory ? NULL : __real_malloc(size);
}

static struct rig *const rig = &stage.rig;

static void set_access(bool is_on, uint64_t interval_ms)
{
    struct service *service = rig->services.services;

    service->plan->logs_access = is_on;
    service->plan->access_ns = interval_ms * CLOCK_NS_PER_MS;
    assert_int_equal(tcp_relay_adopt(&rig->relay, service), 0);
}

static int set_up(void **state)
{
    (void)state;
    if (pipe(stage.log) < 0)
        return -1;
    fcntl(stage.log[0], F_SETFL, O_NONBLOCK);
    log_set_level(LOG_LEVEL_INFO);
    if (log_start(stage.log[1], NULL) < 0)
        return -1;
    stage.listener = sockets_listen(&stage.at);
    rig_open(rig, &stage.at, 1, 0);
    strcpy(rig->services.services->backends[0].name, "s1");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rig_close(rig);
    close(stage.listener);
    log_stop();
    close(stage.log[0]);
    close(stage.log[1]);
    return 0;
}

/* What has been logged since the last time. */
static const char *said(void)
{
    size_t used = 0;
    ssize_t n;

    while ((n = read(stage.log[0], stage.text + used, TEXT_MAX - 1 - used)) > 0)
        used += (size_t)n;
    stage.text[used] = '\0';
    return stage.text;
}

static size_t count(const char *text, const char *what)
{
    size_t n = 0;

    while ((text = strstr(text, what))) {
        text++;
        n++;
    }
    return n;
}

/* One connection that has passed three bytes one way and two the other. */
static void pass_and_end(void)
{
    int client = rig_client(rig);
    int server = rig_server(rig, stage.listener);

    rig_until_relaying(rig);
    rig_pass(rig, client, server, 3);
    rig_pass(rig, server, client, 2);
    rig_advance(rig, 200);
    close(client);
    rig_expect(rig, server, 0);
    close(server);
    rig_until_ended(rig);
}

/* However slow the machine: what comes after the connect takes 200 ms by the relay's clock. */
static void assert_times(const char *line)
{
    static const double ROUNDING = 0.01; /* numbers have three digits */
    const char *times = strstr(line, " queue_ms=");
    double queue;
    double connect;
    double total;

    assert_non_null(times);
    assert_int_equal(
        sscanf(times, " queue_ms=%lf connect_ms=%lf total_ms=%lf ", &queue, &connect, &total), 3);
    assert_true(queue >= 0 && connect >= 0);
    assert_true(total >= (200 + queue + connect) * (1 - ROUNDING));
}

static void test_a_line_at_the_end(void **state)
{
    char at[ADDR_TEXT_MAX];
    const char *line;

    (void)state;
    set_access(true, 0);
    log_set_level(LOG_LEVEL_DEBUG);
    pass_and_end();
    line = said();
    assert_times(line);
    assert_int_equal(count(line, "\n"), 1); /* no debug line beside it */
    assert_non_null(strstr(line, "INFO main: access client=127.0.0.1:1 service=rig server=s1 "
                                 "listener=127.0.0.1:"));
    assert_non_null(strstr(line, " in=3 out=2 reason=client_fin tries=1\n"));
    assert_null(strstr(line, addr_format(&stage.at, at)));
}

static void test_none_unless_wanted(void **state)
{
    (void)state;
    pass_and_end();
    assert_string_equal(said(), "");
    set_access(true, 0);
    log_set_level(LOG_LEVEL_WARN); /* -q */
    pass_and_end();
    assert_string_equal(said(), "");
    set_access(false, 0);
    log_set_level(LOG_LEVEL_DEBUG);
    pass_and_end();
    assert_non_null(strstr(said(), "DEBUG main: closed service=rig server=s1 client=127.0.0.1:1 "
                                   "reason=client_fin in=3 out=2 ms=2"));
    assert_int_equal(count(stage.text, "\n"), 1);
}

static void test_no_server(void **state)
{
    int client;

    (void)state;
    set_access(true, INTERVAL_MS);
    close(stage.listener);
    client = rig_client(rig);
    rig_until_ended(rig);
    assert_non_null(strstr(said(), " service=rig server=- listener="));
    assert_non_null(strstr(stage.text, " in=0 out=0 reason=connect_failed tries=1\n"));
    close(client);
    stage.listener = sockets_listen(&stage.at);
}

static void test_intervals(void **state)
{
    int client;
    int server;

    (void)state;
    set_access(true, INTERVAL_MS);
    client = rig_client(rig);
    server = rig_server(rig, stage.listener);
    rig_until_relaying(rig);
    rig_pass(rig, client, server, 3);
    rig_advance(rig, INTERVAL_MS / 2);
    assert_string_equal(said(), "");
    for (int i = 0; i < 3; i++) {
        rig_advance(rig, INTERVAL_MS);
        assert_non_null(strstr(said(), " in=3 out=0 reason=live tries=1\n"));
        assert_int_equal(count(stage.text, "\n"), 1);
    }
    assert_true(tcp_next_due_ns(&rig->relay) <= rig->loop.now_ns + INTERVAL_MS * CLOCK_NS_PER_MS);
    close(client);
    rig_expect(rig, server, 0);
    close(server);
    rig_until_ended(rig);
    assert_non_null(strstr(said(), " reason=client_fin "));
    rig_advance(rig, 5 * INTERVAL_MS);
    assert_string_equal(said(), "");
}

/* Of one whose interval gets no memory there is a line at its end; a reload tries once more. */
static void test_an_interval_without_memory(void **state)
{
    int client;
    int server;

    (void)state;
    set_access(true, INTERVAL_MS);
    has_no_memory = true;
    client = rig_client(rig);
    server = rig_server(rig, stage.listener);
    rig_until_relaying(rig);
    has_no_memory = false;
    rig_advance(rig, 5 * INTERVAL_MS);
    assert_string_equal(said(), "");
    set_access(true, 2 * INTERVAL_MS);
    rig_advance(rig, 2 * INTERVAL_MS);
    assert_int_equal(count(said(), "reason=live"), 1);
    tcp_reset_all(&rig->relay, CLOSE_DRAIN);
    tcp_reap(&rig->relay);
    assert_int_equal(count(said(), "reason=drain"), 1);
    close(client);
    close(server);
}

/* At a reload those that are there get an interval, spread over it, or lose it. */
static void test_a_reload(void **state)
{
    int clients[N_CONNS];
    int servers[N_CONNS];

    (void)state;
    for (int i = 0; i < N_CONNS; i++) {
        clients[i] = rig_client(rig);
        servers[i] = rig_server(rig, stage.listener);
        rig_until_relaying(rig);
    }
    set_access(true, INTERVAL_MS);
    for (size_t i = 0; i < N_CONNS; i++) {
        rig_advance(rig, INTERVAL_MS / (N_CONNS + 1));
        assert_in_range(count(said(), "reason=live"), 0, 2);
    }
    rig_advance(rig, INTERVAL_MS / (N_CONNS + 1));
    said();
    rig_advance(rig, INTERVAL_MS);
    assert_int_equal(count(said(), "reason=live"), N_CONNS);
    set_access(true, 3 * INTERVAL_MS);
    rig_advance(rig, 3 * INTERVAL_MS);
    assert_int_equal(count(said(), "reason=live"), N_CONNS);
    set_access(true, 0);
    rig_advance(rig, 10 * INTERVAL_MS);
    assert_string_equal(said(), "");
    tcp_reset_all(&rig->relay, CLOSE_DRAIN);
    tcp_reap(&rig->relay);
    assert_int_equal(count(said(), "reason=drain"), N_CONNS);
    for (int i = 0; i < N_CONNS; i++) {
        close(clients[i]);
        close(servers[i]);
    }
}

/* Nobody reads the log: lines at intervals wait for room, and the worker does not spin. */
static void test_a_full_log(void **state)
{
    uint64_t due_ns;
    int client;
    int server;

    (void)state;
    assert_int_equal(log_register_thread("worker"), 0);
    set_access(true, INTERVAL_MS);
    client = rig_client(rig);
    server = rig_server(rig, stage.listener);
    rig_until_relaying(rig);
    do {
        for (int i = 0; i < 1000; i++)
            log_info("fill");
    } while (log_wait_room(20));
    rig_advance(rig, INTERVAL_MS);
    due_ns = tcp_next_due_ns(&rig->relay);
    assert_true(due_ns > rig->loop.now_ns);
    while (!log_wait_room(1))
        said();
    rig_advance(rig, INTERVAL_MS);
    for (int i = 0; count(said(), "reason=live") == 0; i++) {
        assert_true(i < 5000);
        log_wait_room(1);
        poll(NULL, 0, 1);
    }
    tcp_reset_all(&rig->relay, CLOSE_DRAIN);
    tcp_reap(&rig->relay);
    close(client);
    close(server);
}

#define ACCESS_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ACCESS_TEST(test_a_line_at_the_end),
        ACCESS_TEST(test_none_unless_wanted),
        ACCESS_TEST(test_no_server),
        ACCESS_TEST(test_intervals),
        ACCESS_TEST(test_a_reload),
        ACCESS_TEST(test_a_full_log),
        ACCESS_TEST(test_an_interval_without_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
