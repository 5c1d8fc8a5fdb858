#include "lb4/control/reload.h"
#include "lb4/shared/backend_write.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include "runtime_rig.h"

static struct reload_rig {
    struct reload reload;
    struct flags flags;
    struct addr front;
    struct addr other_front;
    struct addr at;
    int server;
    char path[64];
} self;

/* The whole file; old enough to be taken for complete. */
static void write_file(const char *lines)
{
    const struct timespec long_ago[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    FILE *file = fopen(self.path, "we");

    assert_non_null(file);
    fprintf(file, "service a {\n listen tcp 127.0.0.1:%u\n server s1 127.0.0.1:%u\n%s\n}\n",
            addr_port(&self.front), addr_port(&self.at), lines);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(utimensat(AT_FDCWD, self.path, long_ago, 0), 0);
}

static int setup(void **state)
{
    char text[RIG_TEXT_MAX];
    int fd;

    (void)state;
    self = (struct reload_rig){.path = "/tmp/lb4-test-reload-XXXXXX"};
    fd = mkstemp(self.path);
    assert_true(fd >= 0);
    close(fd);
    self.front = sockets_closed_port();
    self.other_front = sockets_closed_port();
    self.server = sockets_listen(&self.at);
    snprintf(text, sizeof(text),
             "service a {\n listen tcp 127.0.0.1:%u\n server s1 127.0.0.1:%u\n}\n",
             addr_port(&self.front), addr_port(&self.at));
    rig_open(text);
    self.flags = (struct flags){.config_file = self.path};
    assert_int_equal(reload_init(&self.reload, &rig.runtime, &rig.control, &self.flags, rig.conf),
                     0);
    rig.conf = NULL;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    threads_stop(&rig.threads);
    reload_fini(&self.reload);
    rig_close();
    close(self.server);
    unlink(self.path);
    return 0;
}

/* One turn of control. */
static void turn(uint64_t now_ns)
{
    reload_step(&self.reload, now_ns, true);
    if (reload_is_busy(&self.reload) || retire_is_busy(&self.reload.retire))
        rig_wait();
}

static const struct reload_result *wait_for(uint64_t number)
{
    struct patience patience = patience_new();

    while (!reload_result(&self.reload, number) && patience_holds(&patience))
        turn(clock_now_ns());
    return reload_result(&self.reload, number);
}

static uint64_t ask(struct reload_wish wish)
{
    return reload_ask(&self.reload, &wish);
}

static const struct reload_result *run(struct reload_wish wish)
{
    return wait_for(ask(wish));
}

static uint32_t tries(void)
{
    return service_plan(rig_service("a"))->tries;
}

static void test_changes(void **state)
{
    const struct reload_result *result;

    (void)state;
    write_file("tries 7");
    result = run((struct reload_wish){0});
    assert_false(result->has_failed);
    assert_false(result->was_dry);
    assert_int_equal(result->number, 1);
    assert_int_equal(result->n_changes, 1);
    assert_string_equal(result->text, "~ tries of a 3 -> 7\n");
    assert_int_equal(tries(), 7);
    assert_int_equal(self.reload.n_good, 1);
    assert_true(self.reload.changed_ns > 0);
    /* Once more: there is nothing to do. */
    result = run((struct reload_wish){0});
    assert_false(result->has_failed);
    assert_int_equal(result->n_changes, 0);
    assert_int_equal(result->number, 2);
    assert_null(reload_result(&self.reload, 3));
    assert_non_null(reload_result(&self.reload, 1));
}

static void test_dry_run_changes_nothing(void **state)
{
    const struct reload_result *result;

    (void)state;
    write_file("tries 7");
    result = run((struct reload_wish){.is_dry = true});
    assert_true(result->was_dry);
    assert_int_equal(result->n_changes, 1);
    assert_non_null(strstr(result->text, "3 -> 7"));
    assert_int_equal(tries(), 3);
    assert_int_equal(self.reload.n_good, 0);
    write_file("nonsense");
    assert_true(run((struct reload_wish){.is_dry = true})->has_failed);
    assert_int_equal(self.reload.n_failed, 0);
}

static void test_errors_change_nothing(void **state)
{
    static const char *const lines[] = {"nonsense", "tries 0", "server s1 127.0.0.1:1",
                                        "listen tcp 127.0.0.1:1-70000"};
    struct addr taken;
    int other = sockets_listen(&taken);
    const struct reload_result *result;
    size_t n_fds = sockets_count_fds();
    char line[100];

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        write_file(lines[i]);
        result = run((struct reload_wish){0});
        assert_true(result->has_failed);
        assert_non_null(strstr(result->text, self.path));
        assert_non_null(strstr(result->text, ":4:"));
    }
    snprintf(line, sizeof(line), "listen tcp 127.0.0.1:%u\n tries 9", addr_port(&taken));
    write_file(line);
    result = run((struct reload_wish){0});
    assert_non_null(strstr(result->text, "another process listens there"));
    assert_int_equal(result->text[strlen(result->text) - 1], '\n'); /* lines, as header says */
    unlink(self.path);
    assert_non_null(strstr(run((struct reload_wish){0})->text, "No such file"));
    assert_int_equal(self.reload.n_failed, 6);
    assert_int_equal(self.reload.n_good, 0);
    assert_int_equal(tries(), 3);
    assert_int_equal(sockets_count_fds(), n_fds);
    write_file("tries 8");
    assert_false(run((struct reload_wish){0})->has_failed);
    assert_int_equal(tries(), 8);
    close(other);
}

/* A thousand requests are two runs at most: the one that is under way, and one more. */
static void test_requests_become_one_run(void **state)
{
    uint64_t first;
    uint64_t last;

    (void)state;
    write_file("tries 7");
    first = ask((struct reload_wish){0});
    assert_int_equal(ask((struct reload_wish){0}), first);
    assert_int_equal(reload_due_ns(&self.reload), 0);
    turn(clock_now_ns());
    for (int i = 0; i < 1000; i++)
        last = ask((struct reload_wish){0});
    assert_int_equal(last, first + 1);
    wait_for(last);
    for (int i = 0; i < 20; i++)
        turn(clock_now_ns());
    assert_int_equal(self.reload.n_runs, 2);
}

static void test_wishes_that_differ(void **state)
{
    const uint64_t hour_ns = 3600 * CLOCK_NS_PER_S;

    (void)state;
    write_file("tries 7");
    ask((struct reload_wish){.is_dry = true});
    ask((struct reload_wish){.confirm_ns = hour_ns});
    assert_false(self.reload.next.is_dry);
    ask((struct reload_wish){.is_dry = true});
    assert_false(self.reload.next.is_dry);
    assert_int_equal(self.reload.next.confirm_ns, hour_ns);
    /* A SIGHUP between two turns must not make a trial final. */
    ask((struct reload_wish){0});
    assert_int_equal(self.reload.next.confirm_ns, hour_ns);
    wait_for(1);
    assert_int_equal(tries(), 7);
}

static void test_undone_unless_confirmed(void **state)
{
    const struct reload_wish trial = {.confirm_ns = 3600 * CLOCK_NS_PER_S};
    uint64_t number;

    (void)state;
    assert_false(reload_confirm(&self.reload));
    write_file("tries 7");
    run(trial);
    assert_true(reload_confirm(&self.reload));
    assert_false(reload_confirm(&self.reload));
    assert_int_equal(self.reload.undo_ns, UINT64_MAX);
    /* Two runs without a word: both are undone. Who has asked meanwhile gets the number that was
     * promised. */
    write_file("tries 8");
    run(trial);
    write_file("tries 9");
    run((struct reload_wish){0});
    assert_int_equal(tries(), 9);
    assert_true(reload_due_ns(&self.reload) < UINT64_MAX);
    self.reload.undo_ns = 1;
    number = ask((struct reload_wish){0});
    turn(clock_now_ns()); /* the undoing */
    assert_int_equal(tries(), 7);
    assert_null(reload_result(&self.reload, number));
    wait_for(number);
    assert_int_equal(tries(), 9);
    assert_int_equal(self.reload.result.number, number);
}

static void test_a_second_trial_renews_the_time(void **state)
{
    (void)state;
    write_file("tries 7");
    run((struct reload_wish){.confirm_ns = 60 * CLOCK_NS_PER_S});
    write_file("tries 8");
    run((struct reload_wish){.confirm_ns = 3600 * CLOCK_NS_PER_S});
    assert_true(self.reload.undo_ns > clock_now_ns() + 1800 * CLOCK_NS_PER_S);
    self.reload.undo_ns = 1;
    turn(clock_now_ns());
    while (reload_is_busy(&self.reload))
        turn(clock_now_ns());
    assert_int_equal(tries(), 3);
}

static void test_undone_later_if_not_at_once(void **state)
{
    char line[64];
    int other;
    (void)state;
    snprintf(line, sizeof(line), "listen tcp 127.0.0.1:%u", addr_port(&self.other_front));
    write_file(line);
    run((struct reload_wish){0});
    write_file("tries 7");
    run((struct reload_wish){.confirm_ns = 3600 * CLOCK_NS_PER_S});
    while (reload_is_busy(&self.reload))
        turn(clock_now_ns());
    /* Somebody takes the address that the configuration before has. */
    other = sock_listen(&self.other_front, &(struct sock_listen_options){0});
    assert_true(other >= 0);
    self.reload.undo_ns = 1;
    turn(clock_now_ns());
    assert_true(self.reload.result.has_failed);
    assert_int_equal(tries(), 7);
    assert_true(reload_due_ns(&self.reload) < UINT64_MAX);
    close(other);
    self.reload.undo_ns = 1;
    turn(clock_now_ns());
    while (reload_is_busy(&self.reload))
        turn(clock_now_ns());
    assert_int_equal(tries(), 3);
    assert_false(reload_confirm(&self.reload));
}

static void test_weight_while_a_change_is_under_way(void **state)
{
    struct backend *backend = rig_server("a", "s1");
    struct patience patience = patience_new();

    (void)state;
    assert_int_equal(reload_set_weight(&self.reload, rig_service("a"), backend, 9), 0);
    assert_true(reload_is_busy(&self.reload));
    assert_int_equal(reload_set_weight(&self.reload, rig_service("a"), backend, 8), -EBUSY);
    while (reload_is_busy(&self.reload) && patience_holds(&patience))
        turn(clock_now_ns());
    assert_int_equal(backend_weight(backend), 9);
    assert_int_equal(self.reload.result.number, 0);
    /* While the file is read it may be done. */
    write_file("tries 7");
    ask((struct reload_wish){0});
    turn(clock_now_ns());
    while (retire_is_busy(&self.reload.retire))
        turn(clock_now_ns());
    if (self.reload.is_reading)
        assert_int_equal(reload_set_weight(&self.reload, rig_service("a"), backend, 5), 0);
    wait_for(1);
    assert_int_equal(tries(), 7);
}

static void test_server_that_left_is_retired(void **state)
{
    struct patience patience = patience_new();
    char line[64];

    (void)state;
    snprintf(line, sizeof(line), "check none\n server s2 127.0.0.1:%u", addr_port(&self.at));
    write_file(line);
    run((struct reload_wish){0});
    assert_int_equal(rig_count(BACKEND_SERVING), 2);
    write_file("");
    run((struct reload_wish){0});
    assert_int_equal(rig_count(BACKEND_GONE), 1);
    while (rig_count(BACKEND_GONE) > 0 && patience_holds(&patience))
        turn(clock_now_ns() + CLOCK_NS_PER_S);
    assert_int_equal(reload_due_ns(&self.reload), self.reload.retire.due_ns);
}

/* Undone is undone: what an operator had made of a server is there again. */
static void test_wishes_come_back_with_the_server(void **state)
{
    struct patience patience = patience_new();
    char line[64];

    (void)state;
    snprintf(line, sizeof(line), "check none\n server s2 127.0.0.1:%u", addr_port(&self.at));
    write_file(line);
    run((struct reload_wish){0});
    backend_configure(rig_server("a", "s2"), 7);
    backend_set(rig_server("a", "s2"), PICK_MAINT);
    write_file("");
    run((struct reload_wish){.confirm_ns = 3600 * CLOCK_NS_PER_S});
    for (int i = 0; i < 5; i++)
        turn(clock_now_ns() + 2 * CLOCK_NS_PER_S);
    assert_int_equal(rig_count(BACKEND_GONE), 1);
    assert_int_equal(reload_due_ns(&self.reload), self.reload.undo_ns);
    self.reload.undo_ns = 1;
    turn(clock_now_ns());
    while (reload_is_busy(&self.reload))
        turn(clock_now_ns());
    assert_int_equal(rig_count(BACKEND_SERVING), 2);
    assert_int_equal(backend_standing(rig_server("a", "s2")), 7 | PICK_MAINT);
    while (rig_count(BACKEND_GONE) > 0 && patience_holds(&patience))
        turn(clock_now_ns() + CLOCK_NS_PER_S);
    assert_int_equal(rig_count(BACKEND_GONE), 0);
}

/* On the way out what was begun is finished, and nothing begins. */
static void test_no_run_on_the_way_out(void **state)
{
    (void)state;
    write_file("tries 7");
    ask((struct reload_wish){0});
    for (int i = 0; i < 5; i++)
        reload_step(&self.reload, clock_now_ns(), false);
    assert_false(self.reload.is_reading);
    assert_int_equal(self.reload.n_runs, 0);
}

/* The reader sits in front of a file that is written to; the end does not wait for it. */
static void test_end_while_reading(void **state)
{
    const struct timespec now[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}};

    (void)state;
    write_file("tries 7");
    assert_int_equal(utimensat(AT_FDCWD, self.path, now, 0), 0);
    ask((struct reload_wish){0});
    turn(clock_now_ns());
    assert_true(self.reload.is_reading);
}

static void touch(void)
{
    const struct timespec now[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}};

    assert_int_equal(utimensat(AT_FDCWD, self.path, now, 0), 0);
}

/* Half a file for a while, touched again and again, then the whole. */
static bool survives_half_a_file(void)
{
    uint64_t number;

    write_file("trie");
    touch();
    number = ask((struct reload_wish){0});
    for (int i = 0; i < 10; i++) {
        turn(clock_now_ns());
        touch();
    }
    write_file("tries 7");
    return !wait_for(number)->has_failed;
}

static bool gives_up_a_file_that_is_written_to(void)
{
    struct patience patience = patience_new();
    uint64_t number = ask((struct reload_wish){0});

    while (!reload_result(&self.reload, number) && patience_holds(&patience)) {
        touch();
        turn(clock_now_ns());
    }
    return self.reload.result.has_failed && strstr(self.reload.result.text, "is being written to");
}

enum { ATTEMPTS = 5 }; /* a busy machine may keep us from touching it for too long */

static void test_waits_until_it_is_written(void **state)
{
    int n = 1;

    (void)state;
    while (!survives_half_a_file() && n < ATTEMPTS)
        n++;
    assert_int_equal(tries(), 7);
    assert_true(n < ATTEMPTS);
    for (n = 1; !gives_up_a_file_that_is_written_to() && n < ATTEMPTS; n++)
        ;
    assert_true(n < ATTEMPTS);
}

#define RELOAD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RELOAD(test_changes),
        RELOAD(test_dry_run_changes_nothing),
        RELOAD(test_errors_change_nothing),
        RELOAD(test_requests_become_one_run),
        RELOAD(test_wishes_that_differ),
        RELOAD(test_undone_unless_confirmed),
        RELOAD(test_a_second_trial_renews_the_time),
        RELOAD(test_undone_later_if_not_at_once),
        RELOAD(test_weight_while_a_change_is_under_way),
        RELOAD(test_server_that_left_is_retired),
        RELOAD(test_wishes_come_back_with_the_server),
        RELOAD(test_no_run_on_the_way_out),
        RELOAD(test_end_while_reading),
        RELOAD(test_waits_until_it_is_written),
    };
    sigset_t blocked;

    /* As in the daemon: signals wait for who reads them. */
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGQUIT);
    pthread_sigmask(SIG_BLOCK, &blocked, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
