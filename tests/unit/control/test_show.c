#include "lb4/control/show.h"

#include "command_rig.h"

#include "lb4/conf/print.h"

static void test_services(void **state)
{
    (void)state;
    stats_add(&rig.stats.services[0].connections, 5);
    stats_add(&rig.stats.services[0].closed[CLOSE_CLIENT_FIN], 2);
    stats_add(&rig.stats.services[0].closed[CLOSE_IDLE], 1);
    stats_add(&rig.stats.services[0].bytes_in, 10);
    stats_add(&rig.stats.services[0].udp.bytes_in, 1);
    stats_add(&rig.stats.services[0].udp.sessions, 4);
    stats_add(&rig.stats.services[0].udp.ended, 1);
    stats_add(&rig.stats.services[0].waiting.begun, 5);
    stats_add(&rig.stats.services[0].refused.clients[REFUSAL_DENIED], 2);
    stats_add(&rig.stats.services[0].refused.clients[REFUSAL_RATE], 1);
    stats_add(&rig.stats.services[0].waiting.ended[WAITING_SERVED], 3);
    backend_set(rig_server(0, 1), PICK_DOWN);
    rig_expect("show services",
               "service\tlisteners\tpolicy\tservers_up\tservers\tactive\ttotal\tclosed\tbytes_in\t"
               "bytes_out\tudp_active\tudp_total\twaiting\trefused\n"
               "db\ttcp/:5432,both/127.0.0.1:53-54\tleastconn\t1\t2\t2\t5\t3\t11\t0\t3\t4\t2\t3\n"
               "one\ttcp/127.0.0.1:80\troundrobin\t1\t1\t0\t0\t0\t0\t0\t0\t0\t0\t0\n"
               "ok\n");
    rig_ask("show services --json");
    assert_non_null(strstr(rig.text, "\"closed\":3,\"bytes_in\":11,"));
    assert_non_null(strstr(rig.text, "\"closed_by_reason\":{\"client_fin\":2,\"server_fin\":0,"));
    assert_non_null(strstr(rig.text, "\"idle\":1,"));
    assert_non_null(strstr(rig.text, "\"refused\":3,"));
    assert_non_null(strstr(rig.text, "\"refused_by_reason\":{\"denied\":2,\"banned\":0,"));
}

static void test_servers(void **state)
{
    (void)state;
    stats_add(&rig.stats.servers[0].connections, 7);
    stats_add(&rig.stats.servers[0].connect_failures, 2);
    stats_add(&rig.prober.checks[0].ok, 3);
    stats_add(&rig.prober.checks[0].failed, 1);
    backend_acquire(rig_server(0, 0));
    note_write(&rig_server(0, 0)->health, clock_now_ns() - 5 * CLOCK_NS_PER_S, "why not");
    rig_expect("show servers db",
               "service\tserver\taddress\tstate\tsince\twhy\tweight\tbackup\tactive\ttotal\t"
               "connect_failures\tchecks_ok\tchecks_failed\tchecks_unknown\tmaxconn\tpriority\n"
               "db\ta\t10.0.0.1:5432\tup\t5\twhy not\t1\tno\t1\t7\t2\t3\t1\t0\t0\t1\n"
               "db\tb\t10.0.0.2\tup\t0\t-\t2\tyes\t0\t0\t0\t0\t0\t0\t0\t1\n"
               "ok\n");
    rig_ask("show servers one/a --json");
    assert_non_null(strstr(rig.text, "[{\"service\":\"one\",\"server\":\"a\",\"address\":"
                                     "\"[2001:db8::1]:80\",\"state\":\"up\",\"since\":0,"));
    assert_non_null(strstr(rig.text, "\"backup\":false"));
    assert_non_null(strstr(rig.text, "\"health\":\"up\"}]\nok\n"));
}

static void test_which_servers(void **state)
{
    (void)state;
    assert_non_null(strstr(rig_ask("show servers"), "\none\ta\t"));
    assert_null(strstr(rig_ask("show servers db/a"), "\ndb\tb\t"));
    rig_expect("show servers nobody", "error no server 'nobody'\n");
    rig_expect("show servers db/c", "error no server 'db/c'\n");
}

static void test_info(void **state)
{
    (void)state;
    rig_ask("show info");
    assert_non_null(strstr(rig.text, "name\tvalue\nversion\t"));
    assert_non_null(strstr(rig.text, "\nstate\trunning\nready\tyes\nworkers\t1\n"));
    assert_non_null(strstr(rig.text, "\nmaxconn\t400\n"));
    assert_non_null(strstr(rig.text, "\nconfig\ttest.conf\n"));
    rig.from.state = "draining";
    rig.from.is_ready = false;
    rig_ask("show info --json");
    assert_non_null(strstr(rig.text, "\"state\":\"draining\",\"ready\":false,"));
}

static void test_config_is_what_T_prints(void **state)
{
    static char expected[65536];
    FILE *stream = fmemopen(expected, sizeof(expected), "w");

    (void)state;
    conf_print(&rig.conf, stream);
    fclose(stream);
    strcat(expected, "ok\n");
    rig_expect("show config", expected);
    assert_int_equal(rig_ask("show config --json")[0], '"');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIGGED(test_services),
        RIGGED(test_servers),
        RIGGED(test_which_servers),
        RIGGED(test_info),
        RIGGED(test_config_is_what_T_prints),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
