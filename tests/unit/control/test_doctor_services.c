#include "lb4/control/doctor_services.h"

#include "doctor_rig.h"

static void find(void)
{
    findings.n = 0;
    doctor_find_services(&facts, &findings);
}

static void test_healthy(void **state)
{
    (void)state;
    find();
    assert_int_equal(findings.n, 1);
    expect("servers", DOCTOR_OK, "each service has servers", NULL, NULL);
}

static void test_troubles(void **state)
{
    (void)state;
    services[0].n_lost = 1;
    services[0].n_usable = 1;
    find();
    expect("servers", DOCTOR_WARN, "servers are not up: db", "load", "lb4ctl show servers");
    services[1] = (struct doctor_service){.name = "dns", .n_servers = 1};
    services[2] = (struct doctor_service){.name = "ntp", .n_servers = 2, .n_usable = 2};
    facts.n_services = 3;
    find();
    expect("servers", DOCTOR_BAD, "no server is up: dns", "reset", "lb4ctl show servers");
    assert_int_equal(findings.list[1].level, DOCTOR_WARN); /* the one does not hide the other */
    assert_string_equal(findings.list[1].found, "servers are not up: db");
    assert_true(findings.list[0].is_told && findings.list[1].is_told);
    assert_int_not_equal(findings.list[2].level, DOCTOR_OK);
    expect("checks", DOCTOR_NOTE, "no check: ntp", "silent", "check tcp");
    expect("single", DOCTOR_NOTE, "single server: dns", "takes over", "backup");
}

static void test_who_may_come_in(void **state)
{
    (void)state;
    services[0].lets_nobody_in = true;
    facts.stale_list = "/etc/lb4/blocklist";
    facts.lost_list = "/etc/lb4/friends";
    find();
    expect("access", DOCTOR_BAD, "let nobody in: db", "every client", "allow CIDR");
    assert_int_equal(findings.n, 4);
    expect("lists", DOCTOR_WARN, "cannot be read: /etc/lb4/friends", "next reload", "readable");
    facts.lost_list = NULL;
    find();
    expect("lists", DOCTOR_NOTE, "changed since it was read: /etc/lb4/blocklist", "not count yet",
           "lb4ctl reload");
}

static void test_what_clients_meet_when_all_are_down(void **state)
{
    (void)state;
    services[0].n_usable = 0;
    services[0].n_lost = 2;
    services[0].all_down = CONF_ALL_DOWN_HOLD;
    find();
    expect("servers", DOCTOR_BAD, "no server is up: db", "clients wait", "lb4ctl show servers");
    services[0].all_down = CONF_ALL_DOWN_ANY;
    find();
    expect("servers", DOCTOR_BAD, "no server is up: db", "last resort", "lb4ctl show servers");
    services[1] = services[0];
    services[1].name = "web";
    services[1].all_down = CONF_ALL_DOWN_REFUSE;
    facts.n_services = 2;
    find();
    expect("servers", DOCTOR_BAD, "no server is up: web", "reset", "lb4ctl show servers");
    assert_string_equal(findings.list[1].found, "no server is up: db");
}

static void test_no_headers(void **state)
{
    (void)state;
    services[0].takes_headers = true;
    services[0].n_clients = 20;
    services[0].n_headless = 10;
    find();
    assert_int_equal(findings.n, 1);
    services[0].n_headless = 11;
    find();
    expect("proxy", DOCTOR_WARN, "without a right PROXY header: db", "turned away", "accept-proxy");
    services[0].takes_headers = false;
    find();
    assert_int_equal(findings.n, 1);
}

static void test_a_long_list_is_cut(void **state)
{
    enum { MANY = 100 };
    static struct doctor_service many[MANY];
    static char names[MANY][CONF_NAME_MAX + 1];

    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof(names[i]), "%.50s%zu",
                 "service-with-a-very-long-name-that-fills-the-line--", i);
        many[i] = (struct doctor_service){.name = names[i], .n_servers = 1, .n_usable = 1};
    }
    facts.services = many;
    facts.n_services = MANY;
    find();
    expect("single", DOCTOR_NOTE, "-0, service-with-", "", "");
    assert_non_null(strstr(finding_of("single")->found, " others"));
}

static void test_limits_that_cannot_work(void **state)
{
    (void)state;
    services[0].per_source = 100;
    services[0].maxconn = 101;
    find();
    assert_int_equal(findings.n, 1);
    services[0].maxconn = 100;
    find();
    expect("limits", DOCTOR_NOTE, "not below maxconn of the service: db", "one source can have all",
           "lower limit per-source");
    services[0].per_source = 9786;
    services[0].maxconn = 0;
    find();
    expect("limits", DOCTOR_NOTE,
           "limit per-source 9786 of db is not below what lb4 holds at most: "
           "9786",
           "never refuses", "higher maxconn");
    services[0].per_source = 0;
    services[0].maxconn = 9787;
    find();
    expect("limits", DOCTOR_NOTE, "maxconn 9787 of db", "never refuses", "lower number");
    services[0].maxconn = 9786; /* it can be met */
    find();
    assert_int_equal(findings.n, 1);
}

static void test_sources(void **state)
{
    (void)state;
    services[0].n_shared = 1;
    find();
    expect("sources", DOCTOR_WARN, "table of sources was full, or a part of it: db", "shared one",
           "prefix4 24");
    services[0].n_shared = 0;
    services[0].n_limited = 10;
    services[0].n_sources = 2;
    find();
    assert_int_equal(findings.n, 1);
    services[0].n_sources = 1;
    find();
    expect("sources", DOCTOR_NOTE, "all come from one source: db", "NAT or a balancer",
           "accept-proxy");
    services[0].takes_headers = true;
    find();
    assert_int_equal(findings.n, 1);
    services[0].takes_headers = false;
    services[0].n_limited = 9;
    find();
    assert_int_equal(findings.n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_FACTS(test_healthy),         ON_FACTS(test_troubles),
        ON_FACTS(test_who_may_come_in), ON_FACTS(test_what_clients_meet_when_all_are_down),
        ON_FACTS(test_no_headers),      ON_FACTS(test_limits_that_cannot_work),
        ON_FACTS(test_sources),         ON_FACTS(test_a_long_list_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
