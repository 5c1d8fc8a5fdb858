/* When names are looked up, and what becomes of answers. Look-ups are this test's, and so is the
 * time. */
#include "lb4/control/naming.h"

#include <netdb.h>

#include "lb4/base/clock.h"
#include "named_rig.h"

static const uint64_t second = 1000000000ull;

static struct {
    bool refuses;
    size_t n_started;
    struct resolver_name answer; /* to be taken, if has_answer */
    bool has_answer;
} asked;

bool __wrap_lookups_start(struct lookups *lookups, const char *host, bool is_srv);
bool __wrap_lookups_start(struct lookups *lookups, const char *host, bool is_srv)
{
    (void)lookups;
    assert_string_equal(host, "db.example");
    assert_false(is_srv);
    asked.n_started += !asked.refuses;
    return !asked.refuses;
}

bool __wrap_lookups_take(struct lookups *lookups, struct resolver_name *ret);
bool __wrap_lookups_take(struct lookups *lookups, struct resolver_name *ret)
{
    (void)lookups;
    if (!asked.has_answer)
        return false;
    asked.has_answer = false;
    *ret = asked.answer;
    ret->host = strdup("db.example");
    return true;
}

static struct naming naming;
static uint64_t now_ns;

static const struct name_set *set_of_db(void)
{
    return name_sets_find(&named.reload.names, "db.example", false);
}

static void open_with(const char *directives)
{
    memset(&asked, 0, sizeof(asked));
    named_open(directives);
    now_ns = clock_now_ns();
    assert_int_equal(naming_init(&naming, &named.reload), 0);
    naming_step(&naming, now_ns, true);
}

static void close_all(void)
{
    naming_fini(&naming);
    named_close();
}

static void step_at(uint64_t at_ns)
{
    now_ns = at_ns;
    naming_step(&naming, now_ns, true);
}

static void answer(struct resolver_name what)
{
    asked.answer = what;
    asked.has_answer = true;
    naming_step(&naming, now_ns, true);
}

static void answer_error(int error)
{
    answer((struct resolver_name){.error = error});
}

/* Step at what is due, second by second at most, until one more look-up has begun. Returns how many
 * milliseconds that took. */
static uint64_t until_started(uint64_t most_ns)
{
    uint64_t begin_ns = now_ns;
    size_t n = asked.n_started;

    while (asked.n_started == n && now_ns < begin_ns + most_ns) {
        uint64_t due_ns = naming_due_ns(&naming);

        step_at(due_ns > now_ns && due_ns < now_ns + second ? due_ns : now_ns + second);
    }
    return (now_ns - begin_ns) / CLOCK_NS_PER_MS;
}

static void test_every_interval(void **state)
{
    (void)state;
    open_with("check none\nresolve 20s");
    assert_int_equal(asked.n_started, 0);
    assert_in_range(until_started(21 * second), 0, 20000); /* at any moment of the first */
    for (int i = 0; i < 20; i++) {
        answer(named_answer("127.0.0.2", NULL));
        assert_in_range(until_started(30 * second), 18000, 20000);
    }
    assert_int_equal(asked.n_started, 21);
    assert_false(reload_is_changing(&named.reload));
    close_all();
}

static void test_off(void **state)
{
    (void)state;
    open_with("check none\nresolve off");
    until_started(1000 * second);
    assert_int_equal(asked.n_started, 0);
    close_all();
}

/* One at a time. After 10 s it has failed, and its answer still counts. */
static void test_late(void **state)
{
    (void)state;
    open_with("check none\nresolve 1s");
    until_started(2 * second);
    until_started(9 * second);
    assert_int_equal(set_of_db()->failing_ns, 0);
    until_started(100 * second);
    assert_int_equal(asked.n_started, 1);
    assert_int_equal(set_of_db()->error, EAI_INPROGRESS);
    assert_int_equal(set_of_db()->n_failed, 1);
    assert_string_equal(name_set_state(set_of_db()), "failing");
    answer(named_answer("127.0.0.2", NULL));
    assert_string_equal(name_set_state(set_of_db()), "ok");
    assert_in_range(until_started(2 * second), 900, 1000);
    close_all();
}

/* After a failure soon, then less and less often, at most each interval. */
static void test_failures(void **state)
{
    static const uint64_t waits[] = {1000, 2000, 4000, 8000, 10000, 10000};

    (void)state;
    open_with("check none\nresolve 10s");
    until_started(11 * second);
    for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
        answer_error(EAI_NONAME);
        assert_in_range(until_started(20 * second), waits[i] * 9 / 10, waits[i]);
    }
    assert_int_equal(set_of_db()->good.n_addrs, 1);
    assert_false(reload_is_changing(&named.reload));
    close_all();
}

static void test_no_thread(void **state)
{
    (void)state;
    open_with("check none\nresolve 1s");
    asked.refuses = true;
    until_started(5 * second);
    assert_int_equal(set_of_db()->n_failed, 0);
    until_started(30 * second);
    assert_int_equal(set_of_db()->error, LOOKUP_NO_THREAD);
    assert_int_equal(set_of_db()->n_failed, 1);
    asked.refuses = false;
    assert_in_range(until_started(5 * second), 0, 2000);
    until_started(5 * second);
    assert_int_equal(set_of_db()->n_failed, 1);
    until_started(6 * second);
    assert_int_equal(set_of_db()->error, EAI_INPROGRESS);
    answer(named_answer("127.0.0.2", NULL));
    assert_string_equal(name_set_state(set_of_db()), "ok");
    close_all();
}

/* A reload finds the name first: since when it failed is known all the same. */
static void test_found_by_another(void **state)
{
    (void)state;
    open_with("check none\nresolve 1s");
    until_started(2 * second);
    answer_error(EAI_NONAME);
    assert_true(set_of_db()->told_failing_ns == now_ns);
    step_at(now_ns + 1);
    assert_true(set_of_db()->told_failing_ns > 0);
    named_put("127.0.0.2", NULL);
    step_at(now_ns + 1);
    assert_int_equal(set_of_db()->told_failing_ns, 0);
    close_all();
}

/* Names of a run that came to nothing are forgotten, and so is what it has said of ours. */
static void test_left_over(void **state)
{
    struct resolver_name found = named_answer("127.0.0.9", NULL);
    struct name_set *set;

    (void)state;
    open_with("check none\nresolve 1s");
    name_set_take(name_sets_add(&named.reload.names, "other.example", false), &found, now_ns);
    set = name_sets_find(&named.reload.names, "db.example", false);
    snprintf(set->problem, sizeof(set->problem), "of another file");
    named.reload.result.ended_ns = now_ns;
    step_at(now_ns + 1);
    assert_int_equal(named.reload.names.n, 1);
    assert_string_equal(set->problem, "");
    close_all();
}

static void test_another_address(void **state)
{
    char addr[ADDR_TEXT_MAX];

    (void)state;
    open_with("check none\nresolve 1s");
    until_started(2 * second);
    answer(named_answer("127.0.0.3", NULL));
    assert_true(reload_is_changing(&named.reload));
    assert_int_equal(strncmp(addr_format(&named.reload.conf->services[0].servers[0].addr, addr),
                             "127.0.0.3:", 10),
                     0);
    named_finish_change();
    step_at(now_ns + 1);
    assert_false(reload_is_changing(&named.reload));
    assert_false(naming.is_dirty);
    close_all();
}

/* A change that is under way comes first. */
static void test_in_turn(void **state)
{
    (void)state;
    open_with("check none\nresolve 1s");
    until_started(2 * second);
    assert_int_equal(reload_set_weight(&named.reload, rig_service("a"), rig_server("a", "db"), 7),
                     0);
    answer(named_answer("127.0.0.3", NULL));
    assert_true(naming.is_dirty);
    named_finish_change();
    step_at(now_ns + 1);
    assert_true(reload_is_changing(&named.reload));
    assert_false(naming.is_dirty);
    named_finish_change();
    close_all();
}

/* On the way out nothing begins. */
static void test_way_out(void **state)
{
    (void)state;
    open_with("check none\nresolve 1s");
    naming_step(&naming, now_ns + 100 * second, false);
    assert_int_equal(asked.n_started, 0);
    close_all();
}

/* A server that is down: within a second, and then every 5 s. */
static void test_hurt(void **state)
{
    (void)state;
    open_with("check none\nresolve 365d");
    backend_set(rig_server("a", "db"), PICK_DOWN);
    assert_in_range(until_started(3 * second), 0, 2100);
    answer(named_answer("127.0.0.2", NULL));
    assert_in_range(until_started(6 * second), 4400, 5000);
    answer(named_answer("127.0.0.2", NULL));
    backend_clear(rig_server("a", "db"), PICK_DOWN);
    until_started(8 * second);
    answer(named_answer("127.0.0.2", NULL));
    assert_true(until_started(60 * second) >= 60000);
    close_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_interval), cmocka_unit_test(test_off),
        cmocka_unit_test(test_late),           cmocka_unit_test(test_failures),
        cmocka_unit_test(test_no_thread),      cmocka_unit_test(test_another_address),
        cmocka_unit_test(test_in_turn),        cmocka_unit_test(test_way_out),
        cmocka_unit_test(test_hurt),           cmocka_unit_test(test_found_by_another),
        cmocka_unit_test(test_left_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
