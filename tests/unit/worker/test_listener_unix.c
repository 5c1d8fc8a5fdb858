#include "lb4/worker/listener_unix.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "lb4/base/unix_path.h"
#include "lb4/conf/memory.h"
#include "lb4/worker/listener_change.h"

#include "../conf/conf_text.h"
#include "../relay/sockets.h"

enum { N_WORKERS = 3 };

static char folder[] = "/tmp/lb4-front-XXXXXX";
static char text[LISTENER_ERROR_MAX];
static struct service_table services;
static struct listener_table table;
static struct service *by_conf[1];

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

/* "listen tcp unix:FOLDER/NAME WORDS", twice where there are two names. */
static struct conf read_conf(const char *first, const char *second)
{
    struct conf conf;
    char lines[512];
    int n = snprintf(lines, sizeof(lines), "service a {\nserver s 10.0.0.1:1\n");

    n += snprintf(lines + n, sizeof(lines) - (size_t)n, "listen tcp unix:%s/%s\n", folder, first);
    if (second)
        n += snprintf(lines + n, sizeof(lines) - (size_t)n, "listen tcp unix:%s/%s\n", folder,
                      second);
    snprintf(lines + n, sizeof(lines) - (size_t)n, "}\n");
    conf_text_accept(lines, &conf);
    return conf;
}

static mode_t mode_of(const char *name)
{
    char path[128];
    struct stat status;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return lstat(path, &status) < 0 ? 07777 : status.st_mode & 07777;
}

static void open_table(const char *first, const char *second)
{
    const struct listener_table_options options = {.n_workers = N_WORKERS};
    struct conf conf = read_conf(first, second);

    assert_int_equal(service_table_init(&services, &conf), 0);
    by_conf[0] = &services.services[0];
    assert_int_equal(listener_table_open(&table, &conf, &services, &options, text), 0);
    conf_free(&conf);
}

static void close_table(void)
{
    listener_table_close(&table);
    service_table_fini(&services);
}

static void change(const char *first, const char *second)
{
    struct conf conf = read_conf(first, second);
    struct listener_change step;

    assert_int_equal(listener_change_prepare(&step, &table, &conf, by_conf, text), 0);
    listener_change_commit(&step, 0);
    listener_change_end(&step);
    conf_free(&conf);
}

/* One socket each, of different workers. */
static void test_one_owner(void **state)
{
    size_t n_fds = sockets_count_fds();

    (void)state;
    open_table("x", "y mode 0600");
    assert_int_equal(sockets_count_fds(), n_fds + 2);
    for (size_t i = 0; i < 2; i++)
        for (size_t worker = 0; worker < N_WORKERS; worker++)
            assert_int_equal(table.fds[i * N_WORKERS + worker] >= 0, worker == i);
    assert_int_equal(mode_of("x"), 0660);
    assert_int_equal(mode_of("y"), 0600);
    close_table();
    assert_int_equal(sockets_count_fds(), n_fds);
    assert_int_equal(mode_of("x"), 07777);
    assert_int_equal(mode_of("y"), 07777);
}

static void test_changes(void **state)
{
    struct unix_file before;

    (void)state;
    open_table("x", NULL);
    before = table.listeners[0].file;
    change("x mode 0640", "y");
    assert_int_equal(mode_of("x"), 0640);
    assert_int_equal(mode_of("y"), 0660);
    assert_int_equal(table.listeners[0].file.inode, before.inode);
    assert_int_equal(table.listeners[0].words.mode, 0640);
    change("y", NULL);
    assert_int_equal(mode_of("x"), 07777);
    assert_int_equal(mode_of("y"), 0660);
    close_table();
}

/* The second is in use, so the first is not kept either. */
static void test_nothing_is_left_of_a_change_that_fails(void **state)
{
    const struct listener_owner nobody = {(uid_t)-1, (gid_t)-1};
    struct listener other = {.transport = CONF_TCP, .words.mode = 0600};
    struct listener_change step;
    struct conf conf;
    int fd;

    (void)state;
    open_table("x", NULL);
    conf = read_conf("new", "taken");
    other.addr = conf.services[0].listens[1].addr;
    other.service = by_conf[0];
    fd = listener_unix_bind(&other, &nobody, text);
    assert_true(fd >= 0);
    assert_int_equal(listener_unix_probe(&other, text), -EADDRINUSE);
    assert_int_equal(listener_change_prepare(&step, &table, &conf, by_conf, text), -EADDRINUSE);
    assert_non_null(strstr(text, "cannot listen on unix:"));
    assert_non_null(strstr(text, "/taken of service a: in use"));
    assert_int_equal(mode_of("new"), 07777);
    assert_int_equal(mode_of("x"), 0660);
    close(fd);
    listener_unix_remove(&other);
    assert_int_equal(mode_of("taken"), 07777);
    conf_free(&conf);
    close_table();
}

static void test_the_mode_of_what_is_not_ours(void **state)
{
    struct listener listener = {.words.mode = 0600};

    (void)state;
    addr_unix((uint32_t)unix_path_number("/dev/null"), &listener.addr);
    listener_unix_set_mode(&listener, 0777); /* no file of ours is known: nothing is done */
    assert_int_equal(listener.words.mode, 0777);
    listener.file = (struct unix_file){1, 1};
    listener_unix_set_mode(&listener, 0600); /* it is no socket */
    listener_unix_remove(&listener);
    assert_int_equal(access("/dev/null", F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_owner),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_nothing_is_left_of_a_change_that_fails),
        cmocka_unit_test(test_the_mode_of_what_is_not_ours),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
