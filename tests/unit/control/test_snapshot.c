#include "lb4/control/snapshot.h"

#include "command_rig.h"

static void test_state_words(void **state)
{
    (void)state;
    assert_string_equal(snapshot_state(1), "up");
    assert_string_equal(snapshot_state(1 | PICK_BACKUP | PICK_FRESH | PICK_DOUBT), "up");
    assert_string_equal(snapshot_state(1 | PICK_SUSPECT), "suspect");
    assert_string_equal(snapshot_state(1 | PICK_SUSPECT | PICK_DOWN), "down");
    assert_string_equal(snapshot_state(1 | PICK_NEW | PICK_DOWN), "new");
    assert_string_equal(snapshot_state(1 | PICK_DRAIN | PICK_DOWN), "drain");
    assert_string_equal(snapshot_state(1 | PICK_DRAIN | PICK_MAINT), "maint");
}

static struct snapshot_server take(uint32_t flags)
{
    struct snapshot_server server;

    backend_set(rig_server(0, 0), flags);
    snapshot_take_server(&rig.from, &rig.services.services[0], rig_server(0, 0), &server);
    backend_clear(rig_server(0, 0), flags);
    return server;
}

/* 90 s ago a probe failed, 30 s ago the operator spoke. */
static void test_whose_word_counts(void **state)
{
    uint64_t now_ns = clock_now_ns();
    struct snapshot_server server;

    (void)state;
    note_write(&rig_server(0, 0)->health, now_ns - 90 * CLOCK_NS_PER_S, "refused");
    note_write(&rig_server(0, 0)->wish, now_ns - 30 * CLOCK_NS_PER_S, "drain, by uid 0");
    server = take(PICK_DRAIN);
    assert_string_equal(server.why, "drain, by uid 0");
    assert_in_range(server.since_s, 30, 31);
    server = take(PICK_DRAIN | PICK_DOWN);
    assert_string_equal(server.why, "drain, by uid 0; down: refused");
    assert_string_equal(server.health, "down");
    server = take(PICK_DOWN);
    assert_string_equal(server.why, "refused");
    assert_in_range(server.since_s, 90, 91);
    note_write(&rig_server(0, 0)->wish, now_ns - 30 * CLOCK_NS_PER_S, "ready, by uid 0");
    assert_string_equal(take(0).why, "ready, by uid 0");
    note_write(&rig_server(0, 0)->health, now_ns - 10 * CLOCK_NS_PER_S, "answers");
    server = take(0);
    assert_string_equal(server.why, "answers");
    assert_in_range(server.since_s, 10, 11);
}

static void test_slow_start_is_told(void **state)
{
    (void)state;
    note_write(&rig_server(0, 0)->health, clock_now_ns(), "answers");
    backend_set_part(rig_server(0, 0), 8);
    assert_string_equal(take(0).why, "answers; slow-start: 25 % of its share");
    backend_set_part(rig_server(0, 0), PICK_PART_LEVEL);
    assert_string_equal(take(0).why, "answers; slow-start: it catches up");
    backend_set_part(rig_server(0, 0), 0);
    assert_string_equal(take(0).why, "answers");
}

static void test_usable_ones(void **state)
{
    (void)state;
    assert_int_equal(snapshot_n_usable(&rig.services.services[0]), 2);
    backend_set(rig_server(0, 0), PICK_NEW);
    backend_set(rig_server(0, 1), PICK_SUSPECT);
    assert_int_equal(snapshot_n_usable(&rig.services.services[0]), 1);
}

static void test_finding(void **state)
{
    (void)state;
    assert_ptr_equal(snapshot_find_service(&rig.from, "one"), &rig.services.services[1]);
    assert_null(snapshot_find_service(&rig.from, "on"));
    assert_ptr_equal(snapshot_find_server(&rig.services.services[0], "b"), rig_server(0, 1));
    assert_null(snapshot_find_server(&rig.services.services[0], "c"));
}

static void test_process(void **state)
{
    struct snapshot_process before;
    struct snapshot_process after;
    int fd;

    (void)state;
    snapshot_take_process(&rig.from, &before);
    fd = dup(0);
    snapshot_take_process(&rig.from, &after);
    assert_int_equal(after.n_descriptors, before.n_descriptors + 1);
    close(fd);
}

/* A hundred listeners do not fit. */
static void test_many_listeners(void **state)
{
    static struct snapshot_service service;
    struct conf_listen listens[100];
    struct conf_service *from = &rig.conf.services[0];
    struct conf_listen *before = from->listens;
    size_t n_before = from->n_listens;

    (void)state;
    for (size_t i = 0; i < 100; i++)
        listens[i] = before[0];
    from->listens = listens;
    from->n_listens = 100;
    snapshot_take_service(&rig.from, &rig.services.services[0], &service);
    assert_true(strlen(service.listeners) < SNAPSHOT_LISTENERS_MAX);
    assert_string_equal(service.listeners + strlen(service.listeners) - 4, ",...");
    from->listens = before;
    from->n_listens = n_before;
}

/* The same second in every reading, wherever in a second lb4 was started and is asked. */
static void test_start_time(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 20; i++) {
        struct snapshot_process process;
        struct timespec wall;
        uint64_t started_ns;

        rig.from.started_ns = clock_now_ns() - i * 100 * CLOCK_NS_PER_MS;
        clock_gettime(CLOCK_REALTIME, &wall);
        started_ns = (uint64_t)wall.tv_sec * CLOCK_NS_PER_S + (uint64_t)wall.tv_nsec -
                     (clock_now_ns() - rig.from.started_ns);
        snapshot_take_process(&rig.from, &process);
        if (started_ns % CLOCK_NS_PER_S < 900 * CLOCK_NS_PER_MS &&
            started_ns % CLOCK_NS_PER_S > 100 * CLOCK_NS_PER_MS)
            assert_int_equal(process.started_s, started_ns / CLOCK_NS_PER_S);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIGGED(test_start_time),        RIGGED(test_state_words),
        RIGGED(test_whose_word_counts), RIGGED(test_slow_start_is_told),
        RIGGED(test_usable_ones),       RIGGED(test_finding),
        RIGGED(test_process),           RIGGED(test_many_listeners),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
