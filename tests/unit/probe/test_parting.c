#include "lb4/probe/parting.h"
#include "lb4/shared/backend_write.h"

#include "pool_rig.h"

static void check_farewell(size_t index, uint64_t at_ns, enum backend_farewell why)
{
    uint64_t word = backend_farewell(pool_server(index));

    assert_true(farewell_at_ns(word) == at_ns);
    assert_int_equal(farewell_why(word), why);
}

static void check_none(size_t index)
{
    assert_true(backend_farewell(pool_server(index)) == 0);
}

static void test_on_down(void **state)
{
    (void)state;
    pool_open(2, true);
    parting_down(&stage.prober, pool_probe(0), START_NS);
    check_none(0);
    assert_int_equal(service_table_farewells(&stage.table), 0);
    pool_plan()->on_down.kind = CONF_FAREWELL_RESET;
    parting_down(&stage.prober, pool_probe(0), START_NS);
    check_farewell(0, START_NS, FAREWELL_DOWN);
    check_none(1);
    assert_int_equal(service_table_farewells(&stage.table), 1);
    pool_plan()->on_down = (struct conf_farewell){CONF_FAREWELL_DRAIN, 3000};
    parting_down(&stage.prober, pool_probe(0), START_NS);
    check_farewell(0, START_NS + 3 * CLOCK_NS_PER_S, FAREWELL_DOWN);
    parting_back(pool_probe(0));
    check_none(0);
    pool_close();
}

/* Of lower tiers alone, that have connections; and nobody for one that is not well or flaps. */
static void test_on_up(void **state)
{
    (void)state;
    pool_open(5, true);
    pool_plan()->on_up = (struct conf_farewell){CONF_FAREWELL_DRAIN, 3000};
    backend_set(pool_server(2), PICK_BACKUP);
    backend_set(pool_server(3), 2 << PICK_PRIORITY_SHIFT);
    backend_set(pool_server(4), PICK_BACKUP);
    for (size_t i = 0; i < 4; i++)
        backend_acquire(pool_server(i));
    pool_probe(0)->health.is_flapping = true;
    parting_up(&stage.prober, pool_probe(0), START_NS);
    pool_probe(0)->health.is_flapping = false;
    backend_set(pool_server(0), PICK_SUSPECT);
    parting_up(&stage.prober, pool_probe(0), START_NS);
    backend_clear(pool_server(0), PICK_SUSPECT);
    assert_int_equal(service_table_farewells(&stage.table), 0);
    parting_up(&stage.prober, pool_probe(0), START_NS);
    check_none(0);
    check_none(1);
    check_farewell(2, START_NS + 3 * CLOCK_NS_PER_S, FAREWELL_RELIEVED);
    check_farewell(3, START_NS + 3 * CLOCK_NS_PER_S, FAREWELL_RELIEVED);
    check_none(4);
    parting_back(pool_probe(2)); /* that it is up says nothing against it */
    check_farewell(2, START_NS + 3 * CLOCK_NS_PER_S, FAREWELL_RELIEVED);
    pool_close();
}

/* The better one has gone again: those stay whom nobody else relieves. */
static void test_on_up_is_taken_back(void **state)
{
    (void)state;
    pool_open(3, true);
    pool_plan()->on_up = (struct conf_farewell){CONF_FAREWELL_DRAIN, 3000};
    backend_set(pool_server(1), 1 << PICK_PRIORITY_SHIFT);
    backend_set(pool_server(2), PICK_BACKUP);
    backend_acquire(pool_server(1));
    backend_acquire(pool_server(2));
    parting_up(&stage.prober, pool_probe(0), START_NS);
    backend_set(pool_server(0), PICK_DOWN);
    parting_away(pool_probe(0));
    check_none(1);
    check_farewell(2, START_NS + 3 * CLOCK_NS_PER_S, FAREWELL_RELIEVED);
    backend_set(pool_server(1), PICK_DRAIN);
    parting_away(pool_probe(1));
    check_none(2);
    pool_close();
}

/* A reload has taken the word away; or the better one has become a worse one. */
static void test_review(void **state)
{
    (void)state;
    pool_open(2, true);
    pool_plan()->on_up = (struct conf_farewell){CONF_FAREWELL_DRAIN, 3000};
    pool_plan()->on_down = (struct conf_farewell){CONF_FAREWELL_DRAIN, 3000};
    backend_set(pool_server(1), PICK_BACKUP);
    backend_acquire(pool_server(1));
    for (int i = 0; i < 2; i++) {
        parting_down(&stage.prober, pool_probe(0), START_NS);
        parting_up(&stage.prober, pool_probe(0), START_NS);
        parting_review(pool_probe(0));
        parting_review(pool_probe(1));
        check_farewell(0, START_NS + 3 * CLOCK_NS_PER_S, FAREWELL_DOWN);
        check_farewell(1, START_NS + 3 * CLOCK_NS_PER_S, FAREWELL_RELIEVED);
        if (i == 0)
            pool_plan()->on_up.kind = CONF_FAREWELL_KEEP;
        else
            backend_set(pool_server(0), PICK_BACKUP);
        parting_review(pool_probe(1));
        check_none(1);
        pool_plan()->on_up.kind = CONF_FAREWELL_DRAIN;
    }
    pool_plan()->on_down.kind = CONF_FAREWELL_KEEP;
    parting_review(pool_probe(0));
    check_none(0);
    pool_close();
}

/* Places without a server: control writes them as it likes. */
static void test_places_of_nobody(void **state)
{
    struct backend *nobody;

    (void)state;
    pool_open(3, true);
    pool_plan()->on_up = (struct conf_farewell){CONF_FAREWELL_DRAIN, 3000};
    nobody = pool_server(1);
    backend_set(nobody, PICK_GONE | PICK_BACKUP);
    nobody->slot = NULL;
    backend_set_farewell(nobody, farewell_word(START_NS, FAREWELL_RELIEVED));
    parting_up(&stage.prober, pool_probe(0), START_NS);
    backend_set(pool_server(0), PICK_DOWN);
    parting_away(pool_probe(0));
    check_farewell(1, START_NS, FAREWELL_RELIEVED);
    pool_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        POOLED(test_on_down),
        POOLED(test_on_up),
        POOLED(test_on_up_is_taken_back),
        POOLED(test_review),
        POOLED(test_places_of_nobody),
    };

    return cmocka_run_group_tests(tests, stage_open_log, stage_close_log);
}
