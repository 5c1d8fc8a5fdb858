#include "lb4/probe/chronicle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct backend_slot slot;
static struct backend backend;
static struct service service;
static struct probe probe;
static struct history *history;

static int prepare(void **state)
{
    (void)state;
    memset(&backend, 0, sizeof(backend));
    backend.slot = &slot;
    atomic_store(&slot.standing, 1);
    strcpy(backend.name, "db1");
    strcpy(service.name, "postgres");
    probe = (struct probe){.service = &service, .backend = &backend};
    chronicle_begin(&probe, 1000);
    history = history_new();
    return history ? 0 : -1;
}

static int finish(void **state)
{
    (void)state;
    history_free(history);
    return 0;
}

static void change(uint32_t clear, uint32_t set, const char *why, uint64_t now_ns)
{
    backend_clear(&backend, clear);
    backend_set(&backend, set);
    note_write(&backend.health, now_ns, why);
    chronicle_note(history, &probe, now_ns);
}

static uint64_t count(void)
{
    uint64_t first;
    uint64_t end;

    history_range(history, &first, &end);
    return end - first;
}

static void expect(uint64_t number, uint32_t standing, const char *why, uint64_t lasted_ns)
{
    struct history_entry entry;

    assert_true(history_read(history, number, &entry));
    assert_string_equal(entry.service, "postgres");
    assert_string_equal(entry.server, "db1");
    assert_string_equal(entry.why, why);
    assert_int_equal(entry.standing, standing);
    assert_int_equal(entry.lasted_ns, lasted_ns);
}

static void test_changes(void **state)
{
    (void)state;
    change(0, PICK_SUSPECT, "a client could not reach it", 2000);
    change(0, PICK_DOWN, "connection refused", 5000);
    change(PICK_DOWN | PICK_SUSPECT, PICK_FRESH, "probes are answered again", 5500);
    assert_int_equal(count(), 3);
    expect(0, PICK_SUSPECT, "a client could not reach it", 1000);
    expect(1, PICK_DOWN, "connection refused", 3000);
    expect(2, 0, "probes are answered again", 500);
}

static void test_no_change(void **state)
{
    (void)state;
    change(0, PICK_FRESH | PICK_DOUBT, "looked at", 2000);
    change(0, PICK_DRAIN, "the operator's", 2000);
    assert_int_equal(count(), 0);
}

/* Control has told that it waits for its first probe. */
static void test_told_by_others(void **state)
{
    (void)state;
    backend_set(&backend, PICK_NEW);
    chronicle_begin(&probe, 3000);
    change(0, 0, "-", 3500);
    assert_int_equal(count(), 0);
    change(PICK_NEW, 0, "its first probe after maintenance was answered", 4000);
    expect(0, 0, "its first probe after maintenance was answered", 1000);
}

/* Between control's word and the prober's hearing of it: nothing is told twice, nor wrongly. */
static void test_control_was_first(void **state)
{
    (void)state;
    change(0, PICK_NEW | PICK_MAINT, "-", 2000);
    change(PICK_MAINT, 0, "-", 2500);
    assert_int_equal(count(), 0);
    change(PICK_NEW, PICK_MAINT, "-", 3000);
    change(PICK_MAINT, PICK_NEW, "-", 3500);
    assert_int_equal(count(), 0);
    change(PICK_NEW, 0, "its first probe after maintenance was answered", 4000);
    assert_int_equal(count(), 1);
    expect(0, 0, "its first probe after maintenance was answered", 500);
}

/* It is not up: the operator's wish holds. */
static void test_drains_and_is_well_again(void **state)
{
    (void)state;
    change(0, PICK_DRAIN | PICK_DOWN, "connection refused", 2000);
    change(PICK_DOWN, 0, "probes are answered again", 3000);
    assert_int_equal(count(), 2);
    expect(0, PICK_DOWN, "connection refused", 1000);
    expect(1, PICK_DRAIN, "probes are answered again", 1000);
}

/* A client met it in the turn in which a probe had just said otherwise. */
static void test_two_in_a_turn(void **state)
{
    (void)state;
    change(0, PICK_DOWN, "connection refused", 2000);
    change(PICK_DOWN, PICK_SUSPECT, "a client could not reach it", 1900);
    expect(1, PICK_SUSPECT, "a client could not reach it", 0);
}

#define PREPARED(test) cmocka_unit_test_setup_teardown(test, prepare, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PREPARED(test_changes),           PREPARED(test_no_change),
        PREPARED(test_told_by_others),    PREPARED(test_two_in_a_turn),
        PREPARED(test_control_was_first), PREPARED(test_drains_and_is_well_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
