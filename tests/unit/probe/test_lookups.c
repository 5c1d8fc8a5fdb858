/* Look-ups in threads; the look-up itself is of this test, and can be held. */
#include "lb4/probe/lookups.h"

#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static atomic_int n_prepared;
static atomic_int n_run;

void __wrap_lookup_run(struct resolver_name *name);
void __wrap_lookup_run(struct resolver_name *name)
{
    if (strcmp(name->host, "waits") == 0) {
        pthread_mutex_lock(&gate);
        pthread_mutex_unlock(&gate);
    }
    name->error = name->is_srv ? EAI_NONAME : EAI_AGAIN;
    atomic_fetch_add(&n_run, 1);
}

static int prepare(void)
{
    return atomic_fetch_add(&n_prepared, 1);
}

static struct mailbox control;
static struct lookups *lookups;

static int setup(void **state)
{
    (void)state;
    atomic_store(&n_prepared, 0);
    atomic_store(&n_run, 0);
    assert_int_equal(mailbox_init(&control), 0);
    lookups = lookups_new(&control, prepare);
    assert_non_null(lookups);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mailbox_fini(&control);
    return 0;
}

/* The next answer, for which the mailbox wakes. */
static struct resolver_name take(void)
{
    struct resolver_name name;

    while (!lookups_take(lookups, &name)) {
        struct pollfd wanted = {.fd = control.event_fd, .events = POLLIN};

        assert_int_equal(poll(&wanted, 1, 20000), 1);
        assert_true(mailbox_take(&control) & MAILBOX_PROGRESS);
    }
    return name;
}

static void forget(struct resolver_name *name)
{
    free((char *)(uintptr_t)name->host);
}

static void test_answers(void **state)
{
    struct resolver_name name;

    (void)state;
    assert_false(lookups_take(lookups, &name));
    assert_true(lookups_start(lookups, "a", false));
    name = take();
    assert_string_equal(name.host, "a");
    assert_int_equal(name.error, EAI_AGAIN);
    forget(&name);
    assert_true(lookups_start(lookups, "b", true));
    name = take();
    assert_int_equal(name.error, EAI_NONAME);
    forget(&name);
    assert_int_equal(atomic_load(&n_prepared), 2);
    lookups_leave(lookups);
}

/* One that hangs keeps nobody waiting; there is an end to how many may. */
static void test_one_that_hangs(void **state)
{
    struct resolver_name name;

    (void)state;
    pthread_mutex_lock(&gate);
    for (int i = 0; i < LOOKUPS_MAX - 1; i++)
        assert_true(lookups_start(lookups, "waits", false));
    assert_true(lookups_start(lookups, "a", false));
    name = take();
    assert_string_equal(name.host, "a");
    forget(&name);
    assert_true(lookups_start(lookups, "waits", false));
    assert_false(lookups_start(lookups, "a", false));
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < LOOKUPS_MAX; i++) {
        name = take();
        forget(&name);
    }
    assert_true(lookups_start(lookups, "a", false));
    name = take();
    forget(&name);
    lookups_leave(lookups);
}

/* Who leaves waits for nobody, and is told nothing any more. */
static void test_left(void **state)
{
    (void)state;
    pthread_mutex_lock(&gate);
    assert_true(lookups_start(lookups, "waits", false));
    assert_true(lookups_start(lookups, "waits", false));
    lookups_leave(lookups);
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < 20000 && atomic_load(&n_run) < 2; i++)
        usleep(1000);
    assert_int_equal(atomic_load(&n_run), 2);
    usleep(10000); /* to the end of the threads, for the sanitizers */
    assert_int_equal(mailbox_take(&control), 0);
    lookups_leave(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_that_hangs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_left, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
