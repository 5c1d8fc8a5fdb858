#include "lb4/control/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lb4/base/clock.h"

static char folder[64];
static char path[96];
static struct notify notify;
static int manager_fd;

/* The manager's socket: a path, or '@' and an abstract name. */
static int open_manager(const char *name)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    size_t length = strlen(name);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    memcpy(at.sun_path, name, length);
    if (name[0] == '@')
        at.sun_path[0] = '\0';
    length += offsetof(struct sockaddr_un, sun_path);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, (socklen_t)length), 0);
    return fd;
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/lb4-notify-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(path, sizeof(path), "%s/notify", folder);
    manager_fd = -1;
    notify_clear(&notify);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    notify_close(&notify);
    if (manager_fd >= 0)
        close(manager_fd);
    unlink(path);
    return rmdir(folder);
}

static void open_both(const char *name)
{
    manager_fd = open_manager(name);
    setenv("NOTIFY_SOCKET", name, 1);
    notify_open(&notify);
    assert_true(notify.fd >= 0);
}

/* The next message; "" = there is none. */
static const char *told(void)
{
    static char text[1024];
    ssize_t n = recv(manager_fd, text, sizeof(text) - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void check_environment_is_clean(void)
{
    assert_null(getenv("NOTIFY_SOCKET"));
    assert_null(getenv("WATCHDOG_USEC"));
    assert_null(getenv("WATCHDOG_PID"));
}

static void check_messages(void)
{
    uint64_t before_us = clock_now_ns() / 1000;
    uint64_t reload_us;
    int n = 0;

    notify_ready(&notify, "two services");
    assert_string_equal(told(), "READY=1\nSTATUS=two services");
    assert_true(notify_alive(&notify));
    assert_string_equal(told(), "WATCHDOG=1");
    notify_reloading(&notify);
    assert_int_equal(sscanf(told(), "RELOADING=1\nMONOTONIC_USEC=%" SCNu64 "\nSTATUS=reloading%n",
                            &reload_us, &n),
                     1);
    assert_true(n > 0 && reload_us >= before_us && reload_us <= clock_now_ns() / 1000);
    notify_stopping(&notify, "draining", 30000);
    assert_string_equal(told(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=35000000\nSTATUS=draining");
    assert_string_equal(told(), "");
}

static void test_messages_to_a_path(void **state)
{
    (void)state;
    open_both(path);
    check_environment_is_clean();
    assert_int_equal(fcntl(notify.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    check_messages();
}

static void test_messages_to_an_abstract_name(void **state)
{
    char name[64];

    (void)state;
    snprintf(name, sizeof(name), "@lb4-test-%d", (int)getpid());
    open_both(name);
    check_messages();
}

static void test_long_status_is_cut(void **state)
{
    char status[2000];
    const char *text;

    (void)state;
    open_both(path);
    memset(status, 'x', sizeof(status) - 1);
    status[sizeof(status) - 1] = '\0';
    notify_ready(&notify, status);
    text = told();
    assert_memory_equal(text, "READY=1\nSTATUS=xxx", 18);
    assert_in_range(strlen(text), 100, 511);
}

static void check_no_manager(void)
{
    check_environment_is_clean();
    assert_int_equal(notify.fd, -1);
    assert_int_equal(notify.watchdog_ns, 0);
    notify_ready(&notify, "all is well");
    notify_reloading(&notify);
    notify_stopping(&notify, "bye", 1);
    assert_true(notify_alive(&notify));
}

static void test_without_a_manager(void **state)
{
    (void)state;
    setenv("WATCHDOG_USEC", "1000000", 1);
    notify_open(&notify);
    check_no_manager();
}

static void test_unusable_names(void **state)
{
    char longest[300] = "/";
    const char *names[] = {
        "", "/", "@", "relative", "vsock:2:1234", longest, "/tmp/lb4-nobody-listens-here"};

    (void)state;
    memset(longest + 1, 'x', sizeof(longest) - 2);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        setenv("NOTIFY_SOCKET", names[i], 1);
        setenv("WATCHDOG_USEC", "1000000", 1);
        notify_open(&notify);
        check_no_manager();
    }
}

static void check_watchdog(const char *usec, const char *pid, uint64_t wanted_ns)
{
    setenv("NOTIFY_SOCKET", path, 1);
    if (usec)
        setenv("WATCHDOG_USEC", usec, 1);
    if (pid)
        setenv("WATCHDOG_PID", pid, 1);
    notify_open(&notify);
    check_environment_is_clean();
    assert_true(notify.fd >= 0);
    assert_int_equal(notify.watchdog_ns, wanted_ns);
    notify_close(&notify);
}

static void test_watchdog(void **state)
{
    char ours[32];

    (void)state;
    manager_fd = open_manager(path);
    snprintf(ours, sizeof(ours), "%d", (int)getpid());
    check_watchdog("30000000", ours, 30 * CLOCK_NS_PER_S);
    check_watchdog("30000000", NULL, 30 * CLOCK_NS_PER_S);
    check_watchdog("30000000", "1", 0); /* another's */
    check_watchdog("30000000", "me", 0);
    check_watchdog(NULL, ours, 0);
    check_watchdog("0", ours, 0);
    check_watchdog("soon", ours, 0);
    check_watchdog("99999999999999999999", ours, 0);
    check_watchdog("18446744073709551615", ours, 0);
}

/* The manager restarts: a new socket at the same name. */
static void test_manager_that_starts_anew(void **state)
{
    (void)state;
    open_both(path);
    close(manager_fd);
    unlink(path);
    assert_false(notify_alive(&notify));
    manager_fd = open_manager(path);
    assert_true(notify_alive(&notify));
    assert_string_equal(told(), "WATCHDOG=1");
}

/* It does not read: the queue of unix(7) fills up, and nobody hangs. */
static void test_manager_that_does_not_read(void **state)
{
    uint64_t started_ns;

    (void)state;
    open_both(path);
    for (int i = 0; notify_alive(&notify); i++)
        assert_true(i < 100000);
    started_ns = clock_now_ns();
    notify_ready(&notify, "nobody hears");
    assert_in_range(clock_now_ns() - started_ns, NOTIFY_WAIT_MS / 2 * CLOCK_NS_PER_MS,
                    10 * CLOCK_NS_PER_S);
    assert_string_equal(told(), "WATCHDOG=1");
    assert_true(notify_alive(&notify));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_messages_to_a_path),       TEST(test_messages_to_an_abstract_name),
        TEST(test_long_status_is_cut),       TEST(test_without_a_manager),
        TEST(test_unusable_names),           TEST(test_watchdog),
        TEST(test_manager_that_starts_anew), TEST(test_manager_that_does_not_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
