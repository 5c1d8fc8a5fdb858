#include "lb4/control/doctor_findings.h"

#include "doctor_rig.h"

static struct doctor_ceiling ceiling(void)
{
    struct doctor_ceiling ret;

    doctor_ceiling(&facts, &ret);
    return ret;
}

static void test_ceiling_by_descriptors(void **state)
{
    (void)state;
    assert_int_equal(ceiling().n_connections, 9786);
    assert_string_equal(ceiling().limit, "RLIMIT_NOFILE 20000");
    assert_non_null(strstr(ceiling().lift, "LimitNOFILE=80000 in lb4.service"));
    facts.budget.descriptors = 1000000;
    assert_non_null(strstr(ceiling().lift, "LimitNOFILE=1048576 in"));
    facts.budget.descriptors = 1048576;
    assert_non_null(
        strstr(ceiling().lift, "sysctl -w fs.nr_open=4194304, and LimitNOFILE=4194304"));
}

static void test_ceiling_by_configuration(void **state)
{
    (void)state;
    facts.budget.bound = LIMITS_BOUND_CONFIG;
    facts.budget.maxconn = 500;
    assert_string_equal(ceiling().limit, "maxconn 500");
    assert_non_null(strstr(ceiling().lift, "maxconn auto"));
    facts.budget.bound = LIMITS_BOUND_BUILT_IN;
    assert_string_equal(ceiling().lift, "");
}

static void test_ceiling_by_ports(void **state)
{
    (void)state;
    facts.budget.maxconn = 100000;
    assert_int_equal(ceiling().n_connections, 56464);
    assert_string_equal(ceiling().limit, "28232 local ports to each of 2 server addresses");
    assert_non_null(strstr(ceiling().lift, "ip_local_port_range=\"1024 65535\""));
    facts.kernel.ports.n_reserved = 32;
    facts.n_addresses = 1;
    assert_int_equal(ceiling().n_connections, 28200);
    assert_string_equal(ceiling().limit, "28200 local ports to each of 1 server address");
    facts.kernel.ports = (struct proc_ports){1024, 65535, 0};
    assert_string_equal(ceiling().lift, "more addresses of servers, or of this machine (`source`)");
    facts.n_addresses = 0; /* UDP alone */
    assert_int_equal(ceiling().n_connections, 100000);
}

static void test_ceiling_by_conntrack(void **state)
{
    (void)state;
    facts.kernel.conntrack_most = 4096;
    assert_int_equal(ceiling().n_connections, 9786); /* it tracks nothing here */
    facts.kernel.conntrack_count = 3;
    assert_int_equal(ceiling().n_connections, 2048);
    assert_non_null(strstr(ceiling().limit, "nf_conntrack_max 4096"));
    assert_string_equal(ceiling().lift, "sysctl -w net.netfilter.nf_conntrack_max=39144");
    facts.kernel.conntrack_most = 12000; /* a connection has two entries */
    assert_int_equal(ceiling().n_connections, 6000);
}

static void test_process(void **state)
{
    (void)state;
    doctor_find(&facts, &findings);
    expect("descriptors", DOCTOR_OK, "RLIMIT_NOFILE is 20000: 20 for lb4 itself", NULL, NULL);
    expect("pipes", DOCTOR_OK, "at most 24 pipes of up to 1024 KiB", NULL, NULL);
    assert_null(finding_of("user"));
    assert_null(finding_of("probes"));
    assert_null(finding_of("reload"));
    assert_null(finding_of("log"));
    assert_null(finding_of("ports_below"));
}

static void test_troubles_of_the_process(void **state)
{
    (void)state;
    facts.budget.maxconn = 15;
    facts.budget.descriptors = 64;
    facts.budget.probes = 1;
    facts.budget.pipes_per_worker = 2;
    facts.is_root = true;
    facts.lowest_port = 53;
    facts.has_reload_failed = true;
    facts.n_log_dropped = 12;
    doctor_find(&facts, &findings);
    expect("log", DOCTOR_WARN, "12 lines", "too slow", "reader");
    expect("descriptors", DOCTOR_WARN, "RLIMIT_NOFILE is 64", "at a time", "LimitNOFILE=256");
    expect("probes", DOCTOR_WARN, "1 of 2 servers", "silent", "LimitNOFILE=16");
    expect("pipes", DOCTOR_NOTE, "at most 2 pipes", "copied", "fs.pipe-user-pages-soft=65536");
    expect("user", DOCTOR_WARN, "runs as root", "", "user lb4");
    assert_true(finding_of("user")->is_told);
    expect("ports_below", DOCTOR_NOTE, "below 1024", "reload",
           "net.ipv4.ip_unprivileged_port_start=53");
    expect("reload", DOCTOR_WARN, "failed", "", "--dry-run");
}

static void test_what_is_wished_is_no_trouble(void **state)
{
    (void)state;
    facts.budget.maxconn = 15;
    facts.budget.bound = LIMITS_BOUND_CONFIG;
    facts.budget.pipes_per_worker = 0;
    facts.wants_splice = false;
    facts.lowest_port = 53;
    facts.can_bind = true;
    doctor_find(&facts, &findings);
    expect("descriptors", DOCTOR_OK, "", NULL, NULL);
    assert_null(finding_of("pipes"));
    assert_null(finding_of("ports_below"));
}

static void test_small_pipes(void **state)
{
    (void)state;
    facts.budget.pipe_bytes = 65536;
    facts.kernel.limits.pipe_max_bytes = 65536;
    doctor_find(&facts, &findings);
    expect("pipes", DOCTOR_NOTE, "pipe-max-size 65536", "", "sysctl -w fs.pipe-max-size=1048576");
}

static void test_the_worst_comes_first(void **state)
{
    (void)state;
    services[0].n_usable = 0;
    facts.is_root = true;
    facts.kernel.migrates = false;
    doctor_find(&facts, &findings);
    assert_string_equal(findings.list[0].about, "servers");
    assert_string_equal(findings.list[1].about, "user");
    for (size_t i = 1; i < findings.n; i++)
        assert_true(findings.list[i - 1].level >= findings.list[i].level);
    assert_int_equal(findings.list[findings.n - 1].level, DOCTOR_OK);
}

/* Each says what is so; what is not fine says what it limits, and how to lift that. */
static void test_each_has_its_words(void **state)
{
    (void)state;
    facts.is_root = true;
    facts.has_udp = true;
    facts.n_dropped_kernel = facts.n_dropped_limit = 7;
    facts.kernel = (struct doctor_kernel){.ports = {40000, 40009, 0},
                                          .limits = {.page_bytes = 4096},
                                          .conntrack_most = 2,
                                          .conntrack_count = 2,
                                          .tcp_mem_pages = 1,
                                          .first_free_port = 65535};
    facts.budget.maxconn = 20;
    facts.budget.pipes_per_worker = 0;
    facts.budget.pipe_bytes = 4096;
    facts.budget.probes = 1;
    facts.has_reload_failed = true;
    services[0] = (struct doctor_service){.name = "db", .transports = CONF_TCP, .n_servers = 2};
    services[1] = (struct doctor_service){.name = "one", .n_servers = 1, .n_usable = 1};
    facts.n_services = 2;
    doctor_find(&facts, &findings);
    assert_in_range(findings.n, 15, DOCTOR_FINDINGS_MAX - 1);
    for (size_t i = 0; i < findings.n; i++) {
        assert_true(findings.list[i].level > DOCTOR_OK);
        assert_true(*findings.list[i].found && *findings.list[i].limits && *findings.list[i].lift);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_FACTS(test_ceiling_by_descriptors),
        ON_FACTS(test_ceiling_by_configuration),
        ON_FACTS(test_ceiling_by_ports),
        ON_FACTS(test_ceiling_by_conntrack),
        ON_FACTS(test_process),
        ON_FACTS(test_troubles_of_the_process),
        ON_FACTS(test_what_is_wished_is_no_trouble),
        ON_FACTS(test_small_pipes),
        ON_FACTS(test_the_worst_comes_first),
        ON_FACTS(test_each_has_its_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
