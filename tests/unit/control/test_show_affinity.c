#include "lb4/control/show_affinity.h"

#include "command_rig.h"

#include "lb4/shared/affinity.h"
#include "lb4/shared/service_change.h"

static struct service *service;

static void give(uint64_t lasts_ms)
{
    struct conf_service *conf = &rig.conf.services[0];
    struct service_change change;

    service = &rig.services.services[0];
    conf->affinity = (struct conf_affinity){CONF_AFFINITY_ON, lasts_ms, 32, 128};
    assert_int_equal(service_prepare(&rig.services, service, conf, &change), 0);
    service_commit(&change);
    service_activate(&change);
    service_change_fini(&rig.services, &change);
}

/* Returns its server. */
static struct backend *come(const char *client, struct affinity_hold *hold)
{
    const struct affinity_visit visit = {clock_now_ns(), false, hold};
    const struct pick_set none = {0};
    struct addr addr;
    const struct service_client who = {.addr = &addr, .tried = &none};
    enum affinity_result result;
    struct backend *backend;

    assert_int_equal(addr_parse(client, &addr), 0);
    assert_int_equal(affinity_take(service, &who, &visit, &backend, &result), PLACE_TAKEN);
    return backend;
}

#define HEAD "source\tserver\tlive\tleft\n"

static void test_clients(void **state)
{
    struct affinity_hold hold[3] = {0};
    struct backend *backend;

    (void)state;
    give(3600000);
    rig_expect("show affinity db", HEAD "ok\n");
    backend = come("10.0.0.1", &hold[0]);
    assert_string_equal(backend->name, "a");
    affinity_leave(service, &hold[0]);
    come("2001:db8::1", &hold[1]);
    come("fe80::5", &hold[2]);
    affinity_leave(service, &hold[2]);
    rig_expect("show affinity db --busiest 1", HEAD "2001:db8::1\ta\t1\t3600\nok\n");
    rig_ask("show affinity db --json");
    assert_non_null(strstr(rig.text, "[{\"source\":\"2001:db8::1\",\"server\":\"a\",\"live\":1,"
                                     "\"left\":3600},"));
    assert_non_null(
        strstr(rig.text, "{\"source\":\"10.0.0.1\",\"server\":\"a\",\"live\":0,\"left\":3600}"));
    assert_non_null(strstr(rig.text, "{\"source\":\"fe80::5\","));
    affinity_leave(service, &hold[1]);
    for (int i = 0; i < 3; i++)
        place_give_back(service, backend);
}

static void test_bad_words(void **state)
{
    (void)state;
    rig_expect("show affinity", "error usage: show affinity [--busiest N] SERVICE\n");
    rig_expect("show affinity x", "error no service 'x'\n");
    rig_expect("show affinity db",
               "error service db holds no clients: it has no affinity source TIME\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIGGED(test_clients),
        RIGGED(test_bad_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
