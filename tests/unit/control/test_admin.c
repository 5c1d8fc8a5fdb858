#include "lb4/control/admin.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "command_rig.h"

/* The control thread's loop, turned by the test; time goes as the test says. */
static struct desk {
    struct loop loop;
    struct admin admin;
    char path[64];
    char came[1 << 20];
} desk;

static int prepare(void **state)
{
    char text[ADMIN_SOCKET_ERROR_MAX];
    const struct privileges_ids ids = {.uid = geteuid(), .gid = getegid()};

    rig_prepare(state);
    snprintf(desk.path, sizeof(desk.path), "unix:/tmp/lb4-desk-%d.sock", getpid());
    assert_int_equal(loop_init(&desk.loop), 0);
    admin_clear(&desk.admin);
    admin_close(&desk.admin);
    admin_clear(&desk.admin);
    assert_int_equal(admin_open(&desk.admin, desk.path, &ids, text), 0);
    assert_int_equal(admin_start(&desk.admin, &desk.loop, &rig.from), 0);
    return 0;
}

static int finish(void **state)
{
    admin_close(&desk.admin);
    loop_fini(&desk.loop);
    assert_int_equal(access(desk.path + 5, F_OK), -1);
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
        if (source->kind == SOURCE_ADMIN_LISTENER)
            admin_on_listener(&desk.admin);
        else
            admin_on_client(&desk.admin, source, desk.loop.batch[i].bits);
    }
    admin_end_turn(&desk.admin);
}

static void turns(int n)
{
    while (n-- > 0)
        turn();
}

/* So much later; a turn of its own, as loop_wait() reads the clock. */
static void pass(uint64_t ms)
{
    loop_wait(&desk.loop, 0);
    desk.loop.now_ns += ms * CLOCK_NS_PER_MS;
    desk.loop.told_ns = desk.loop.now_ns;
    admin_end_turn(&desk.admin);
}

static int enter(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

    strcpy(addr.sun_path, desk.path + 5);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* What has come up to now. "" and *ret_end for an end. */
static const char *hear_end(int fd, bool *ret_end)
{
    size_t n_bytes = 0;
    ssize_t n;

    while ((n = recv(fd, desk.came + n_bytes, sizeof(desk.came) - 1 - n_bytes, 0)) > 0) {
        n_bytes += (size_t)n;
        turn();
    }
    desk.came[n_bytes] = '\0';
    *ret_end = n == 0 || (n < 0 && errno != EAGAIN);
    return desk.came;
}

static const char *hear(int fd)
{
    bool has_ended;

    turns(3);
    hear_end(fd, &has_ended);
    assert_false(has_ended);
    return desk.came;
}

static void hear_last(int fd, const char *text)
{
    bool has_ended;

    turns(3);
    assert_string_equal(hear_end(fd, &has_ended), text);
    assert_true(has_ended);
    close(fd);
}

static size_t count(const char *text, const char *wanted)
{
    size_t n = 0;

    while ((text = strstr(text, wanted))) {
        n++;
        text++;
    }
    return n;
}

static void test_asks_and_hears(void **state)
{
    int fd = enter();

    (void)state;
    assert_string_equal(hear(fd), "");
    say(fd, "weight db/a 3\n");
    assert_non_null(strstr(hear(fd), "db\ta\tup\t3\t"));
    say(fd, "foo\n");
    assert_string_equal(hear(fd), "error unknown command 'foo'; help lists them\n");
    say(fd, "\n  \n");
    assert_string_equal(hear(fd), "");
    assert_int_equal(desk.admin.n_clients, 1);
    close(fd);
    turns(2);
    assert_int_equal(desk.admin.n_clients, 0);
}

static void test_byte_at_a_time(void **state)
{
    static const char text[] = "weight db/a 4\n";
    int fd = enter();

    (void)state;
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        turn();
        assert_int_equal(backend_weight(rig_server(0, 0)), 1);
        assert_int_equal(send(fd, text + i, 1, 0), 1);
    }
    assert_non_null(strstr(hear(fd), "\nok\n"));
    assert_int_equal(backend_weight(rig_server(0, 0)), 4);
    close(fd);
}

static void test_pipelined(void **state)
{
    int fd = enter();

    (void)state;
    for (int i = 0; i < 100; i++)
        say(fd, "weight db/a 2\n");
    say(fd, "weight db/a 9");
    shutdown(fd, SHUT_WR);
    turns(20);
    {
        bool has_ended;

        hear_end(fd, &has_ended);
        assert_true(has_ended);
        assert_int_equal(count(desk.came, "ok\n"), 101);
    }
    assert_int_equal(backend_weight(rig_server(0, 0)), 9);
    close(fd);
}

static void test_command_and_close(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        int fd = enter();

        say(fd, "drain db/a\nweight db/a 5\n");
        close(fd);
        turns(4);
        assert_int_equal(desk.admin.n_clients, 0);
        assert_int_equal(backend_standing(rig_server(0, 0)) & (PICK_DRAIN | PICK_WEIGHT_MASK),
                         PICK_DRAIN | 5);
        backend_clear(rig_server(0, 0), PICK_DRAIN);
        backend_configure(rig_server(0, 0), 1);
    }
}

static void test_too_many(void **state)
{
    int fds[ADMIN_CLIENTS];
    int more;

    (void)state;
    for (size_t i = 0; i < ADMIN_CLIENTS; i++)
        fds[i] = enter();
    turns(2);
    more = enter();
    hear_last(more, "error too many clients, 8 are served at a time: try again\n");
    close(fds[0]);
    turns(2);
    fds[0] = enter();
    say(fds[0], "help\n");
    assert_non_null(strstr(hear(fds[0]), "\nok\n"));
    for (size_t i = 0; i < ADMIN_CLIENTS; i++)
        close(fds[i]);
    turns(2);
    assert_int_equal(desk.admin.n_clients, 0);
}

/* Twenty that are done at once: all are heard, though no more than eight at a time. */
static void test_many_in_a_row(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        int fd = enter();

        say(fd, i < 19 ? "weight db/a 3\n" : "weight db/a 7\n");
        close(fd);
    }
    turns(10);
    assert_int_equal(backend_weight(rig_server(0, 0)), 7);
    assert_int_equal(desk.admin.n_clients, 0);
}

static void test_bad_lines_end_it(void **state)
{
    static char many[LINE_MAX_BYTES + 100];
    int fd = enter();

    (void)state;
    assert_int_equal(send(fd, "help\0\n", 6, 0), 6);
    hear_last(fd, "error a byte that is not printable ASCII\n");
    fd = enter();
    memset(many, 'x', sizeof(many) - 1);
    say(fd, many);
    hear_last(fd, "error a line is longer than 4096 bytes\n");
}

static void test_silence_ends_it(void **state)
{
    int idle = enter();
    int slow = enter();

    (void)state;
    turn();
    assert_true(admin_due_ns(&desk.admin) < UINT64_MAX);
    pass(ADMIN_PATIENCE_MS / 2);
    say(slow, "hel");
    turn();
    pass(ADMIN_PATIENCE_MS + 1);
    hear_last(idle, "error no command for 10 s\n");
    hear_last(slow, "error no command for 10 s\n");
    assert_int_equal(admin_due_ns(&desk.admin), UINT64_MAX);
}

/* Replies are not made while none is taken. */
static void test_who_does_not_read_is_dropped(void **state)
{
    int fd = enter();
    int size = 4096;
    bool has_ended;

    (void)state;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    turn();
    for (int i = 0; i < 2000 && send(fd, "show config\n", 12, 0) == 12; i++)
        ;
    turns(400);
    assert_int_equal(desk.admin.n_clients, 1);
    pass(ADMIN_PATIENCE_MS + 1);
    assert_int_equal(desk.admin.n_clients, 0);
    hear_end(fd, &has_ended);
    assert_true(has_ended);
    close(fd);
}

static void test_waits(void **state)
{
    int fd = enter();

    (void)state;
    backend_acquire(rig_server(0, 0));
    say(fd, "drain db/a --wait 60s\nweight db/a 6\n");
    shutdown(fd, SHUT_WR);
    assert_string_equal(hear(fd), "");
    assert_int_equal(backend_weight(rig_server(0, 0)), 1);
    pass(ADMIN_PATIENCE_MS * 2);
    assert_int_equal(desk.admin.n_clients, 1);
    backend_release(rig_server(0, 0));
    turns(4);
    {
        bool has_ended;

        assert_int_equal(count(hear_end(fd, &has_ended), "ok\n"), 2);
        assert_true(has_ended);
    }
    assert_int_equal(backend_weight(rig_server(0, 0)), 6);
    close(fd);
}

static void test_wait_ends_with_its_client(void **state)
{
    int fd = enter();

    (void)state;
    backend_acquire(rig_server(0, 0));
    say(fd, "drain db/a --wait 60s\n");
    assert_string_equal(hear(fd), "");
    close(fd);
    turns(3);
    assert_int_equal(desk.admin.n_clients, 0);
    assert_true(backend_standing(rig_server(0, 0)) & PICK_DRAIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DESKED(test_asks_and_hears),
        DESKED(test_byte_at_a_time),
        DESKED(test_pipelined),
        DESKED(test_command_and_close),
        DESKED(test_too_many),
        DESKED(test_many_in_a_row),
        DESKED(test_bad_lines_end_it),
        DESKED(test_silence_ends_it),
        DESKED(test_who_does_not_read_is_dropped),
        DESKED(test_waits),
        DESKED(test_wait_ends_with_its_client),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
