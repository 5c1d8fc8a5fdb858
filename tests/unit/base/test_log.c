#include "lb4/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <regex.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lb4/base/clock.h"

enum { DEADLINE_MS = 5000, N_THREADS = 4, N_LINES = 2000, FLOOD = 20000 };

/* The reading end of what the log writes to, and the text so far. */
struct reader {
    int fd;
    int log_fd;
    size_t used;
    char text[4 * 1024 * 1024];
};

static struct reader reader;

static int set_up(void **state)
{
    int ends[2];

    (void)state;
    if (pipe(ends) < 0)
        return -1;
    reader.fd = ends[0];
    reader.log_fd = ends[1];
    reader.used = 0;
    reader.text[0] = '\0';
    fcntl(reader.fd, F_SETFL, O_NONBLOCK);
    log_set_level(LOG_LEVEL_INFO);
    return log_start(reader.log_fd, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    log_stop();
    close(reader.fd);
    close(reader.log_fd);
    return 0;
}

static void read_available(void)
{
    ssize_t n;

    do {
        n = read(reader.fd, reader.text + reader.used, sizeof(reader.text) - 1 - reader.used);
        reader.used += n > 0 ? (size_t)n : 0;
    } while (n > 0);
    reader.text[reader.used] = '\0';
}

static const char *wait_for_text(const char *wanted)
{
    uint64_t until = clock_now_ns() + DEADLINE_MS * CLOCK_NS_PER_MS;
    struct pollfd ready = {reader.fd, POLLIN, 0};
    const char *found;

    for (;;) {
        read_available();
        found = strstr(reader.text, wanted);
        if (found != NULL)
            return found;
        if (clock_now_ns() > until)
            fail_msg("\"%s\" did not come", wanted);
        poll(&ready, 1, 100);
    }
}

static void check_matches(const char *text, const char *pattern)
{
    regex_t regex;
    int rc;

    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    rc = regexec(&regex, text, 0, NULL, 0);
    regfree(&regex);
    if (rc != 0)
        fail_msg("\"%s\" does not match %s", text, pattern);
}

static void test_line_form(void **state)
{
    time_t before = time(NULL);
    struct tm utc = {0};
    time_t told;

    (void)state;
    assert_int_equal(log_register_thread("worker 1"), 0);
    log_warn("server %s is %s", "db1", "down");
    wait_for_text("\n");
    check_matches(
        reader.text,
        "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z WARN worker 1: "
        "server db1 is down\n$");
    assert_non_null(strptime(reader.text, "%Y-%m-%dT%H:%M:%S", &utc));
    told = timegm(&utc);
    assert_true(told >= before - 1 && told <= time(NULL) + 1);
}

static void test_thread_without_ring(void **state)
{
    (void)state;
    log_error("straight");
    read_available(); /* written by this very call */
    check_matches(reader.text, "Z ERROR main: straight\n$");
}

static void test_levels(void **state)
{
    (void)state;
    log_info("one");
    log_debug("two");
    log_set_level(LOG_LEVEL_DEBUG);
    assert_true(log_is_on(LOG_LEVEL_DEBUG));
    log_debug("three");
    log_set_level(LOG_LEVEL_ERROR);
    assert_false(log_is_on(LOG_LEVEL_WARN));
    log_warn("four");
    log_error("five");
    read_available();
    check_matches(reader.text,
                  "^[^\n]* INFO main: one\n[^\n]* DEBUG main: three\n[^\n]* ERROR main: five\n$");
}

static int n_evaluated;

static int count_evaluation(void)
{
    return ++n_evaluated;
}

static void test_debug_arguments_wait_for_level(void **state)
{
    (void)state;
    n_evaluated = 0;
    log_debug("%d", count_evaluation());
    assert_int_equal(n_evaluated, 0);
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug("%d", count_evaluation());
    assert_int_equal(n_evaluated, 1);
}

static void test_escapes(void **state)
{
    (void)state;
    assert_int_equal(log_register_thread("escape"), 0);
    log_info("a\nERROR main: forged\r\t\x1b[2J\x7f\xc3\xa9 b\\");
    wait_for_text("\n");
    check_matches(reader.text,
                  "INFO escape: a\\\\x0aERROR main: forged\\\\x0d\\\\x09\\\\x1b\\[2J\\\\x7f\\\\xc3"
                  "\\\\xa9 b\\\\\n$");
}

/* The prefix of a line of this thread, to know how much text fits. */
static size_t prefix_length(void)
{
    log_info("%s", "");
    wait_for_text("\n");
    return reader.used - 1;
}

static void check_length(size_t n_text, char byte, size_t n_line, const char *end)
{
    char text[2 * LOG_LINE_MAX];

    memset(text, byte, n_text);
    text[n_text] = '\0';
    reader.used = 0;
    log_info("%s", text);
    wait_for_text("\n");
    assert_int_equal(reader.used, n_line);
    assert_string_equal(reader.text + reader.used - strlen(end), end);
}

static void test_long_lines_are_cut(void **state)
{
    size_t room;

    (void)state;
    assert_int_equal(log_register_thread("long"), 0);
    room = LOG_LINE_MAX - 1 - prefix_length();
    check_length(room, 'x', LOG_LINE_MAX, "xxxx\n");
    check_length(room + 1, 'x', LOG_LINE_MAX, "x...\n");
    check_length(LOG_LINE_MAX - 1, 'x', LOG_LINE_MAX, "x...\n");
    check_length(LOG_LINE_MAX, 'x', LOG_LINE_MAX, "x...\n");
    check_length(2 * LOG_LINE_MAX - 1, 'x', LOG_LINE_MAX, "x...\n");
}

static void test_escapes_are_cut_whole(void **state)
{
    size_t room;
    size_t n_escapes;

    (void)state;
    assert_int_equal(log_register_thread("long"), 0);
    room = LOG_LINE_MAX - 1 - prefix_length();
    n_escapes = (room - 3) / 4;
    check_length(room, '\n', LOG_LINE_MAX - 1 - room + n_escapes * 4 + 3 + 1, "\\x0a...\n");
}

static void test_errno_survives(void **state)
{
    (void)state;
    errno = ENOENT;
    log_info("%m");
    assert_int_equal(errno, ENOENT);
    wait_for_text("No such file");
    close(reader.fd);
    reader.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    errno = ENOENT;
    log_info("this write(2) fails with EPIPE");
    assert_int_equal(errno, ENOENT);
}

static void *log_many(void *number)
{
    char name[16];

    snprintf(name, sizeof(name), "thread %d", *(int *)number);
    if (log_register_thread(name) < 0)
        return NULL;
    for (int i = 0; i < N_LINES; i++)
        log_info("line %d of %d", i, *(int *)number);
    return number;
}

/* Each line of thread `number` is there whole, once and in order, or told as dropped. */
static void check_thread_lines(int number)
{
    char marker[32];
    const char *at = reader.text;
    int n_told = 0;
    int last = -1;
    int n = 0;

    snprintf(marker, sizeof(marker), " thread %d: ", number);
    while ((at = strstr(at, marker)) != NULL) {
        int line;
        int of;

        at += strlen(marker);
        if (sscanf(at, "line %d of %d\n", &line, &of) == 2) {
            assert_int_equal(of, number);
            assert_true(line > last);
            last = line;
            n++;
        } else if (sscanf(at, "%d log lines dropped\n", &line) == 1) {
            n_told += line;
        } else {
            fail_msg("torn line: %.60s", at);
        }
    }
    assert_int_equal(n + n_told, N_LINES);
}

static void test_threads_at_once(void **state)
{
    static int numbers[N_THREADS];
    pthread_t threads[N_THREADS];
    void *result;

    (void)state;
    for (int i = 0; i < N_THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, log_many, &numbers[i]), 0);
    }
    for (int i = 0; i < N_THREADS; i++) {
        while (pthread_tryjoin_np(threads[i], &result) == EBUSY)
            read_available();
        assert_ptr_equal(result, &numbers[i]);
    }
    /* Each ring gets its turn between the first mark and the second. */
    assert_int_equal(log_register_thread("last"), 0);
    log_info("first mark");
    wait_for_text("first mark");
    log_info("second mark");
    wait_for_text("second mark");
    for (int i = 0; i < N_THREADS; i++)
        check_thread_lines(i);
}

static long count_flood_lines(void)
{
    long n = 0;

    for (const char *at = reader.text; (at = strstr(at, "flood: flood ")) != NULL; at++)
        n++;
    return n;
}

static long sum_told_drops(void)
{
    static const char BEFORE[] = "WARN flood: ";
    long n = 0;

    for (const char *at = reader.text; (at = strstr(at, BEFORE)) != NULL;) {
        char *end;

        at += strlen(BEFORE);
        n += strtol(at, &end, 10);
        assert_memory_equal(end, " log lines dropped\n", 19);
    }
    return n;
}

/* Nobody reads: the producer goes on, counts, and the count is told as soon as there is room. */
static void test_full_ring_drops_and_tells(void **state)
{
    uint64_t start = clock_now_ns();
    uint64_t until = start + DEADLINE_MS * CLOCK_NS_PER_MS;

    (void)state;
    assert_int_equal(log_register_thread("flood"), 0);
    assert_int_equal(log_dropped_total(), 0);
    for (int i = 0; i < FLOOD; i++)
        log_info("flood %d", i);
    assert_true(clock_now_ns() < until);
    wait_for_text(" log lines dropped\n");
    while (count_flood_lines() + sum_told_drops() != FLOOD && clock_now_ns() < until)
        read_available();
    assert_true(count_flood_lines() > 100);
    assert_int_equal(count_flood_lines() + sum_told_drops(), FLOOD);
    assert_int_equal(log_dropped_total(), sum_told_drops());
    log_info("after");
    wait_for_text("after");
}

static void *read_until_done(void *is_done)
{
    while (!atomic_load((atomic_bool *)is_done))
        read_available();
    read_available();
    return NULL;
}

/* Who waits for room loses nothing, as long as somebody reads. */
static void test_waiting_for_room(void **state)
{
    static atomic_bool is_done;
    pthread_t thread;

    (void)state;
    assert_true(log_wait_room(0));
    assert_int_equal(log_register_thread("flood"), 0);
    do { /* the writer may still empty the ring into the pipe, until that is full, too */
        for (int i = 0; i < FLOOD; i++)
            log_info("flood %d", i);
    } while (log_wait_room(20));
    wait_for_text(" log lines dropped\n");
    reader.used = 0;
    assert_int_equal(pthread_create(&thread, NULL, read_until_done, &is_done), 0);
    for (int i = 0; i < FLOOD; i++) {
        assert_true(log_wait_room(DEADLINE_MS));
        log_info("calm %d", i);
    }
    log_info("the end");
    atomic_store(&is_done, true);
    pthread_join(thread, NULL);
    wait_for_text(": the end\n");
    for (int i = 0; i < FLOOD; i += 100) {
        char text[32];

        snprintf(text, sizeof(text), ": calm %d\n", i);
        wait_for_text(text);
    }
}

/* The writer sleeps between lines; each one must wake it. */
static void test_every_line_wakes(void **state)
{
    char text[32];

    (void)state;
    assert_int_equal(log_register_thread("wake"), 0);
    for (int i = 0; i < 500; i++) {
        snprintf(text, sizeof(text), "wake %d\n", i);
        log_info("wake %d", i);
        wait_for_text(text);
        reader.used = 0;
    }
}

static void test_stop_writes_what_is_queued(void **state)
{
    (void)state;
    assert_int_equal(log_register_thread("stop"), 0);
    for (int i = 0; i < 100; i++)
        log_info("queued %d", i);
    log_stop();
    read_available();
    assert_non_null(strstr(reader.text, "queued 99\n"));
    log_info("straight again");
    read_available();
    assert_non_null(strstr(reader.text, "main: straight again\n"));
    log_stop(); /* harmless */
}

static void check_stop_is_bounded(void)
{
    uint64_t start;
    uint64_t passed_ms;

    assert_int_equal(log_register_thread("stuck"), 0);
    for (int i = 0; i < FLOOD; i++)
        log_info("stuck %d", i);
    start = clock_now_ns();
    log_stop();
    passed_ms = (clock_now_ns() - start) / CLOCK_NS_PER_MS;
    assert_true(passed_ms >= 900);
    assert_true(passed_ms < 3000);
    log_info("nobody reads this either"); /* must not block */
}

static void test_stop_without_reader_is_bounded(void **state)
{
    (void)state;
    check_stop_is_bounded();
}

static void test_stop_with_non_blocking_fd_is_bounded(void **state)
{
    (void)state;
    fcntl(reader.log_fd, F_SETFL, O_NONBLOCK);
    check_stop_is_bounded();
}

static void test_gone_reader(void **state)
{
    (void)state;
    assert_int_equal(log_register_thread("gone"), 0);
    close(reader.fd);
    reader.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    for (int i = 0; i < FLOOD; i++)
        log_info("gone %d", i);
    log_stop();
}

static void test_names_are_cut(void **state)
{
    char name[16];

    (void)state;
    assert_int_equal(log_register_thread("a name of more than fifteen"), 0);
    assert_int_equal(pthread_getname_np(pthread_self(), name, sizeof(name)), 0);
    assert_string_equal(name, "a name of more ");
    log_info("text");
    wait_for_text("INFO a name of more : text\n");
}

#define LOG_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOG_TEST(test_line_form),
        LOG_TEST(test_thread_without_ring),
        LOG_TEST(test_levels),
        LOG_TEST(test_debug_arguments_wait_for_level),
        LOG_TEST(test_escapes),
        LOG_TEST(test_long_lines_are_cut),
        LOG_TEST(test_escapes_are_cut_whole),
        LOG_TEST(test_errno_survives),
        LOG_TEST(test_threads_at_once),
        LOG_TEST(test_full_ring_drops_and_tells),
        LOG_TEST(test_waiting_for_room),
        LOG_TEST(test_every_line_wakes),
        LOG_TEST(test_stop_writes_what_is_queued),
        LOG_TEST(test_stop_without_reader_is_bounded),
        LOG_TEST(test_stop_with_non_blocking_fd_is_bounded),
        LOG_TEST(test_gone_reader),
        LOG_TEST(test_names_are_cut),
    };

    signal(SIGPIPE, SIG_IGN); /* as the daemon does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
