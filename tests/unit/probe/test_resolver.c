/* The resolver against a getaddrinfo(3) of our own: names that hang, that fail, that kill. Not a
 * packet is sent. */
#include "lb4/probe/resolver.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lb4/base/clock.h"

/* A list of the addresses in `text`, which blanks separate. */
static struct addrinfo *make_list(const char *text)
{
    struct addrinfo *first = NULL;
    struct addrinfo **end = &first;
    char *copy = strdup(text);
    char *rest = copy;
    char *word;

    while ((word = strsep(&rest, " "))) {
        struct sockaddr_in6 *in6 = calloc(1, sizeof(*in6));
        struct sockaddr_in *in4 = calloc(1, sizeof(*in4));
        bool is_in6 = strchr(word, ':');

        *end = calloc(1, sizeof(**end));
        (*end)->ai_family = is_in6 ? AF_INET6 : AF_INET;
        (*end)->ai_addr = is_in6 ? (struct sockaddr *)in6 : (struct sockaddr *)in4;
        (*end)->ai_addr->sa_family = is_in6 ? AF_INET6 : AF_INET;
        in4->sin_port = in6->sin6_port = htons(7);
        if (inet_pton((*end)->ai_family, word,
                      is_in6 ? (void *)&in6->sin6_addr : (void *)&in4->sin_addr) != 1)
            abort();
        free(is_in6 ? (void *)in4 : (void *)in6);
        end = &(*end)->ai_next;
    }
    free(copy);
    return first;
}

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

/* What a name does stands in the name. */
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **ret)
{
    (void)service;
    if (strcmp(host, "hangs") == 0)
        for (;;)
            pause();
    if (strcmp(host, "waits") == 0) {
        pthread_mutex_lock(&gate);
        pthread_mutex_unlock(&gate);
        host = "one";
    }
    if (strcmp(host, "kills") == 0)
        kill(getpid(), SIGKILL);
    if (strcmp(host, "exits") == 0)
        _exit(3);
    if (strncmp(host, "slow", 4) == 0)
        usleep(200000);
    if (strcmp(host, "unknown") == 0)
        return EAI_NONAME;
    if (strcmp(host, "again") == 0)
        return EAI_AGAIN;
    if (strcmp(host, "family") == 0 && hints->ai_flags & AI_ADDRCONFIG)
        return EAI_NODATA;
    if (strcmp(host, "family") == 0)
        *ret = make_list("2001:db8::2");
    else if (strcmp(host, "several") == 0)
        *ret = make_list("10.0.0.2 ::ffff:10.0.0.1 2001:db8::1 10.0.0.1 10.0.0.2 2001:db8::1");
    else if (strcmp(host, "many") == 0)
        *ret = make_list("10.0.0.18 10.0.0.17 "
                         "10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6 10.0.0.7 10.0.0.8 "
                         "10.0.0.9 10.0.0.10 10.0.0.11 10.0.0.12 10.0.0.13 10.0.0.14 10.0.0.15 "
                         "10.0.0.16");
    else
        *ret = make_list("10.0.0.1");
    return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
    while (list) {
        struct addrinfo *next = list->ai_next;

        free(list->ai_addr);
        free(list);
        list = next;
    }
}

static size_t count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* Resolve, and check what holds whatever happens: no child, no descriptor is left. Returns how long
 * it took. */
static uint64_t resolve_ms(struct resolver_name *names, size_t n_names, uint64_t timeout_ms)
{
    size_t n_descriptors = count_descriptors();
    uint64_t begin_ns = clock_now_ns();
    uint64_t took_ns;

    assert_int_equal(resolver_resolve(names, n_names, timeout_ms), 0);
    took_ns = clock_now_ns() - begin_ns;
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    assert_int_equal(count_descriptors(), n_descriptors);
    return took_ns / CLOCK_NS_PER_MS;
}

static void check_addr(const struct resolver_name *name, size_t i, const char *expected)
{
    char text[ADDR_TEXT_MAX];

    assert_true(i < name->n_addrs);
    assert_string_equal(addr_format(&name->addrs[i], text), expected);
}

static void test_addresses(void **state)
{
    struct resolver_name names[] = {{.host = "one"},     {.host = "several"}, {.host = "many"},
                                    {.host = "unknown"}, {.host = "again"},   {.host = "family"}};

    (void)state;
    resolve_ms(names, 6, 20000);
    assert_int_equal(names[0].n_addrs, 1);
    assert_int_equal(names[0].error, 0);
    check_addr(&names[0], 0, "10.0.0.1:0");
    assert_int_equal(names[1].n_addrs, 3);
    check_addr(&names[1], 0, "10.0.0.1:0"); /* given after 10.0.0.2: answers rotate */
    check_addr(&names[1], 1, "10.0.0.2:0");
    check_addr(&names[1], 2, "[2001:db8::1]:0");
    assert_int_equal(names[2].n_addrs, RESOLVER_ADDRS_MAX);
    check_addr(&names[2], 0, "10.0.0.1:0");
    check_addr(&names[2], RESOLVER_ADDRS_MAX - 1, "10.0.0.16:0");
    assert_true(names[2].is_cut && !names[1].is_cut);
    assert_int_equal(names[3].n_addrs, 0);
    assert_int_equal(names[3].error, EAI_NONAME);
    assert_int_equal(names[4].error, EAI_AGAIN);
    assert_int_equal(names[5].n_addrs, 1);
    check_addr(&names[5], 0, "[2001:db8::2]:0");
}

/* Those that have answered count. */
static void test_deadline(void **state)
{
    struct resolver_name names[] = {{.host = "hangs"}, {.host = "one"}, {.host = "unknown"}};
    uint64_t took_ms;

    (void)state;
    took_ms = resolve_ms(names, 3, 1000);
    assert_in_range(took_ms, 1000, 5000);
    assert_int_equal(names[0].n_addrs, 0);
    assert_int_equal(names[0].error, EAI_INPROGRESS);
    assert_int_equal(names[1].n_addrs, 1);
    assert_int_equal(names[2].error, EAI_NONAME);
}

static void test_at_the_same_time(void **state)
{
    struct resolver_name names[30];

    (void)state;
    for (size_t i = 0; i < 30; i++)
        names[i] = (struct resolver_name){.host = "slow"};
    assert_in_range(resolve_ms(names, 30, 20000), 200, 1500);
    for (size_t i = 0; i < 30; i++)
        assert_int_equal(names[i].n_addrs, 1);
}

/* More names than threads, and than a pipe holds records. */
static void test_many_names(void **state)
{
    enum { N = 2000 };
    static struct resolver_name names[N];

    (void)state;
    for (size_t i = 0; i < N; i++)
        names[i].host = i % 3 ? "several" : "unknown";
    resolve_ms(names, N, 20000);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(names[i].n_addrs, i % 3 ? 3 : 0);
        assert_int_equal(names[i].error, i % 3 ? 0 : EAI_NONAME);
    }
}

static void test_child_dies(void **state)
{
    static const char *const hosts[] = {"kills", "exits"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct resolver_name name = {.host = hosts[i]};

        assert_in_range(resolve_ms(&name, 1, 20000), 0, 15000);
        assert_int_equal(name.n_addrs, 0);
        assert_int_equal(name.error, EAI_FAIL);
    }
}

static void do_nothing(int number)
{
    (void)number;
}

/* A timer that fires all the time, without SA_RESTART; the child does not inherit it (fork(2)). */
static void test_interrupted(void **state)
{
    struct sigaction action = {.sa_handler = do_nothing};
    struct itimerval often = {{0, 2000}, {0, 2000}};
    struct itimerval never = {{0, 0}, {0, 0}};
    struct resolver_name names[] = {{.host = "slow"}, {.host = "hangs"}};

    (void)state;
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    resolve_ms(names, 2, 1000);
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    assert_int_equal(names[0].n_addrs, 1);
    assert_int_equal(names[1].error, EAI_INPROGRESS);
}

/* A process that ignores its children's ends gets no zombie and no error either. */
static void test_children_ignored(void **state)
{
    struct resolver_name name = {.host = "one"};

    (void)state;
    signal(SIGCHLD, SIG_IGN);
    resolve_ms(&name, 1, 20000);
    signal(SIGCHLD, SIG_DFL);
    assert_int_equal(name.n_addrs, 1);
}

static void note_exit(void)
{
    static const char text[] = "atexit ran\n";

    if (write(STDOUT_FILENO, text, sizeof(text) - 1) < 0)
        abort();
}

/* The child runs no exit handler and flushes no buffer of ours: one process, one output. */
static void test_child_is_silent(void **state)
{
    struct resolver_name name = {.host = "one"};
    char text[64] = "";
    size_t n_read = 0;
    ssize_t n;
    int fds[2];
    pid_t pid;

    (void)state;
#ifdef __SANITIZE_THREAD__
    skip(); /* its runtime flushes every stream in _exit(2) */
#endif
    assert_int_equal(pipe(fds), 0);
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        close(fds[0]);
        close(fds[1]);
        atexit(note_exit);
        fputs("buffered\n", stdout);
        resolver_resolve(&name, 1, 20000);
        fflush(stdout);
        note_exit();
        _exit(name.n_addrs == 1 ? 0 : 1);
    }
    close(fds[1]);
    while ((n = read(fds[0], text + n_read, sizeof(text) - 1 - n_read)) > 0)
        n_read += (size_t)n;
    close(fds[0]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_string_equal(text, "buffered\natexit ran\n");
}

static size_t count_entries(const char *path)
{
    DIR *folder = opendir(path);
    size_t n = 0;

    assert_non_null(folder);
    while (readdir(folder))
        n++;
    closedir(folder);
    return n;
}

static void test_threads_find_the_same(void **state)
{
    static const char *const hosts[] = {"one", "several", "many", "unknown", "again", "family"};
    enum { N = sizeof(hosts) / sizeof(hosts[0]) };
    struct resolver_name names[2][N];

    (void)state;
    memset(names, 0xff, sizeof(names)); /* nothing of it counts but what is asked for */
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < N; i++) {
            names[k][i].host = hosts[i];
            names[k][i].is_srv = false;
        }
    assert_int_equal(resolver_resolve(names[0], N, 20000), 0);
    assert_int_equal(resolver_resolve_by_threads(names[1], N, 20000), 0);
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(names[0][i].error, names[1][i].error);
        assert_int_equal(names[0][i].n_addrs, names[1][i].n_addrs);
        assert_int_equal(names[0][i].is_cut, names[1][i].is_cut);
        for (size_t k = 0; k < names[0][i].n_addrs; k++)
            assert_true(addr_equal(&names[0][i].addrs[k], &names[1][i].addrs[k]));
    }
}

static size_t n_threads_at_first; /* before any name was looked up */

static void *tell_task(void *arg)
{
    snprintf(arg, 64, "/proc/self/task/%d", (int)gettid());
    return NULL;
}

/* ThreadSanitizer's own thread comes with the first; one that was joined may stay for a moment. */
static void count_threads_at_first(void)
{
    char path[64];
    pthread_t thread;

    if (pthread_create(&thread, NULL, tell_task, path) != 0)
        abort();
    pthread_join(thread, NULL);
    while (access(path, F_OK) == 0)
        continue;
    n_threads_at_first = count_entries("/proc/self/task");
}

/* Names that hang cost the time that there is, and no more; the others are there. When they are
 * let go, nothing of theirs is left: no thread, no descriptor, and no memory (AddressSanitizer). */
static void test_late_threads_end_by_themselves(void **state)
{
    struct resolver_name names[] = {{.host = "waits"}, {.host = "one"}, {.host = "waits"}};
    uint64_t began_ns = clock_now_ns();
    size_t n_fds;

    (void)state;
    while (count_entries("/proc/self/task") > n_threads_at_first) /* those of the test before */
        assert_true(clock_now_ns() - began_ns < 20 * CLOCK_NS_PER_S);
    n_fds = count_entries("/proc/self/fd");
    began_ns = clock_now_ns();
    pthread_mutex_lock(&gate);
    assert_int_equal(resolver_resolve_by_threads(names, 3, 100), 0);
    assert_true(clock_now_ns() - began_ns >= 100 * CLOCK_NS_PER_MS);
    assert_int_equal(names[0].error, EAI_INPROGRESS);
    assert_int_equal(names[1].n_addrs, 1);
    assert_int_equal(names[2].error, EAI_INPROGRESS);
    assert_int_equal(count_entries("/proc/self/task"), n_threads_at_first + 2);
    pthread_mutex_unlock(&gate);
    while (count_entries("/proc/self/task") > n_threads_at_first ||
           count_entries("/proc/self/fd") > n_fds)
        assert_true(clock_now_ns() - began_ns < 20 * CLOCK_NS_PER_S);
}

static void test_many_names_by_threads(void **state)
{
    enum { N = 500 };
    static struct resolver_name names[N];

    (void)state;
    for (size_t i = 0; i < N; i++)
        names[i].host = i % 2 ? "one" : "unknown";
    assert_int_equal(resolver_resolve_by_threads(names, N, 20000), 0);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(names[i].n_addrs, i % 2);
}

/* Who is told to end does not wait for names. */
static void test_threads_are_given_up_for_a_signal(void **state)
{
    struct resolver_name name = {.host = "waits"};
    sigset_t set;
    int number;

    (void)state;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    pthread_mutex_lock(&gate);
    pthread_kill(pthread_self(), SIGTERM);
    assert_int_equal(resolver_resolve_by_threads(&name, 1, 20000), -EINTR);
    pthread_mutex_unlock(&gate);
    sigwait(&set, &number);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_at_the_same_time),
        cmocka_unit_test(test_many_names),
        cmocka_unit_test(test_child_dies),
        cmocka_unit_test(test_interrupted),
        cmocka_unit_test(test_children_ignored),
        cmocka_unit_test(test_child_is_silent),
        cmocka_unit_test(test_threads_find_the_same),
        cmocka_unit_test(test_late_threads_end_by_themselves),
        cmocka_unit_test(test_many_names_by_threads),
        cmocka_unit_test(test_threads_are_given_up_for_a_signal),
    };

    count_threads_at_first();
    signal(SIGPIPE, SIG_IGN); /* as in the daemon: late answers find their pipe closed */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
