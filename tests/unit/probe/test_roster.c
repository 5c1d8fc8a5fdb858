#include "lb4/probe/roster.h"

#include <sys/resource.h>
#include <unistd.h>

#include "stage.h"

enum { MAX_OPEN = 100 };

static uint64_t n_questions;

/* Control's side: have it taken, and wait for the grace. */
static void take(struct prober_change change)
{
    struct patience patience = patience_new();

    change.max_open = MAX_OPEN;
    prober_take_change(&stage.prober, &change);
    mailbox_ask(&stage.prober.mailbox, ++n_questions);
    while (mailbox_answered(&stage.prober.mailbox) < n_questions && patience_holds(&patience))
        usleep(200);
}

static void start(void)
{
    n_questions = 0;
    stage_start(MAX_OPEN);
}

/* As a reload does it: another plan, which points to another check. */
static void give_check(struct service *service, const struct service_check *check)
{
    static struct service_plan plans[4];
    static size_t next;
    struct service_plan *plan = &plans[next++ % 4];

    *plan = stage.plans[service->index];
    plan->n_backends = service->n_places;
    plan->check = (struct service_check *)(uintptr_t)check;
    service->plan = plan;
    take((struct prober_change){0});
}

static void add(struct service *service, struct backend *backend)
{
    take((struct prober_change){.added = &backend, .added_to = &service, .n_added = 1});
}

static void forget(struct backend *backend)
{
    take((struct prober_change){.gone = &backend, .n_gone = 1});
}

static void test_added_is_probed_at_once(void **state)
{
    struct addr ats[2];
    int listeners[2] = {sockets_listen(&ats[0]), sockets_listen(&ats[1])};
    struct service *service = stage_add_service("one", stage_check());
    struct backend *first = stage_add_server(service, &ats[0]);
    struct backend *added;

    (void)state;
    start();
    stage_until_count(&stage_checks(first)->ok, 1);
    added = stage_add_server(service, &ats[1]);
    backend_set(added, PICK_NEW);
    add(service, added);
    stage_until(added, PICK_NEW, false);
    assert_false(stage_has(added, PICK_DOWN));
    assert_int_equal(stats_read(&stage_checks(added)->ok), 1);
    assert_int_equal(stats_read(&stage_checks(first)->ok), 1);
    stage_stop();
    close(listeners[0]);
    close(listeners[1]);
}

static void test_added_and_dead(void **state)
{
    struct addr at;
    struct addr nobody = sockets_closed_port();
    int listener = sockets_listen(&at);
    struct service *service = stage_add_service("one", stage_check());
    struct backend *first = stage_add_server(service, &at);
    struct backend *added;

    (void)state;
    start();
    stage_until_count(&stage_checks(first)->ok, 1);
    added = stage_add_server(service, &nobody);
    backend_set(added, PICK_NEW);
    add(service, added);
    stage_until(added, PICK_NEW, false);
    assert_true(stage_has(added, PICK_DOWN)); /* down before it may be chosen */
    stage_stop();
    close(listener);
}

/* Our own trouble says nothing of it; after a few times it is as good as one at the start. */
static void test_added_that_cannot_be_probed(void **state)
{
    struct addr at;
    int listener = sockets_listen(&at);
    struct service *service = stage_add_service("one", stage_check());
    struct backend *first = stage_add_server(service, &at);
    struct backend *added;
    struct rlimit before;
    struct rlimit full;

    (void)state;
    start();
    stage_until_count(&stage_checks(first)->ok, 1);
    added = stage_add_server(service, &at);
    backend_set(added, PICK_NEW);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    full = (struct rlimit){0, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &full), 0);
    add(service, added);
    stage_until(added, PICK_NEW, false);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(stats_read(&stage_checks(added)->unknown) >= 3);
    assert_false(stage_has(added, PICK_DOWN));
    stage_stop();
    close(listener);
}

/* Only its last connections are left; what it answers is of no interest. */
static void test_gone_is_not_probed(void **state)
{
    struct service_check check = stage_check();
    struct addr at;
    int listener = sockets_listen(&at);
    struct service *service = stage_add_service("one", check);
    struct backend *gone = stage_add_server(service, &at);
    struct backend *stays = stage_add_server(service, &at);
    uint64_t n_probes;

    (void)state;
    stage.checks[0].interval_ns = stage_ms(20);
    start();
    stage_until_count(&stage_checks(gone)->ok, 2);
    backend_set(gone, PICK_GONE);
    take((struct prober_change){0});
    n_probes = stats_read(&stage_checks(gone)->ok);
    close(listener);
    stage_until(stays, PICK_DOWN, true);
    assert_true(stats_read(&stage_checks(gone)->ok) + stats_read(&stage_checks(gone)->failed) <=
                n_probes + 1);
    assert_false(stage_has(gone, PICK_DOWN));
    stage_suspect(gone); /* a client whose connect began before */
    take((struct prober_change){0});
    assert_false(stage_has(gone, PICK_DOWN));
    forget(gone);
    assert_null(stage.prober.probes[0].backend);
    stage_stop();
}

/* In the middle of its first probe: it is not waited for. */
static void test_gone_in_the_middle(void **state)
{
    struct addr at;
    struct addr dark;
    int listener = sockets_listen(&at);
    struct hole hole = hole_open(&dark);
    struct service *service = stage_add_service("one", stage_check());
    struct backend *first = stage_add_server(service, &at);
    struct backend *gone = stage_add_server(service, &dark);

    (void)state;
    start();
    stage_until_count(&stage_checks(first)->ok, 1);
    hole_until_knocked(&dark);
    assert_false(stage_has_logged("first probes are done"));
    forget(gone);
    stage_until_logged("first probes are done: 1 of 1 servers are up");
    stage_stop();
    hole_close(&hole);
    close(listener);
}

/* The next one with the number has clean counters and a health of its own. */
static void test_number_is_used_again(void **state)
{
    struct addr at;
    struct addr nobody = sockets_closed_port();
    int listener = sockets_listen(&at);
    struct service *service = stage_add_service("one", stage_check());
    struct backend *old = stage_add_server(service, &nobody);
    struct backend *other;

    (void)state;
    start();
    stage_until(old, PICK_DOWN, true);
    for (int i = 0; i < 20; i++) {
        forget(old);
        old->slot->standing = PICK_GONE;
        other = i % 2 ? old : stage_add_server(service, &at);
        stage.table.n_backends = 1;
        other->addr = i % 2 ? nobody : at;
        other->stats_index = 0;
        other->slot->standing = 1;
        add(service, other);
        if (i % 2)
            stage_until(other, PICK_DOWN, true);
        else
            stage_until_count(&stage_checks(other)->ok, 1);
        assert_int_equal(
            stats_read(&stage_checks(other)->ok) + stats_read(&stage_checks(other)->failed), 1);
        old = other;
    }
    stage_stop();
    close(listener);
}

static void test_check_none_and_back(void **state)
{
    static struct service_check none;
    static struct service_check again;
    struct addr nobody = sockets_closed_port();
    struct service *service = stage_add_service("one", stage_check());
    struct backend *backend = stage_add_server(service, &nobody);

    (void)state;
    none = again = stage_check();
    none.is_probed = false;
    start();
    stage_until(backend, PICK_DOWN, true);
    give_check(service, &none);
    assert_int_equal(backend_standing(backend), 1);
    assert_int_equal(stats_read(&stage_checks(backend)->failed), 1); /* counters go on */
    /* A suspect of one that is not probed is noticed, and spared. */
    stage_suspect(backend);
    stage_until_logged("no probe tells more");
    /* And it is no more once probes tell. */
    give_check(service, &again);
    stage_until(backend, PICK_DOWN, true);
    assert_false(stage_has(backend, PICK_SUSPECT));
    assert_int_equal(stats_read(&stage_checks(backend)->failed), 2);
    stage_stop();
}

/* Suspect, and probed for that, when probing ends: the mark must not stay for ever. */
static void test_suspect_when_the_check_goes(void **state)
{
    static struct service_check none;
    struct addr dark;
    struct hole hole = hole_open(&dark);
    struct service_check check = stage_check();
    struct service *service;
    struct backend *backend;

    (void)state;
    check.timeout_ns = stage_ms(600000);
    service = stage_add_service("one", check);
    backend = stage_add_server(service, &dark);
    none = check;
    none.is_probed = false;
    start();
    hole_until_knocked(&dark);
    stage_suspect(backend);
    stage_until_logged("suspect server=one/s1");
    give_check(service, &none);
    assert_int_equal(backend_standing(backend), 1);
    assert_int_equal(stage.prober.n_open, 0);
    stage_suspect(backend);
    stage_until_logged("no probe tells more");
    stage_stop();
    hole_close(&hole);
}

/* Other numbers, the same kind: health stays, and a probe by the new rules goes at once. */
static void test_other_check(void **state)
{
    static struct service_check other;
    struct addr at;
    struct addr probed;
    int listener = sockets_listen(&at);
    int second = sockets_listen(&probed);
    struct service *service = stage_add_service("one", stage_check());
    struct backend *backend = stage_add_server(service, &at);

    (void)state;
    start();
    stage_until_count(&stage_checks(backend)->ok, 1);
    other = stage_check();
    other.port = addr_port(&probed);
    other.fall = 1;
    give_check(service, &other);
    stage_until_count(&stage_checks(backend)->ok, 2);
    close(sockets_accept(second));
    assert_false(stage_has(backend, PICK_FRESH)); /* it was up all the time */
    close(second);
    stage_suspect(backend);
    stage_until(backend, PICK_DOWN, true);
    stage_stop();
    close(listener);
}

/* Another address, with the server's port, is asked in its place. */
static void test_other_address(void **state)
{
    const struct sock_listen_options plain = {0};
    struct service_check check = stage_check();
    struct addr at;
    int listener = sockets_listen(&at);
    struct addr other = at;
    struct addr peer;
    int second;
    int fd;

    (void)state;
    assert_int_equal(addr_parse("127.0.0.77", &check.address), 0);
    assert_int_equal(addr_parse("127.0.0.78", &check.source), 0);
    other.in4.sin_addr = check.address.in4.sin_addr;
    second = sock_listen(&other, &plain);
    assert_true(second >= 0);
    stage_add_server(stage_add_service("one", check), &at);
    start();
    sockets_wait(second, POLLIN);
    fd = sock_accept(second, &peer);
    assert_true(fd >= 0);
    assert_true(addr_equal_host(&peer, &check.source));
    close(fd);
    assert_int_equal(sock_accept(listener, &peer), -EAGAIN);
    stage_stop();
    close(second);
    close(listener);
}

static void test_dropped_service_is_forgotten(void **state)
{
    struct addr nobody = sockets_closed_port();
    struct service *service = stage_add_service("one", stage_check());
    struct backend *backend = stage_add_server(service, &nobody);

    (void)state;
    start();
    stage_until_logged("service one: no server is up");
    take((struct prober_change){0});
    assert_true(stage.prober.services_told[0].is_told_lost);
    take(
        (struct prober_change){.gone = &backend, .n_gone = 1, .dropped = &service, .n_dropped = 1});
    assert_false(stage.prober.services_told[0].is_told_lost);
    assert_int_equal(prober_count(&stage.table), 1);
    service->is_gone = true;
    assert_int_equal(prober_count(&stage.table), 0);
    stage_stop();
}

#define STAGED(test) cmocka_unit_test_setup_teardown(test, stage_prepare, stage_check_descriptors)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(test_added_is_probed_at_once),
        STAGED(test_added_and_dead),
        STAGED(test_added_that_cannot_be_probed),
        STAGED(test_gone_is_not_probed),
        STAGED(test_gone_in_the_middle),
        STAGED(test_number_is_used_again),
        STAGED(test_check_none_and_back),
        STAGED(test_suspect_when_the_check_goes),
        STAGED(test_other_check),
        STAGED(test_other_address),
        STAGED(test_dropped_service_is_forgotten),
    };

    return cmocka_run_group_tests(tests, stage_open_log, stage_close_log);
}
