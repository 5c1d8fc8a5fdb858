/* The writer with sinks that come and go; with pipes test_log.c tests it. */
#include "lb4/base/log_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"

enum { DEADLINE_MS = 5000, N_MOVES = 50, N_LINES = 100 };

static char directory[] = "/tmp/lb4-writer-XXXXXX";
static char path[64];
static int null_fd;

static int set_up(void **state)
{
    (void)state;
    strcpy(directory + sizeof(directory) - 7, "XXXXXX");
    if (!mkdtemp(directory))
        return -1;
    snprintf(path, sizeof(path), "%s/log", directory);
    null_fd = open("/dev/null", O_WRONLY);
    log_set_level(LOG_LEVEL_INFO);
    return log_start(null_fd, NULL);
}

static int tear_down(void **state)
{
    char command[80];

    (void)state;
    log_stop();
    close(null_fd);
    snprintf(command, sizeof(command), "rm -r %s", directory);
    return system(command);
}

static void use_file(void)
{
    struct log_sink *sink;

    assert_int_equal(log_sink_open_file(path, -1, false, &sink), 0);
    log_use(sink);
}

static char *read_file(const char *name)
{
    static char text[1 << 20];
    FILE *file = fopen(name, "r");
    size_t n = file ? fread(text, 1, sizeof(text) - 1, file) : 0;

    if (file)
        fclose(file);
    text[n] = '\0';
    return text;
}

static void wait_for(const char *name, const char *wanted)
{
    uint64_t until = clock_now_ns() + DEADLINE_MS * CLOCK_NS_PER_MS;
    const struct timespec pause = {.tv_nsec = 1000000};

    while (!strstr(read_file(name), wanted)) {
        if (clock_now_ns() > until)
            fail_msg("\"%s\" did not come into %s", wanted, name);
        nanosleep(&pause, NULL);
    }
}

static long count(const char *text, const char *wanted)
{
    long n = 0;

    for (const char *at = text; (at = strstr(at, wanted)); at++)
        n++;
    return n;
}

/* Each line is in one of the files, once: in that which was in use when it was said. */
static void test_reopen_loses_nothing(void **state)
{
    static char seen[N_MOVES * N_LINES];
    char moved[128];
    char begin[32];

    (void)state;
    memset(seen, 0, sizeof(seen));
    assert_int_equal(log_register_thread("mover"), 0);
    use_file();
    log_info("begin 0.");
    wait_for(path, "begin 0.");
    for (int i = 0; i < N_MOVES; i++) {
        for (int k = 0; k < N_LINES; k++) {
            assert_true(log_wait_room(DEADLINE_MS));
            log_info("line %d.", i * N_LINES + k);
        }
        snprintf(moved, sizeof(moved), "%s.%d", path, i);
        assert_int_equal(rename(path, moved), 0);
        assert_int_equal(log_reopen(), 0);
        snprintf(begin, sizeof(begin), "mover: begin %d.", i + 1);
        log_info("begin %d.", i + 1);
        wait_for(path, begin); /* of two in a hurry the first may never be used */
    }
    log_info("the end.");
    wait_for(path, "the end.");
    assert_int_equal(log_dropped_total(), 0);
    for (int i = 0; i < N_MOVES; i++) {
        snprintf(moved, sizeof(moved), "%s.%d", path, i);
        for (const char *at = read_file(moved); (at = strstr(at, "mover: line ")); at++) {
            seen[atoi(at + 12)]++;
            assert_int_equal(atoi(at + 12) / N_LINES, i);
        }
        assert_int_equal(count(read_file(moved), "mover: begin "), 1);
    }
    for (const char *at = read_file(path); (at = strstr(at, "mover: line ")); at++)
        seen[atoi(at + 12)]++;
    for (int i = 0; i < N_MOVES * N_LINES; i++)
        assert_int_equal(seen[i], 1);
}

static void test_reopen_that_fails_changes_nothing(void **state)
{
    char moved[128];
    char away[80];

    (void)state;
    assert_int_equal(log_reopen(), 0); /* a descriptor: nothing to do */
    assert_int_equal(log_register_thread("mover"), 0);
    use_file();
    log_info("one");
    wait_for(path, "one\n");
    snprintf(away, sizeof(away), "%s.away", directory);
    snprintf(moved, sizeof(moved), "%s/log", away);
    assert_int_equal(rename(directory, away), 0);
    assert_int_equal(log_reopen(), -ENOENT);
    log_info("two");
    wait_for(moved, "two\n");
    assert_int_equal(rename(away, directory), 0);
}

static void limit_files(rlim_t n_bytes)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = n_bytes < limit.rlim_max ? n_bytes : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Every line is whole: counted, or a count of others. */
static void count_lines(const char *text, int *ret_lines, int *ret_told)
{
    *ret_lines = *ret_told = 0;
    for (const char *at = text; *at; at = strchr(at, '\n') + 1) {
        const char *said = strstr(at, ": ");
        int n;

        assert_non_null(said);
        if (sscanf(said, ": line %d of those that fill the disk\n", &n) == 1)
            ++*ret_lines;
        else if (sscanf(said, ": %d log lines dropped", &n) == 1)
            *ret_told += n;
        else
            fail_msg("torn: %.80s", at);
    }
}

/* A disk that is full, and then is not: the line that was begun is finished, the others are counted
 * and told of. The limit of a file's size is such a disk. */
static void test_full_disk(void **state)
{
    const struct timespec pause = {.tv_nsec = 100000000};
    int n_lines;
    int n_told;

    (void)state;
    assert_int_equal(log_register_thread("disk"), 0);
    use_file();
    limit_files(10000);
    for (int i = 0; i < 1000; i++) {
        assert_true(log_wait_room(DEADLINE_MS));
        log_info("line %d of those that fill the disk", i);
    }
    while (log_dropped_total() == 0)
        nanosleep(&pause, NULL);
    assert_int_equal(strlen(read_file(path)), 10000);
    nanosleep(&pause, NULL); /* for lines that are still on their way */
    limit_files(RLIM_INFINITY);
    wait_for(path, " log lines dropped: File too large\n");
    log_info("line 1000 of those that fill the disk");
    wait_for(path, "line 1000 of those that fill the disk\n");
    count_lines(read_file(path), &n_lines, &n_told);
    assert_in_range(n_lines, 50, 200);
    assert_int_equal(n_lines + n_told, 1001);
    assert_int_equal(log_dropped_total(), n_told);
}

static int syslogd_open(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = DEADLINE_MS / 1000};
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

    snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
    assert_int_equal(bind(fd, (const struct sockaddr *)&at, sizeof(at)), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return fd;
}

static const char *receive(int fd)
{
    static char text[2048];
    ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

    if (n < 0)
        fail_msg("nothing came: %s", strerror(errno));
    text[n] = '\0';
    return text;
}

/* A syslogd that is started anew loses nothing; one that stays away costs lines, which are counted
 * and told of. */
static void test_syslog(void **state)
{
    struct log_sink *sink;
    const struct timespec pause = {.tv_nsec = 200000000};
    const struct timespec retried = {.tv_sec = 1, .tv_nsec = 500000000};
    int fd = syslogd_open();
    char wanted[64];

    (void)state;
    assert_int_equal(log_register_thread("talker"), 0);
    assert_int_equal(log_sink_open_syslog(path, 3, false, &sink), 0);
    log_use(sink);
    log_info("one");
    assert_non_null(strstr(receive(fd), "]: INFO talker: one"));
    close(fd);
    unlink(path);
    for (int i = 0; i < 20; i++)
        log_info("away %d.", i);
    nanosleep(&pause, NULL);
    fd = syslogd_open();
    for (int i = 0; i < 20; i++) {
        snprintf(wanted, sizeof(wanted), "talker: away %d.", i);
        assert_non_null(strstr(receive(fd), wanted));
    }
    close(fd);
    unlink(path);
    log_info("lost");
    log_info("lost, too");
    while (log_dropped_total() < 2)
        nanosleep(&pause, NULL);
    nanosleep(&retried, NULL); /* telling of it fails, too, and counts for nothing */
    /* Another sink is as patient as the first. */
    assert_int_equal(log_sink_open_syslog(path, 3, false, &sink), 0);
    log_use(sink);
    log_info("patient");
    nanosleep(&pause, NULL);
    fd = syslogd_open();
    assert_non_null(strstr(receive(fd), "talker: patient"));
    assert_non_null(strstr(receive(fd), "WARN log: 2 log lines dropped: No such file"));
    log_info("here");
    assert_non_null(strstr(receive(fd), "talker: here"));
    close(fd);
}

static long read_pipe(int fd)
{
    static char text[1 << 17];
    ssize_t n = read(fd, text, sizeof(text) - 1);

    assert_true(n > 0);
    text[n] = '\0';
    return count(text, "stuck: fill\n");
}

/* The reader of a pipe has stopped reading: another sink helps at once, and has all but the few
 * lines that were on their way. */
static void test_from_a_stuck_pipe_to_a_file(void **state)
{
    enum { BATCH_LINES_MAX = 4096 / 40 };
    int ends[2];
    long n_said = 0;
    long n_told = 0;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(log_register_thread("stuck"), 0);
    log_use(log_sink_new_fd(ends[1], false));
    for (; log_wait_room(50); n_said++)
        log_info("fill");
    use_file();
    assert_true(log_wait_room(DEADLINE_MS));
    log_info("after");
    wait_for(path, "stuck: after\n");
    wait_for(path, " log lines dropped\n");
    for (const char *at = read_file(path); (at = strstr(at, " log: ")); at++)
        n_told += atol(at + 6);
    assert_in_range(n_told, 1, BATCH_LINES_MAX);
    assert_int_equal(log_dropped_total(), n_told);
    assert_int_equal(count(read_file(path), "fill\n") + n_told + read_pipe(ends[0]), n_said);
    log_stop();
    close(ends[0]);
    close(ends[1]);
}

/* Each line is in the file, or was counted. */
static void test_from_a_full_disk_to_a_file(void **state)
{
    const struct timespec pause = {.tv_nsec = 1000000};
    int full = open("/dev/full", O_WRONLY);

    (void)state;
    assert_true(full >= 0);
    assert_int_equal(log_register_thread("full"), 0);
    log_use(log_sink_new_fd(full, false));
    log_info("lost");
    while (log_dropped_total() == 0)
        nanosleep(&pause, NULL);
    for (int i = 0; i < 50; i++) {
        log_info("kept, or counted %d", i);
        use_file();
        log_info("kept %d.", i);
    }
    log_info("the end");
    wait_for(path, "full: the end\n");
    wait_for(path, "log lines dropped");
    assert_int_equal(count(read_file(path), "full: kept "), 50);
    assert_int_equal(count(read_file(path), "full: kept, or counted ") + (long)log_dropped_total(),
                     51);
    close(full);
}

static void test_sinks_in_a_hurry(void **state)
{
    (void)state;
    assert_int_equal(log_register_thread("hurry"), 0);
    for (int i = 0; i < 200; i++) {
        log_info("line %d.", i);
        use_file();
    }
    log_info("the end.");
    wait_for(path, "the end.");
    log_stop();
    use_file(); /* without a writer */
    log_info("straight");
    assert_non_null(strstr(read_file(path), "main: straight\n"));
}

static void *log_straight(void *unused)
{
    for (int i = 0; i < 500; i++)
        log_info("straight %d.", i);
    return unused;
}

/* A thread without a ring writes while sinks change. */
static void test_straight_while_sinks_change(void **state)
{
    pthread_t thread;
    long n = 0;

    (void)state;
    assert_int_equal(log_register_thread("changer"), 0);
    use_file();
    log_info("it is used");
    wait_for(path, "it is used\n");
    assert_int_equal(pthread_create(&thread, NULL, log_straight, NULL), 0);
    for (int i = 0; i < 200; i++)
        assert_int_equal(log_reopen(), 0);
    pthread_join(thread, NULL);
    log_stop();
    for (const char *at = read_file(path); (at = strstr(at, "main: straight ")); at++)
        n++;
    assert_int_equal(n, 500);
}

static atomic_bool is_over;

static void *read_syslog(void *fd)
{
    long n = 0;
    char text[2048];
    ssize_t got;

    while ((got = recv(*(int *)fd, text, sizeof(text) - 1, 0)) > 0 || !atomic_load(&is_over)) {
        text[got > 0 ? got : 0] = '\0';
        n += got > 0 && strstr(text, ": straight ");
    }
    return (void *)n; // NOLINT(performance-no-int-to-ptr)
}

/* Two threads write to syslog, each on a socket of its own. */
static void test_straight_to_syslog(void **state)
{
    struct log_sink *sink;
    struct timeval patience = {.tv_usec = 100000};
    int fd = syslogd_open();
    pthread_t reader;
    pthread_t thread;
    void *n_read;

    (void)state;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    atomic_store(&is_over, false);
    assert_int_equal(log_register_thread("talker"), 0);
    assert_int_equal(log_sink_open_syslog(path, 3, false, &sink), 0);
    log_use(sink);
    log_info("one");
    assert_non_null(strstr(receive(fd), "]: INFO talker: one"));
    assert_int_equal(pthread_create(&reader, NULL, read_syslog, &fd), 0);
    assert_int_equal(pthread_create(&thread, NULL, log_straight, NULL), 0);
    for (int i = 0; i < 500; i++) {
        assert_true(log_wait_room(DEADLINE_MS));
        log_info("queued %d.", i);
    }
    pthread_join(thread, NULL);
    log_stop();
    atomic_store(&is_over, true);
    pthread_join(reader, &n_read);
    /* A full queue costs a line that has nowhere to wait. */
    assert_int_equal((long)n_read + (long)log_dropped_total(), 500);
    close(fd);
}

#define WRITER_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WRITER_TEST(test_reopen_loses_nothing),
        WRITER_TEST(test_reopen_that_fails_changes_nothing),
        WRITER_TEST(test_full_disk),
        WRITER_TEST(test_syslog),
        WRITER_TEST(test_from_a_stuck_pipe_to_a_file),
        WRITER_TEST(test_from_a_full_disk_to_a_file),
        WRITER_TEST(test_sinks_in_a_hurry),
        WRITER_TEST(test_straight_while_sinks_change),
        WRITER_TEST(test_straight_to_syslog),
    };

    signal(SIGPIPE, SIG_IGN); /* as the daemon does */
    signal(SIGXFSZ, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
