#include "lb4/control/connections.h"

#include "lb4/control/rebalance.h"
#include "lb4/control/sweeper.h"

#include "command_rig.h"

enum { RECORDS = 3 };

static const char HEAD[] =
    "client\tservice\tserver\ttransport\tstate\tage\tidle\tbytes_in\tbytes_out\n";
static const char OF_DB_A[] = "192.0.2.1:1000\tdb\ta\ttcp\topen\t65\t2\t10\t20\n";
static const char OF_DB_B[] = "[2001:db8::7]:53\tdb\tb\tudp\tanswered\t9\t9\t1\t0\n";
static const char OF_ONE[] = "192.0.2.2:1\tone\t-\ttcp\tconnecting\t0\t0\t0\t0\n";

/* One worker, which the test plays. */
static struct stage {
    struct runtime runtime;
    struct worker worker;
    struct sweeper sweeper;
    struct rebalance rebalance;
} stage;

static int prepare(void **state)
{
    rig_prepare(state);
    memset(&stage, 0, sizeof(stage));
    stage.runtime.n_workers = 1;
    stage.runtime.group.n_workers = 1;
    stage.runtime.group.workers = &stage.worker;
    assert_int_equal(mailbox_init(&stage.worker.mailbox), 0);
    assert_int_equal(mailbox_init(&stage.runtime.prober.mailbox), 0);
    sweeper_init(&stage.sweeper, &stage.runtime);
    rebalance_init(&stage.rebalance, &stage.runtime, &stage.sweeper);
    rig.from.sweeper = &stage.sweeper;
    rig.from.rebalance = &stage.rebalance;
    return 0;
}

static int finish(void **state)
{
    rebalance_fini(&stage.rebalance);
    sweeper_fini(&stage.sweeper);
    mailbox_fini(&stage.worker.mailbox);
    mailbox_fini(&stage.runtime.prober.mailbox);
    return rig_finish(state);
}

static void answer_grace(void)
{
    const struct worker_sweep *sweep = stage.runtime.group.sweep;

    if (sweep->kills)
        sweep->kills[0].at = SWEEP_END;
    assert_true(mailbox_take(&stage.worker.mailbox) & MAILBOX_SWEEP);
    assert_true(mailbox_answer(&stage.worker.mailbox));
    mailbox_take(&stage.runtime.prober.mailbox);
    assert_true(mailbox_answer(&stage.runtime.prober.mailbox));
}

static struct addr address(const char *host, uint16_t port)
{
    struct addr addr;

    assert_int_equal(addr_parse(host, &addr), 0);
    addr_set_port(&addr, port);
    return addr;
}

/* What the worker has. */
static void answer_list(void)
{
    const struct sweep_record records[RECORDS] = {
        {.service = "db",
         .server = "a",
         .client = address("192.0.2.1", 1000),
         .state = "open",
         .age_ns = 65999 * CLOCK_NS_PER_MS,
         .idle_ns = 2 * CLOCK_NS_PER_S,
         .bytes_in = 10,
         .bytes_out = 20},
        {.service = "db",
         .server = "b",
         .client = address("2001:db8::7", 53),
         .is_udp = true,
         .state = "answered",
         .age_ns = 9 * CLOCK_NS_PER_S,
         .idle_ns = 9 * CLOCK_NS_PER_S,
         .bytes_in = 1},
        {.service = "one", .client = address("192.0.2.2", 1), .state = "connecting"},
    };
    struct sweep_list *list = &stage.runtime.group.sweep->lists[0];

    assert_true(list->cap >= RECORDS);
    memcpy(list->records, records, sizeof(records));
    list->n = RECORDS;
    list->at = SWEEP_END;
    answer_grace();
}

static const char *ask_and_answer(const char *line)
{
    assert_string_equal(rig_ask(line), "");
    assert_int_equal(rig.result, COMMAND_WAITS);
    assert_string_equal(rig_ask_again(), "");
    assert_int_equal(rig.result, COMMAND_WAITS);
    answer_list();
    rig_ask_again();
    assert_int_equal(rig.result, COMMAND_DONE);
    assert_false(stage.sweeper.is_busy);
    return rig.text;
}

/* --- show connections ------------------------------------------------------------------------- */

static void test_which_connections(void **state)
{
    static const struct {
        const char *line;
        const char *rows[RECORDS];
    } cases[] = {
        {"show connections", {OF_DB_A, OF_DB_B, OF_ONE}},
        {"show connections db", {OF_DB_A, OF_DB_B, ""}},
        {"show connections db/", {OF_DB_A, OF_DB_B, ""}},
        {"show connections db/b", {OF_DB_B, "", ""}},
        {"show connections one", {OF_ONE, "", ""}},
        {"show connections one/a", {"", "", ""}}, /* it has no server yet */
    };
    char expected[1000];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(expected, sizeof(expected), "%s%s%s%sok\n", HEAD, cases[i].rows[0],
                 cases[i].rows[1], cases[i].rows[2]);
        assert_string_equal(ask_and_answer(cases[i].line), expected);
    }
}

static void test_connections_in_json(void **state)
{
    (void)state;
    assert_string_equal(
        ask_and_answer("show connections db --json"),
        "[{\"client\":\"192.0.2.1:1000\",\"service\":\"db\",\"server\":\"a\",\"transport\":\"tcp\","
        "\"state\":\"open\",\"age\":65,\"idle\":2,\"bytes_in\":10,\"bytes_out\":20},"
        "{\"client\":\"[2001:db8::7]:53\",\"service\":\"db\",\"server\":\"b\","
        "\"transport\":\"udp\",\"state\":\"answered\",\"age\":9,\"idle\":9,\"bytes_in\":1,"
        "\"bytes_out\":0}]\nok\n");
    assert_string_equal(ask_and_answer("show connections one/a --json"), "[]\nok\n");
}

/* A name that is nowhere is an error, not an empty list; one that is leaving may have some. */
static void test_connections_of_nobody(void **state)
{
    (void)state;
    rig_expect("show connections nosuch", "error no service 'nosuch'\n");
    rig_expect("show connections nosuch/a", "error no service 'nosuch'\n");
    rig_expect("show connections one/b", "error no server 'b' in service one\n");
    rig_expect("show connections db a",
               "error usage: show connections [--busiest N] [SERVICE[/SERVER]]\n");
    assert_false(stage.sweeper.is_busy);
    rig_server(0, 1)->state = BACKEND_GONE;
    assert_non_null(strstr(ask_and_answer("show connections db/b"), OF_DB_B));
    rig_server(0, 1)->state = BACKEND_NONE;
    rig_expect("show connections db/b", "error no server 'b' in service db\n");
    rig_server(0, 1)->state = BACKEND_SERVING;
}

/* Another sweep is under way: it waits for its turn, and not for ever. */
static void test_one_at_a_time(void **state)
{
    static const char sentence[] = "error another sweep over all connections goes on; try again\n";
    long number = sweeper_list(&stage.sweeper);

    (void)state;
    assert_true(number > 0);
    assert_string_equal(rig_ask("kill db/a"), "");
    rig_ask_again();
    assert_int_equal(rig.result, COMMAND_WAITS);
    assert_true(stage.sweeper.is_busy);
    answer_grace();
    sweeper_release(&stage.sweeper);
    rig_ask_again();
    assert_int_equal(rig.result, COMMAND_WAITS);
    assert_non_null(stage.runtime.group.sweep->kills); /* its own one */
    answer_grace();
    rig_ask_again();
    assert_int_equal(rig.result, COMMAND_DONE);
    assert_true(sweeper_list(&stage.sweeper) > number);
    rig_ask("show connections");
    rig.call.now_ns = rig.call.wait.until_ns;
    assert_string_equal(rig_ask_again(), sentence);
    answer_grace();
    sweeper_release(&stage.sweeper);
}

/* More came than there was room for: those that there was room for. */
static void test_more_than_there_is_room_for(void **state)
{
    struct sweep_list *list;
    size_t n = 0;

    (void)state;
    rig_ask("show connections");
    answer_list();
    list = &stage.sweeper.lists[0];
    for (size_t i = RECORDS; i < list->cap; i++)
        list->records[i] = list->records[0];
    list->n = list->cap + 5;
    rig_ask_again();
    for (const char *at = rig.text; (at = strchr(at, '\n')); at++)
        n++;
    assert_true(n > RECORDS + 2); /* a line for the names, and the last */
    assert_string_equal(rig.text + strlen(rig.text) - 4, "\nok\n");
}

/* Whoever was slow is told, even if another one's sweep is there by now. */
static void test_result_was_given_up(void **state)
{
    static const char sentence[] = "error its result was given up; try again\n";

    (void)state;
    rig_ask("show connections");
    answer_list();
    sweeper_tidy(&stage.sweeper, CLOCK_NS_PER_S);
    sweeper_tidy(&stage.sweeper, 3 * CLOCK_NS_PER_S);
    assert_string_equal(rig_ask_again(), sentence);
    assert_true(sweeper_list(&stage.sweeper) > 0);
    assert_string_equal(rig_ask_again(), sentence);
    answer_list();
    assert_string_equal(rig_ask_again(), sentence);
    assert_true(stage.sweeper.is_busy); /* and leaves the other's alone */
}

/* --- the busiest ------------------------------------------------------------------------------ */

static const char BUSY_HEAD[] =
    "client\tservice\tserver\ttransport\tstate\tage\tidle\tbytes_in\tbytes_out\tin_per_s\t"
    "out_per_s\tclient_rtt_us\tclient_retransmits\tserver_rtt_us\tserver_retransmits\n";

/* What the worker has: of the second more has moved. */
static void answer_busiest(size_t cap)
{
    const struct sweep_record records[] = {
        {.service = "one",
         .client = address("192.0.2.2", 1),
         .state = "connecting",
         .rate = {1, 1},
         .to_client = {true, 150, 0}},
        {.service = "db",
         .server = "a",
         .client = address("192.0.2.1", 1000),
         .state = "open",
         .age_ns = 65 * CLOCK_NS_PER_S,
         .bytes_in = 10,
         .bytes_out = 20,
         .rate = {7, 9},
         .to_client = {true, 20123, 3},
         .to_server = {true, 90, 4}},
    };
    struct sweep_list *list = &stage.runtime.group.sweep->lists[0];

    assert_int_equal(list->cap, cap);
    list->n = cap < 2 ? cap : 2;
    memcpy(list->records, records + 2 - list->n, list->n * sizeof(*records));
    list->at = SWEEP_END;
    answer_grace();
}

static void check_busiest(const char *line, size_t cap, const char *expected)
{
    assert_string_equal(rig_ask(line), "");
    assert_int_equal(rig.result, COMMAND_WAITS);
    answer_busiest(cap);
    assert_string_equal(rig_ask_again(), expected);
    assert_false(stage.sweeper.is_busy);
}

/* It is long since the last look, so there are two, a second apart; then one is enough. */
static void test_busiest(void **state)
{
    char expected[1000];

    (void)state;
    rig.call.now_ns = 100 * CLOCK_NS_PER_S;
    check_busiest("show connections --busiest 5", 5, "");
    assert_int_equal(rig.result, COMMAND_WAITS);
    assert_int_equal(stage.sweeper.looked_ns, rig.call.now_ns);
    rig.call.now_ns += CLOCK_NS_PER_S - 1;
    rig_ask_again();
    assert_false(stage.sweeper.is_busy);
    rig.call.now_ns += 1;
    rig_ask_again();
    answer_busiest(5);
    snprintf(expected, sizeof(expected), "%s%s%sok\n", BUSY_HEAD,
             "192.0.2.1:1000\tdb\ta\ttcp\topen\t65\t0\t10\t20\t7\t9\t20123\t3\t90\t4\n",
             "192.0.2.2:1\tone\t-\ttcp\tconnecting\t0\t0\t0\t0\t1\t1\t150\t0\t-\t-\n");
    assert_string_equal(rig_ask_again(), expected);
    rig.call.now_ns += 12 * CLOCK_NS_PER_S;
    check_busiest(
        "show connections db/a --busiest 1 --json", 1,
        "[{\"client\":\"192.0.2.1:1000\",\"service\":\"db\",\"server\":\"a\",\"transport\":\"tcp\","
        "\"state\":\"open\",\"age\":65,\"idle\":0,\"bytes_in\":10,\"bytes_out\":20,\"in_per_s\":7,"
        "\"out_per_s\":9,\"client_rtt_us\":20123,\"client_retransmits\":3,\"server_rtt_us\":90,"
        "\"server_retransmits\":4}]\nok\n");
    assert_string_equal(stage.sweeper.target.server, "a");
    rig.call.now_ns += 12 * CLOCK_NS_PER_S + 1;
    check_busiest("show connections --busiest 5", 5, "");
}

static void test_unknown_in_json(void **state)
{
    (void)state;
    rig.call.now_ns = CLOCK_NS_PER_S;
    stage.sweeper.looked_ns = 1;
    rig_ask("show connections --busiest 9 --json");
    answer_busiest(9);
    assert_non_null(strstr(rig_ask_again(), "\"client_retransmits\":0,\"server_rtt_us\":null,"
                                            "\"server_retransmits\":null}"));
}

static void test_busiest_refused(void **state)
{
    static const char *const lines[] = {
        "show connections --busiest", "show connections --busiest 0",
        "show connections --busiest 201", "show connections db --busiest",
        "show connections --busiest db"};

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        rig_expect(lines[i], "error show connections: --busiest needs a number, 1..200\n");
    rig_expect("show connections --busiest 5 nosuch", "error no service 'nosuch'\n");
    assert_false(stage.sweeper.is_busy);
}

/* --- kill ------------------------------------------------------------------------------------- */

static const char *kill_and_answer(const char *line, const char *service, const char *server)
{
    assert_string_equal(rig_ask(line), "");
    assert_int_equal(rig.result, COMMAND_WAITS);
    assert_string_equal(stage.runtime.group.sweep->kills[0].victims->target->service, service);
    assert_string_equal(stage.runtime.group.sweep->kills[0].victims->target->server, server);
    assert_null(stage.runtime.group.sweep->lists);
    stage.runtime.group.sweep->kills[0].n_ended = 7;
    answer_grace();
    rig_ask_again();
    assert_false(stage.sweeper.is_busy);
    return rig.text;
}

static void test_kill(void **state)
{
    (void)state;
    assert_string_equal(kill_and_answer("kill db/b", "db", "b"),
                        "service\tserver\tended\ndb\tb\t7\nok\n");
    assert_string_equal(kill_and_answer("kill one/a --json", "one", "a"),
                        "[{\"service\":\"one\",\"server\":\"a\",\"ended\":7}]\nok\n");
    rig_server(0, 1)->state = BACKEND_GONE; /* it has connections still */
    kill_and_answer("kill db/b", "db", "b");
    rig_server(0, 1)->state = BACKEND_SERVING;
}

static void test_kill_of_nobody(void **state)
{
    (void)state;
    rig_expect("kill", "error usage: kill SERVICE/SERVER\n");
    rig_expect("kill db", "error kill: 'db' is not SERVICE/SERVER\n");
    rig_expect("kill db/", "error kill: 'db/' is not SERVICE/SERVER\n");
    rig_expect("kill db/c", "error no server 'c' in service db\n");
    rig_expect("kill nosuch/a", "error no service 'nosuch'\n");
    assert_false(stage.sweeper.is_busy);
}

/* --- rebalance -------------------------------------------------------------------------------- */

static void test_rebalance(void **state)
{
    (void)state;
    backend_configure(rig_server(0, 1), 1); /* no backup any more */
    for (int i = 0; i < 5; i++)
        backend_acquire(rig_server(0, 0));
    rig.call.now_ns = 7;
    rig_expect("rebalance db --over 90s --json",
               "[{\"service\":\"db\",\"excess\":2,\"over_seconds\":90}]\nok\n");
    assert_true(stage.rebalance.is_on);
    assert_string_equal(stage.rebalance.service, "db");
    assert_int_equal(stage.rebalance.until_ns, 7 + 90 * CLOCK_NS_PER_S);
    rig_expect("rebalance one", "error rebalance: that of db is under way\n");
    stage.rebalance.is_on = false;
    rig_expect("rebalance one", "service\texcess\tover_seconds\none\t0\t300\nok\n");
    assert_int_equal(stage.rebalance.until_ns, 7 + 300 * CLOCK_NS_PER_S);
}

static void test_rebalance_refused(void **state)
{
    static const char *const times[] = {"0", "0s", "366d", "soon", "-1s"};
    static const char usage[] = "error usage: rebalance SERVICE [--over TIME]\n";
    char line[RIG_LINE_MAX];
    char reply[RIG_LINE_MAX];

    (void)state;
    rig_expect("rebalance", usage);
    rig_expect("rebalance db --over", usage);
    rig_expect("rebalance db 5m", usage);
    rig_expect("rebalance db over 5m", usage);
    rig_expect("rebalance nosuch", "error no service 'nosuch'\n");
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        snprintf(line, sizeof(line), "rebalance db --over %s", times[i]);
        snprintf(reply, sizeof(reply), "error rebalance: '%s' is no time: 1ms..365d, as in 5m\n",
                 times[i]);
        rig_expect(line, reply);
    }
    assert_false(stage.rebalance.is_on);
}

#define STAGED(test) cmocka_unit_test_setup_teardown(test, prepare, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(test_which_connections),
        STAGED(test_connections_in_json),
        STAGED(test_connections_of_nobody),
        STAGED(test_one_at_a_time),
        STAGED(test_more_than_there_is_room_for),
        STAGED(test_result_was_given_up),
        STAGED(test_busiest),
        STAGED(test_unknown_in_json),
        STAGED(test_busiest_refused),
        STAGED(test_kill),
        STAGED(test_kill_of_nobody),
        STAGED(test_rebalance),
        STAGED(test_rebalance_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
