#include "lb4/control/why.h"

#include "lb4/control/sweeper.h"

#include "guard_rig.h"

static const char HEAD[] = "server\taddress\tstate\tsince\tweight\tactive\tscore\tchance\twhy\n";

static void test_certain(void **state)
{
    char expected[1024];

    (void)state;
    snprintf(expected, sizeof(expected),
             "Service db, leastconn, client 192.0.2.9:\n"
             "The next connection would go to a: the least loaded.\n"
             "%s"
             "a\t10.0.0.1:5432\tup\t0\t1\t0\t1.00\tyes\tthe least loaded\n"
             "b\t10.0.0.2\tup\t0\t2\t0\t0.50\tno\tbackup: not while a primary is up\n"
             "ok\n",
             HEAD);
    rig_expect("why db 192.0.2.9", expected);
    assert_int_equal(backend_active(rig_server(0, 0)), 0);
}

static void test_drawn(void **state)
{
    (void)state;
    backend_clear(rig_server(0, 1), PICK_BACKUP);
    backend_acquire(rig_server(0, 1));
    rig_ask("why db 192.0.2.9:1000");
    assert_non_null(strstr(rig.text, "client 192.0.2.9:1000:\nThe next connection would go to one "
                                     "of these, drawn at random: a (50 %), b (50 %).\n"));
}

static void test_nobody(void **state)
{
    (void)state;
    backend_set(rig_server(0, 0), PICK_DOWN);
    note_write(&rig_server(0, 0)->health, clock_now_ns() - 7 * CLOCK_NS_PER_S, "refused");
    backend_set(rig_server(0, 1), PICK_MAINT);
    rig_ask("why db 192.0.2.9");
    assert_non_null(strstr(rig.text, "Nobody would be taken: none of 2 servers takes clients. A "
                                     "connection is reset. A datagram is dropped.\n"));
    assert_non_null(strstr(rig.text, "\na\t10.0.0.1:5432\tdown\t7\t1\t0\t1.00\tno\tdown: refused"));
    backend_set(rig_server(1, 0), PICK_DOWN);
    assert_non_null(strstr(rig_ask("why one ::1"), "\nNobody would be taken: the only server takes "
                                                   "no clients. A connection is reset.\n"));
}

static void test_what_stands_before(void **state)
{
    (void)state;
    rig.from.state = "draining";
    rig.from.is_ready = false;
    capacity_init(&rig.group.capacity, 1);
    assert_true(capacity_acquire(&rig.group.capacity));
    rig_ask("why db 192.0.2.9");
    assert_non_null(strstr(rig.text, "\nlb4 is draining: it takes no new clients.\nlb4 holds its "
                                     "most of 1 connections: a client waits until one ends.\n"));
}

static void test_json(void **state)
{
    (void)state;
    rig_ask("why db [2001:db8::9]:7 --json");
    assert_non_null(strstr(rig.text, "{\"service\":\"db\",\"policy\":\"leastconn\",\"client\":"
                                     "\"[2001:db8::9]:7\",\"candidates\":[\"a\"],\"verdict\":["
                                     "\"The next connection would go to a: the least loaded.\"],"
                                     "\"servers\":[{\"server\":\"a\","));
    assert_non_null(strstr(rig.text, "\"chance\":\"yes\",\"why\":\"the least loaded\","
                                     "\"odds\":1.0000},"));
    assert_non_null(strstr(rig.text, "\"odds\":0.0000}]\n}\nok\n"));
}

/* Who is not let in gets to no server. */
static void test_limits(void **state)
{
    (void)state;
    guard_give(&(struct conf_guard){.per_source = 1});
    rig_ask("why db 10.0.0.1");
    assert_non_null(strstr(rig.text, ":\nLimits let the client in; 10.0.0.1 has 0 of 1 open.\nThe "
                                     "next connection would go to a"));
    assert_int_equal(guard_come("10.0.0.1"), REFUSAL_NONE);
    rig_ask("why db 10.0.0.1");
    assert_non_null(strstr(rig.text, ":\nThe client would be refused (per_source): 10.0.0.1 has 1 "
                                     "of 1 (limit per-source).\nserver\t"));
    assert_null(strstr(rig.text, "\tyes\t"));
    rig_ask("why db 10.0.0.1 --json");
    assert_non_null(strstr(rig.text, "\"candidates\":[],"));
    assert_non_null(strstr(rig_ask("why db 10.0.0.2"), "would go to a"));
    guard_all_leave();
}

static void test_bad_words(void **state)
{
    static const char *const bad[] = {"db.example", "10.0.0.9:0", "10.0.0.9:1-2", ":80", "10.0.0"};

    (void)state;
    rig_expect("why nobody 10.0.0.9", "error no service 'nobody'\n");
    rig_expect("why db", "error usage: why SERVICE CLIENT-ADDRESS\n");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char line[RIG_LINE_MAX];
        char expected[RIG_LINE_MAX];

        snprintf(line, sizeof(line), "why db %s", bad[i]);
        snprintf(expected, sizeof(expected),
                 "error why: '%s' is not the address of a client: 10.0.0.9, 10.0.0.9:51234, "
                 "2001:db8::9, [2001:db8::9]:51234\n",
                 bad[i]);
        rig_expect(line, expected);
    }
    assert_non_null(strstr(rig_ask("why db ::ffff:10.0.0.9"), "client 10.0.0.9:\n"));
}

/* --- with sessions: one worker, which the test plays --------------------------------------------
 */

static struct stage {
    struct runtime runtime;
    struct worker worker;
    struct sweeper sweeper;
} stage;

static void stage_init(void)
{
    memset(&stage, 0, sizeof(stage));
    stage.runtime.n_workers = 1;
    stage.runtime.group.n_workers = 1;
    stage.runtime.group.workers = &stage.worker;
    assert_int_equal(mailbox_init(&stage.worker.mailbox), 0);
    assert_int_equal(mailbox_init(&stage.runtime.prober.mailbox), 0);
    sweeper_init(&stage.sweeper, &stage.runtime);
    rig.from.sweeper = &stage.sweeper;
}

static void stage_fini(void)
{
    sweeper_fini(&stage.sweeper);
    mailbox_fini(&stage.worker.mailbox);
    mailbox_fini(&stage.runtime.prober.mailbox);
}

static void answer_list(size_t n_sessions)
{
    struct sweep_list *list = &stage.runtime.group.sweep->lists[0];

    for (size_t i = 0; i < n_sessions; i++) {
        struct sweep_record *record = &list->records[i];

        *record = (struct sweep_record){.service = "db", .server = "b", .is_udp = true};
        assert_int_equal(addr_parse("192.0.2.1", &record->client), 0);
        addr_set_port(&record->client, (uint16_t)(1000 + i));
    }
    list->n = n_sessions;
    list->at = SWEEP_END;
    assert_true(mailbox_take(&stage.worker.mailbox) & MAILBOX_SWEEP);
    assert_true(mailbox_answer(&stage.worker.mailbox));
    mailbox_take(&stage.runtime.prober.mailbox);
    assert_true(mailbox_answer(&stage.runtime.prober.mailbox));
}

static const char *ask_with(const char *line, size_t n_sessions)
{
    assert_string_equal(rig_ask(line), "");
    assert_int_equal(rig.result, COMMAND_WAITS);
    answer_list(n_sessions);
    return rig_ask_again();
}

static void test_sessions(void **state)
{
    (void)state;
    stage_init();
    assert_non_null(strstr(ask_with("why db 192.0.2.1", 2),
                           "\nThe UDP session of 192.0.2.1:1000 is on b (up) and stays there.\n"
                           "The UDP session of 192.0.2.1:1001 is on b (up) and stays there.\n"
                           "server\t"));
    assert_false(stage.sweeper.is_busy);
    assert_null(strstr(ask_with("why db 192.0.2.1:1001", 2), "192.0.2.1:1000"));
    assert_non_null(strstr(ask_with("why db 192.0.2.7", 2), "\nThe client has no UDP session"));
    assert_non_null(strstr(ask_with("why db 192.0.2.1", 25),
                           "\nUDP sessions of this host that are not told here: 5.\n"));
    assert_non_null(strstr(rig.text, " 192.0.2.1:1019 is on b"));
    assert_null(strstr(rig.text, "192.0.2.1:1020"));
    backend_set(rig_server(0, 1), PICK_DOWN);
    assert_non_null(strstr(ask_with("why db 192.0.2.1", 1),
                           "\nThe UDP session of 192.0.2.1:1000 is on b, which is down: its next "
                           "datagram is a new choice.\n"));
    backend_clear(rig_server(0, 1), PICK_DOWN);
    backend_set(rig_server(0, 1), PICK_DRAIN);
    assert_non_null(strstr(ask_with("why db 192.0.2.1", 1), "is on b (drain) and stays there.\n"));
    stage_fini();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIGGED(test_certain),   RIGGED(test_drawn),
        RIGGED(test_nobody),    RIGGED(test_what_stands_before),
        RIGGED(test_limits),    RIGGED(test_json),
        RIGGED(test_bad_words), RIGGED(test_sessions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
