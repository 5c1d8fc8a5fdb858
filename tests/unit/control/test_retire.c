#include "lb4/control/retire.h"

#include "runtime_rig.h"

static char texts[3][RIG_TEXT_MAX];

/* A service with these servers, all at one address. */
static const char *with(int which, const struct addr *front, const struct addr *at, int first,
                        int n_servers)
{
    char *text = texts[which];
    size_t n = (size_t)snprintf(text, RIG_TEXT_MAX,
                                "service a {\n listen tcp 127.0.0.1:%u\n"
                                " check none\n balance roundrobin\n",
                                addr_port(front));

    for (int i = 0; i < n_servers; i++)
        n += (size_t)snprintf(text + n, RIG_TEXT_MAX - n, " server s%d 127.0.0.1:%u\n", first + i,
                              addr_port(at));
    snprintf(text + n, RIG_TEXT_MAX - n, "}\n");
    return text;
}

/* One that has a connection stays; the others go, and their numbers and places are free again. */
static void test_waits_for_the_last_connection(void **state)
{
    struct addr front = sockets_closed_port();
    struct backend *held;
    struct addr at;
    int listener = sockets_listen(&at);
    int client;
    int server;

    (void)state;
    rig_open(with(0, &front, &at, 0, 1));
    assert_int_equal(rig.retire.due_ns, UINT64_MAX);
    held = rig_server("a", "s0");
    client = sockets_connect(&front);
    server = sockets_accept(listener);
    rig_change(with(1, &front, &at, 1, 3));
    rig_change(with(2, &front, &at, 4, 3));
    assert_int_equal(rig_count(BACKEND_GONE), 4);
    while (rig_count(BACKEND_GONE) > 1)
        rig_retire_once();
    assert_int_equal(held->state, BACKEND_GONE);
    assert_int_equal(backend_active(held), 1);
    for (int i = 0; i < 20; i++)
        rig_retire_once();
    assert_int_equal(held->state, BACKEND_GONE);
    assert_true(rig.retire.due_ns < UINT64_MAX);
    close(client);
    close(server);
    rig_until_active(held, 0);
    rig_until_retired();
    assert_int_equal(held->state, BACKEND_NONE);
    /* The first free places are taken again, with clean counters. */
    rig_change(with(1, &front, &at, 4, 4));
    assert_ptr_equal(rig_server("a", "s7"), held);
    assert_int_equal(stats_read(&rig.runtime.group.stats[0].servers[held->stats_index].connections),
                     0);
    assert_int_equal(backend_active(held), 0);
    rig_close();
    close(listener);
}

/* A grace is not over while one thread has not answered: nothing is freed. */
static void test_nothing_is_freed_before_the_grace(void **state)
{
    struct addr front = sockets_closed_port();
    struct backend *gone;
    struct addr at;
    int listener = sockets_listen(&at);

    (void)state;
    rig_open(with(0, &front, &at, 0, 2));
    gone = rig_server("a", "s0");
    rig_change(with(1, &front, &at, 1, 1));
    assert_false(retire_is_busy(&rig.retire));
    retire_step(&rig.retire, &rig.runtime, rig.retire.due_ns);
    assert_true(retire_is_busy(&rig.retire));
    assert_int_equal(gone->state, BACKEND_GONE);
    rig.retire.asked += 1000; /* a question that nobody has heard */
    for (int i = 0; i < 5; i++) {
        rig_wait();
        retire_step(&rig.retire, &rig.runtime, UINT64_MAX - 1);
    }
    assert_int_equal(rig.retire.phase, RETIRE_ASKED);
    rig.retire.asked -= 1000;
    rig_until_retired();
    assert_int_equal(gone->state, BACKEND_NONE);
    assert_null(rig.runtime.prober.probes[gone->stats_index].backend);
    rig_close();
    close(listener);
}

/* The end of the process in the middle. */
static void test_ends_in_the_middle(void **state)
{
    struct addr front = sockets_closed_port();
    struct addr at;
    int listener = sockets_listen(&at);
    struct patience patience = patience_new();

    (void)state;
    rig_open(with(0, &front, &at, 0, 2));
    rig_change(with(1, &front, &at, 1, 1));
    while (rig.retire.phase != RETIRE_CHOSEN && patience_holds(&patience))
        rig_retire_once();
    rig_close();
    close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waits_for_the_last_connection),
        cmocka_unit_test(test_nothing_is_freed_before_the_grace),
        cmocka_unit_test(test_ends_in_the_middle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
