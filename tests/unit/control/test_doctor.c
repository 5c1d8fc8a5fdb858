#include "lb4/control/doctor.h"

#include "command_rig.h"

static void test_text(void **state)
{
    (void)state;
    backend_set(rig_server(1, 0), PICK_DOWN);
    rig_ask("doctor");
    assert_int_equal(rig.result, COMMAND_DONE);
    assert_int_equal(strncmp(rig.text, "At most 400 connections at a time, limited by ", 46), 0);
    assert_non_null(strstr(rig.text, "\nMore: "));
    assert_non_null(strstr(rig.text, "\n\nbad   servers: no server is up: one\n"
                                     "      limits  clients are reset, datagrams dropped\n"
                                     "      lift    lb4ctl show servers tells why\n"));
    assert_null(strchr(rig.text, '\t'));
    assert_string_equal(rig.text + strlen(rig.text) - 4, "\nok\n");
}

/* The ceiling of connections says nothing where there are none. */
static void test_udp_alone(void **state)
{
    size_t n_services = rig.conf.n_services;

    (void)state;
    rig.conf.n_services = 1;
    for (size_t i = 0; i < rig.conf.services[0].n_listens; i++)
        rig.conf.services[0].listens[i].transport = CONF_UDP;
    rig_ask("doctor");
    rig.conf.n_services = n_services; /* all of them are freed */
    assert_int_equal(
        strncmp(rig.text, "At most 50 UDP sessions at a time; no service takes TCP.\n", 57), 0);
    assert_null(strstr(rig.text, "\nMore: "));
}

static void test_json(void **state)
{
    (void)state;
    rig_ask("doctor --json");
    assert_non_null(
        strstr(rig.text, "{\"ceiling\":400,\"limited_by\":\"RLIMIT_NOFILE 1000\",\"lift\":\""));
    assert_non_null(strstr(rig.text, "\"findings\":[{\"level\":\""));
    assert_non_null(strstr(rig.text, ",{\"level\":\"ok\",\"about\":\"servers\",\"found\":\"each "
                                     "service has servers that take clients\",\"limits\":\"\","
                                     "\"lift\":\"\"}"));
    assert_non_null(strstr(rig.text, "}]}\nok\n"));
}

static void test_no_arguments(void **state)
{
    (void)state;
    rig_expect("doctor who", "error usage: doctor\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIGGED(test_text),
        RIGGED(test_udp_alone),
        RIGGED(test_json),
        RIGGED(test_no_arguments),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
