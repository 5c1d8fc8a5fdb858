/* The operator's maintenance: no probes, and the first one after it decides alone. */
#include "lb4/base/sock.h"

#include "stage.h"

enum { MAX_OPEN = 64 };

#define STAGED(test) cmocka_unit_test_setup_teardown(test, stage_prepare, stage_check_descriptors)

/* What control does. */
static void maint(struct backend *backend)
{
    backend_set(backend, PICK_MAINT);
    backend_clear(backend, PICK_DRAIN | PICK_NEW);
    mailbox_post(&stage.prober.mailbox, MAILBOX_WISH);
}

static void ready(struct backend *backend)
{
    backend_set(backend, PICK_NEW);
    backend_clear(backend, PICK_MAINT);
    mailbox_post(&stage.prober.mailbox, MAILBOX_WISH);
}

static void expect_note(const struct backend *backend, const char *text)
{
    char found[NOTE_TEXT_MAX];

    assert_true(note_read(&backend->health, found) > 0);
    assert_string_equal(found, text);
}

/* The interval is an hour: every probe but the first is sent for the wish. */
static void test_ready_is_probed_before_it_is_used(void **state)
{
    struct addr at;
    int listener = sockets_listen(&at);
    struct service *service = stage_add_service("s", stage_check());
    struct backend *backend = stage_add_server(service, &at);

    (void)state;
    stage_start(MAX_OPEN);
    stage_until_logged("first probes are done: 1 of 1 servers are up");
    maint(backend);
    ready(backend);
    stage_until(backend, PICK_NEW, false);
    assert_int_equal(stats_read(&stage_checks(backend)->ok), 2);
    assert_true(stage_has(backend, PICK_FRESH));
    assert_false(stage_has(backend, PICK_UNUSABLE));
    expect_note(backend, "its first probe after maintenance was answered");
    stage_until_logged("server s/s1 is UP after maintenance; 1 of 1 servers of s are up");
    stage_stop();
    close(listener);
}

/* One failure is enough, whatever `fall` says. */
static void test_first_probe_decides_alone(void **state)
{
    struct addr at;
    int listener = sockets_listen(&at);
    struct service *service = stage_add_service("s", stage_check());
    struct backend *backend = stage_add_server(service, &at);

    (void)state;
    stage_start(MAX_OPEN);
    stage_until_logged("first probes are done: 1 of 1 servers are up");
    maint(backend);
    close(listener);
    ready(backend);
    stage_until(backend, PICK_NEW, false);
    assert_true(stage_has(backend, PICK_DOWN));
    assert_int_equal(stats_read(&stage_checks(backend)->failed), 1);
    stage_until_logged("server s/s1 is DOWN: connection refused; this was its first probe");
    stage_stop();
    expect_note(backend, "connection refused");
}

/* It went into maintenance for being down: one success is enough, whatever `rise` says; and before
 * that one failure more leaves it down. */
static void test_down_before_maintenance(void **state)
{
    struct addr at = sockets_closed_port();
    struct service *service = stage_add_service("s", stage_check());
    struct backend *backend = stage_add_server(service, &at);
    int listener;

    (void)state;
    stage_start(MAX_OPEN);
    stage_until_logged("first probes are done: 0 of 1 servers are up");
    assert_true(stage_has(backend, PICK_DOWN));
    maint(backend);
    ready(backend);
    stage_until(backend, PICK_NEW, false);
    assert_true(stage_has(backend, PICK_DOWN));
    stage_until_logged("server s/s1 is DOWN after maintenance: connection refused");
    maint(backend);
    listener = sock_listen(&at, &(struct sock_listen_options){0});
    assert_true(listener >= 0);
    ready(backend);
    stage_until(backend, PICK_NEW, false);
    assert_false(stage_has(backend, PICK_DOWN));
    assert_int_equal(stats_read(&stage_checks(backend)->ok), 1);
    stage_until_logged("server s/s1 is UP; it was down for");
    stage_stop();
    close(listener);
}

/* The probe that was under way says nothing about the time after maintenance: it is given up, and
 * another one is sent. The first waits at a listener whose queue is full. */
static void test_probe_from_before_is_given_up(void **state)
{
    struct addr at;
    struct hole hole = hole_open(&at);
    struct service *service = stage_add_service("s", stage_check());
    struct backend *backend = stage_add_server(service, &at);

    (void)state;
    stage_start(MAX_OPEN);
    hole_until_knocked(&at);
    maint(backend);
    ready(backend);
    hole_make_room(&hole);
    stage_until(backend, PICK_NEW, false);
    assert_false(stage_has(backend, PICK_DOWN));
    assert_int_equal(stats_read(&stage_checks(backend)->ok), 1);
    stage_stop();
    hole_close(&hole);
}

/* Its descriptor is given back, though its time is not over for an hour. */
static void test_maintenance_ends_the_probe_under_way(void **state)
{
    struct addr at;
    struct hole hole = hole_open(&at);
    struct service_check check = stage_check();
    struct service *service;
    struct backend *backend;
    struct patience patience = patience_new();
    size_t n_fds;

    (void)state;
    check.timeout_ns = check.interval_ns;
    service = stage_add_service("s", check);
    backend = stage_add_server(service, &at);
    stage_start(MAX_OPEN);
    hole_until_knocked(&at);
    n_fds = sockets_count_fds();
    maint(backend);
    while (sockets_count_fds() == n_fds && patience_holds(&patience))
        usleep(200);
    assert_int_equal(sockets_count_fds(), n_fds - 1);
    assert_int_equal(stats_read(&stage_checks(backend)->failed), 0);
    stage_stop();
    hole_close(&hole);
}

/* The same wish told again, and one about a service that is not probed, disturb nobody. */
static void test_others_are_left_alone(void **state)
{
    struct service_check unprobed = {.is_probed = false};
    struct addr at;
    int listener = sockets_listen(&at);
    struct service *service = stage_add_service("s", stage_check());
    struct backend *first = stage_add_server(service, &at);
    struct backend *second = stage_add_server(service, &at);
    struct backend *third = stage_add_server(stage_add_service("u", unprobed), &at);

    (void)state;
    stage_start(MAX_OPEN);
    stage_until_count(&stage_checks(first)->ok, 1);
    stage_until_count(&stage_checks(second)->ok, 1);
    maint(third);
    for (int i = 0; i < 3; i++) {
        maint(first);
        ready(first);
        stage_until(first, PICK_NEW, false);
    }
    assert_int_equal(stats_read(&stage_checks(second)->ok), 1);
    assert_int_equal(stats_read(&stage_checks(third)->ok), 0);
    stage_stop();
    expect_note(second, "its first probe was answered");
    expect_note(third, "not probed");
    close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(test_ready_is_probed_before_it_is_used),
        STAGED(test_first_probe_decides_alone),
        STAGED(test_down_before_maintenance),
        STAGED(test_probe_from_before_is_given_up),
        STAGED(test_maintenance_ends_the_probe_under_way),
        STAGED(test_others_are_left_alone),
    };

    return cmocka_run_group_tests(tests, stage_open_log, stage_close_log);
}
