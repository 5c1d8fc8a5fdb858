/* Control's side of it, without workers: which steps there are, what is bound, what is left. That
 * workers take them: test_accept.c, test_udp_side.c. */
#include "lb4/shared/service_table.h"
#include "lb4/worker/listener_change.h"

#include <errno.h>
#include <stdlib.h>

#include "lb4/conf/memory.h"

#include "../conf/conf_text.h"
#include "../relay/sockets.h"

enum { N_WORKERS = 2, TEXT_MAX = 4096 };

static struct rig {
    struct service_table services;
    struct listener_table table;
    struct listener_change change;
    struct addr ports[4];
    struct service *by_conf[2]; /* "a" and "b" */
    size_t n_fds;
} rig;

static char error_text[LISTENER_ERROR_MAX];

/* Services a and b, with these listen lines. */
static void read_conf(struct conf *conf, const char *a, const char *b)
{
    char text[TEXT_MAX];

    snprintf(text, sizeof(text),
             "service a {\n%s\n server s 127.0.0.1:1\n}\n"
             "service b {\n%s\n server s 127.0.0.1:1\n}\n",
             a, b);
    conf_text_accept(text, conf);
}

static const char *listen_at(int which, const char *transport)
{
    static char lines[8][80];
    static int next;
    char *line = lines[next++ % 8];

    snprintf(line, sizeof(lines[0]), " listen %s 127.0.0.1:%u\n", transport,
             addr_port(&rig.ports[which]));
    return line;
}

static const char *both(const char *first, const char *second)
{
    static char lines[4][200];
    static int next;
    char *text = lines[next++ % 4];

    snprintf(text, sizeof(lines[0]), "%s%s", first, second);
    return text;
}

static void open_table(const char *a, const char *b)
{
    const struct listener_table_options options = {.n_workers = N_WORKERS};
    struct conf conf;

    read_conf(&conf, a, b);
    assert_int_equal(service_table_init(&rig.services, &conf), 0);
    assert_int_equal(listener_table_open(&rig.table, &conf, &rig.services, &options, error_text),
                     0);
    for (size_t i = 0; i < 2; i++)
        rig.by_conf[i] = &rig.services.services[i];
    conf_free(&conf);
}

static int prepare(const char *a, const char *b)
{
    struct conf conf;
    int error;

    read_conf(&conf, a, b);
    error = listener_change_prepare(&rig.change, &rig.table, &conf, rig.by_conf, error_text);
    conf_free(&conf);
    return error;
}

static void finish(uint64_t leave_by_ns)
{
    listener_change_commit(&rig.change, leave_by_ns);
    listener_change_end(&rig.change);
}

static int setup(void **state)
{
    (void)state;
    rig = (struct rig){.n_fds = sockets_count_fds()};
    for (size_t i = 0; i < 4; i++)
        rig.ports[i] = sockets_closed_port();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    listener_table_close(&rig.table);
    service_table_fini(&rig.services);
    return sockets_count_fds() == rig.n_fds ? 0 : -1;
}

static void check_step(size_t n, enum listener_verb verb, size_t listener, const char *service)
{
    const struct listener_step *step = &rig.change.steps[n];

    assert_true(n < rig.change.n_steps);
    assert_int_equal(step->verb, verb);
    assert_int_equal(step->listener, listener);
    if (service)
        assert_string_equal(step->service->name, service);
    else
        assert_null(step->service);
}

static int fd_of(size_t listener, size_t worker)
{
    return rig.table.fds[listener * N_WORKERS + worker];
}

static bool answers(int which)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_there = connect(fd, &rig.ports[which].sa, addr_length(&rig.ports[which])) == 0;

    close(fd);
    return is_there;
}

static void test_same_is_no_step(void **state)
{
    int fds[2];

    (void)state;
    open_table(listen_at(0, "both"), listen_at(1, "tcp"));
    fds[0] = fd_of(0, 0);
    fds[1] = fd_of(0, 1);
    assert_int_equal(prepare(listen_at(0, "both"), listen_at(1, "tcp")), 0);
    assert_int_equal(rig.change.n_steps, 0);
    finish(0);
    assert_int_equal(fd_of(0, 0), fds[0]);
    assert_int_equal(fd_of(0, 1), fds[1]);
    assert_int_equal(listener_table_due_ns(&rig.table), UINT64_MAX);
}

static void test_add_and_remove(void **state)
{
    (void)state;
    open_table(listen_at(0, "tcp"), listen_at(1, "tcp"));
    assert_int_equal(prepare(listen_at(0, "tcp"), listen_at(2, "tcp")), 0);
    assert_int_equal(rig.change.n_steps, 2);
    check_step(0, LISTENER_STEP_LEAVE, 1, NULL);
    check_step(1, LISTENER_STEP_OPEN, 2, "b");
    assert_true(fd_of(2, 0) >= 0 && fd_of(2, 1) >= 0);
    assert_true(answers(1)); /* nothing is touched yet */
    listener_change_commit(&rig.change, 5);
    assert_int_equal(rig.table.listeners[1].state, LISTENER_LEAVING);
    assert_int_equal(listener_table_due_ns(&rig.table), UINT64_MAX); /* TCP leaves at once */
    listener_change_end(&rig.change);
    assert_int_equal(rig.table.listeners[1].state, LISTENER_NONE);
    assert_false(answers(1));
    assert_true(answers(2));
    /* The free place is taken first. */
    assert_int_equal(prepare(both(listen_at(0, "tcp"), listen_at(3, "tcp")), listen_at(2, "tcp")),
                     0);
    check_step(0, LISTENER_STEP_OPEN, 1, "a");
    finish(0);
    assert_int_equal(rig.table.n_listeners, 3);
}

static void test_move(void **state)
{
    int fd;

    (void)state;
    open_table(both(listen_at(0, "tcp"), listen_at(2, "tcp")), listen_at(1, "tcp"));
    fd = fd_of(1, 0);
    assert_string_equal(rig.table.listeners[1].service->name, "a");
    assert_int_equal(prepare(listen_at(0, "tcp"), both(listen_at(1, "tcp"), listen_at(2, "tcp"))),
                     0);
    assert_int_equal(rig.change.n_steps, 1);
    check_step(0, LISTENER_STEP_MOVE, 1, "b");
    finish(0);
    assert_int_equal(fd_of(1, 0), fd);
    assert_string_equal(rig.table.listeners[1].service->name, "b");
}

/* UDP leaves slowly, may come back before it has gone, and is closed when its time is over. */
static void test_udp_leaves_and_stays(void **state)
{
    (void)state;
    open_table(both(listen_at(0, "tcp"), listen_at(2, "udp")), listen_at(1, "tcp"));
    assert_int_equal(rig.table.listeners[2].transport, CONF_UDP);
    assert_int_equal(prepare(listen_at(0, "tcp"), listen_at(1, "tcp")), 0);
    check_step(0, LISTENER_STEP_LEAVE, 2, NULL);
    finish(50);
    assert_int_equal(rig.table.listeners[2].state, LISTENER_LEAVING);
    assert_int_equal(listener_table_due_ns(&rig.table), 50);
    /* A further change lets it alone. */
    assert_int_equal(prepare(listen_at(0, "tcp"), listen_at(1, "tcp")), 0);
    assert_int_equal(rig.change.n_steps, 0);
    finish(70);
    assert_int_equal(listener_table_due_ns(&rig.table), 50);
    /* Another service wants it. */
    assert_int_equal(prepare(listen_at(0, "tcp"), both(listen_at(1, "tcp"), listen_at(2, "udp"))),
                     0);
    check_step(0, LISTENER_STEP_STAY, 2, "b");
    finish(0);
    assert_int_equal(rig.table.listeners[2].state, LISTENER_OPEN);
    assert_int_equal(prepare(listen_at(0, "tcp"), listen_at(1, "tcp")), 0);
    finish(90);
    assert_int_equal(listener_change_close(&rig.change, &rig.table, 89), 0);
    assert_int_equal(rig.change.n_steps, 0);
    finish(0);
    assert_int_equal(listener_change_close(&rig.change, &rig.table, 90), 0);
    check_step(0, LISTENER_STEP_CLOSE, 2, NULL);
    finish(0);
    assert_int_equal(rig.table.listeners[2].state, LISTENER_NONE);
    assert_int_equal(fd_of(2, 0), -1);
    assert_int_equal(listener_table_due_ns(&rig.table), UINT64_MAX);
}

/* Who has the port of a listener of UDP that leaves, on its address or on all. */
static void test_heir_of_udp(void **state)
{
    char any[40];

    (void)state;
    snprintf(any, sizeof(any), " listen udp :%u\n", addr_port(&rig.ports[2]));
    open_table(listen_at(2, "udp"), listen_at(1, "udp"));
    assert_int_equal(prepare(any, listen_at(0, "udp")), 0);
    assert_int_equal(rig.change.n_steps, 4);
    check_step(0, LISTENER_STEP_LEAVE, 0, NULL);
    check_step(1, LISTENER_STEP_LEAVE, 1, NULL);
    check_step(2, LISTENER_STEP_OPEN, 2, "a");
    assert_true(rig.change.steps[0].has_heir);
    assert_int_equal(rig.change.steps[0].heir, 2);
    assert_false(rig.change.steps[1].has_heir);
    finish(0);
    /* Nobody has all addresses. */
    assert_int_equal(prepare(listen_at(3, "udp"), listen_at(0, "udp")), 0);
    assert_false(rig.change.steps[0].has_heir);
    finish(0);
}

/* The transports of one port are two listeners. */
static void test_half_of_both(void **state)
{
    (void)state;
    open_table(listen_at(0, "both"), listen_at(1, "tcp"));
    assert_int_equal(prepare(listen_at(0, "udp"), both(listen_at(1, "tcp"), listen_at(0, "tcp"))),
                     0);
    assert_int_equal(rig.change.n_steps, 1);
    check_step(0, LISTENER_STEP_MOVE, 0, "b");
    finish(0);
}

/* ":port" where an address has the port, and the other way: another socket, beside the old one. */
static void test_dual_stack_beside_an_address(void **state)
{
    char any[40];

    (void)state;
    snprintf(any, sizeof(any), " listen tcp :%u\n", addr_port(&rig.ports[0]));
    open_table(listen_at(0, "tcp"), listen_at(1, "tcp"));
    assert_int_equal(prepare(any, listen_at(1, "tcp")), 0);
    assert_int_equal(rig.change.n_steps, 2);
    check_step(0, LISTENER_STEP_LEAVE, 0, NULL);
    check_step(1, LISTENER_STEP_OPEN, 2, "a");
    finish(0);
    assert_true(answers(0));
    assert_int_equal(prepare(listen_at(0, "tcp"), listen_at(1, "tcp")), 0);
    check_step(0, LISTENER_STEP_LEAVE, 2, NULL);
    check_step(1, LISTENER_STEP_OPEN, 0, "a");
    finish(0);
    assert_true(answers(0));
}

static void test_error_leaves_nothing(void **state)
{
    size_t n_fds;
    int other = sock_listen(&rig.ports[3], &(struct sock_listen_options){0});

    (void)state;
    open_table(listen_at(0, "tcp"), listen_at(1, "tcp"));
    n_fds = sockets_count_fds();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(
            prepare(both(listen_at(2, "both"), listen_at(3, "tcp")), listen_at(0, "tcp")),
            -EADDRINUSE);
        assert_non_null(strstr(error_text, "of service a: Address already in use"));
        assert_int_equal(sockets_count_fds(), n_fds);
    }
    assert_string_equal(rig.table.listeners[0].service->name, "a");
    assert_int_equal(rig.table.listeners[0].state, LISTENER_OPEN);
    assert_true(answers(0) && answers(1));
    assert_false(answers(2));
    close(other);
}

/* In use by another SO_REUSEPORT group: it would be let in in silence. */
static void test_another_group_is_noticed(void **state)
{
    int other = sock_listen(&rig.ports[3], &(struct sock_listen_options){.reuse_port = true});

    (void)state;
    open_table(listen_at(0, "tcp"), listen_at(1, "tcp"));
    assert_int_equal(prepare(both(listen_at(0, "tcp"), listen_at(3, "tcp")), listen_at(1, "tcp")),
                     -EADDRINUSE);
    close(other);
}

static void test_aborted(void **state)
{
    size_t n_fds;

    (void)state;
    open_table(listen_at(0, "tcp"), listen_at(1, "tcp"));
    n_fds = sockets_count_fds();
    assert_int_equal(prepare(listen_at(2, "both"), listen_at(3, "tcp")), 0);
    assert_int_equal(sockets_count_fds(), n_fds + 3 * N_WORKERS);
    listener_change_abort(&rig.change);
    assert_int_equal(sockets_count_fds(), n_fds);
    assert_int_equal(rig.table.listeners[0].state, LISTENER_OPEN);
}

static void test_many_rounds_keep_the_table_small(void **state)
{
    (void)state;
    open_table(listen_at(0, "both"), listen_at(1, "tcp"));
    for (int i = 0; i < 50; i++) {
        assert_int_equal(prepare(listen_at(2 + i % 2, "both"), listen_at(1, "tcp")), 0);
        finish(0);
        assert_int_equal(listener_change_close(&rig.change, &rig.table, 0), 0);
        finish(0);
    }
    assert_true(rig.table.n_listeners <= 5);
}

#define RIG(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIG(test_same_is_no_step),
        RIG(test_add_and_remove),
        RIG(test_move),
        RIG(test_udp_leaves_and_stays),
        RIG(test_heir_of_udp),
        RIG(test_half_of_both),
        RIG(test_dual_stack_beside_an_address),
        RIG(test_error_leaves_nothing),
        RIG(test_another_group_is_noticed),
        RIG(test_aborted),
        RIG(test_many_rounds_keep_the_table_small),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
