#include "lb4/control/name_report.h"

#include <netdb.h>

#include "command_rig.h"

static struct conf named;

static struct name_set *put(const char *host, bool is_srv, const char *addr, int error)
{
    struct name_set *set = name_sets_add(&rig.reload.names, host, is_srv);
    struct resolver_name answer = {.n_addrs = 1};
    const struct resolver_name failed = {.error = error};

    set->is_used = true;
    if (addr) {
        assert_int_equal(addr_parse(addr, &answer.addrs[0]), 0);
        name_set_take(set, &answer, clock_now_ns());
    }
    if (error)
        name_set_take(set, &failed, clock_now_ns());
    return set;
}

/* Service db has three servers that are names; the first has an address. */
static int prepare(void **state)
{
    struct conf_service *service;

    rig_prepare(state);
    conf_text_accept("service db {\nlisten tcp :1\nserver x x.example\nserver y y.example weight 3 "
                     "maxconn 7 priority 2\n"
                     "server z srv:_z.example backup\n}\n",
                     &named);
    service = &named.services[0];
    service->written = service->servers;
    service->n_written = 3;
    service->servers = calloc(1, sizeof(*service->servers));
    service->n_servers = 1;
    service->servers[0].of = 1;
    rig.from.conf = &named;
    put("x.example", false, "10.0.0.1", 0);
    put("y.example", false, NULL, EAI_NONAME);
    put("_z.example", true, NULL, EAI_AGAIN);
    return 0;
}

static int finish(void **state)
{
    name_sets_fini(&rig.reload.names);
    conf_free(&named);
    return rig_finish(state);
}

static void test_show(void **state)
{
    (void)state;
    rig_expect("show names", "name\tstate\taddresses\tage\tok\tfailed\twhy\n"
                             "srv:_z.example\tunresolved\t0\t-\t0\t1\tTemporary failure in name "
                             "resolution\n"
                             "x.example\tok\t1\t0\t1\t0\t-\n"
                             "y.example\tunresolved\t0\t-\t0\t1\tName or service not known\n"
                             "ok\n");
    rig_ask("show names --json");
    assert_non_null(strstr(rig.text, "\"name\":\"x.example\",\"state\":\"ok\",\"addresses\":1,"
                                     "\"age\":0,\"ok\":1,\"failed\":0,\"why\":\"\",\"list\":["
                                     "\"10.0.0.1\"]"));
}

static void test_rows(void **state)
{
    (void)state;
    rig_ask("show servers db/y");
    assert_int_equal(rig.result, COMMAND_DONE);
    assert_non_null(strstr(rig.text, "db\ty\ty.example\tunresolved\t0\tname not resolved: Name or "
                                     "service not known\t3\tno\t0\t0\t0\t0\t0\t0\t7\t2\n"));
    assert_null(strstr(rig.text, "srv:"));
    rig_ask("show servers");
    assert_non_null(strstr(rig.text, "db\tz\tsrv:_z.example\tunresolved"));
    rig_ask("show servers one/y");
    assert_int_equal(rig.result, COMMAND_FAILED);
}

static void test_missing(void **state)
{
    char text[NAME_CAUSE_MAX + NAME_TEXT_MAX];

    (void)state;
    assert_true(name_report_missing(&rig.from, "db", 1, text));
    assert_string_equal(text,
                        "z, _z.example: name not resolved: Temporary failure in name resolution");
    assert_false(name_report_missing(&rig.from, "db", 2, text));
    assert_false(name_report_missing(&rig.from, "none", 0, text));
}

static void test_status_and_metrics(void **state)
{
    (void)state;
    put("x.example", false, NULL, EAI_FAIL);
    name_report_status(&rig.from, &rig.reply);
    rig_take();
    assert_non_null(strstr(rig.text,
                           "{\"name\":\"x.example\",\"state\":\"failing\",\"addresses\":["
                           "\"10.0.0.1\"],\"age_s\":0,\"ok\":1,\"failed\":1,\"why\":\"Non-"
                           "recoverable failure in name resolution\"}"));
    name_report_metrics(&rig.from, &rig.reply);
    rig_take();
    assert_non_null(
        strstr(rig.text, "\nlb4_resolve_total{name=\"x.example\",result=\"failed\"} 1\n"));
    assert_non_null(strstr(rig.text, "\nlb4_resolve_addresses{name=\"srv:_z.example\"} 0\n"));
    assert_non_null(strstr(rig.text, "\nlb4_resolve_age_seconds{name=\"x.example\"} 0\n"));
    assert_null(strstr(rig.text, "lb4_resolve_age_seconds{name=\"y.example\"}"));
}

static void test_count(void **state)
{
    struct name_census census;

    (void)state;
    put("x.example", false, NULL, EAI_FAIL);
    name_report_count(&rig.from, &census);
    assert_int_equal(census.n, 3);
    assert_int_equal(census.n_failing, 1);
    assert_int_equal(census.n_unresolved, 2);
    assert_string_equal(census.first_failing->host, "x.example");
    rig.from.reload = NULL;
    name_report_count(&rig.from, &census);
    assert_int_equal(census.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_show, prepare, finish),
        cmocka_unit_test_setup_teardown(test_rows, prepare, finish),
        cmocka_unit_test_setup_teardown(test_missing, prepare, finish),
        cmocka_unit_test_setup_teardown(test_status_and_metrics, prepare, finish),
        cmocka_unit_test_setup_teardown(test_count, prepare, finish),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
