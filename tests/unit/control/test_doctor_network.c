#include "lb4/control/doctor_network.h"

#include "doctor_rig.h"

static void find(void)
{
    doctor_find_network(&facts, &findings);
}

static void test_rate(void **state)
{
    struct doctor_kernel *kernel = &facts.kernel;

    (void)state;
    assert_int_equal(doctor_rate(kernel, false), 470);
    assert_int_equal(doctor_rate(kernel, true), 28232); /* 2: over loopback */
    kernel->tw_reuse = 1;
    assert_int_equal(doctor_rate(kernel, false), 28232);
    kernel->tw_reuse_ms = 100;
    assert_int_equal(doctor_rate(kernel, false), 282320);
    kernel->has_timestamps = false;
    assert_int_equal(doctor_rate(kernel, false), 470);
    kernel->has_timestamps = true;
    kernel->tw_reuse = 0;
    assert_int_equal(doctor_rate(kernel, true), 470);
    kernel->ports.n_reserved = 28232 - 59;
    assert_int_equal(doctor_rate(kernel, true), 0);
}

static void test_usual(void **state)
{
    (void)state;
    find();
    expect("ports", DOCTOR_OK, "28232 local ports (ip_local_port_range 32768-60999, 0 of them",
           "db: at most 56464 connections at a time, 28232 to each", NULL);
    expect("time_wait", DOCTOR_NOTE, "rests for 60000 ms",
           "db: 470 new connections/s to each server address, 940 in all",
           "sysctl -w net.ipv4.tcp_tw_reuse=1 (both");
    expect("backlog", DOCTOR_OK, "somaxconn is 4096", NULL, NULL);
    expect("syn", DOCTOR_OK, "tcp_syncookies is 1", NULL, NULL);
    expect("migration", DOCTOR_OK, "tcp_migrate_req is 1", NULL, NULL);
    expect("tcp_memory", DOCTOR_OK, "1953 MiB", NULL, NULL);
    assert_null(finding_of("udp_buffers"));
    assert_null(finding_of("conntrack"));
}

/* The service that meets the limit first. */
static void test_the_poorest_service(void **state)
{
    (void)state;
    services[1] = services[0];
    services[1].name = "ssh";
    services[1].n_addresses = 1;
    services[2] = (struct doctor_service){.name = "dns", .transports = CONF_UDP};
    services[3] = (struct doctor_service){.name = "unix", .transports = CONF_TCP};
    facts.n_services = 4;
    facts.budget.maxconn = 100000;
    find();
    expect("ports", DOCTOR_NOTE, "service ssh has 1 server address", "ssh: at most 28232 conn",
           "ip_local_port_range");
    expect("time_wait", DOCTOR_NOTE, "",
           "ssh: 470 new connections/s to each server address, 470 in", "");
}

static void test_few_ports(void **state)
{
    (void)state;
    facts.kernel.ports = (struct proc_ports){40000, 40099, 10};
    services[0].is_near = true;
    find();
    expect("ports", DOCTOR_WARN, "90 local ports", "at most 180", "net.ipv4");
    expect("time_wait", DOCTOR_OK, "servers are on loopback", "90 new connections/s", NULL);
    findings.n = 0;
    facts.kernel.tw_reuse = 0;
    find();
    expect("time_wait", DOCTOR_WARN, "tcp_tw_reuse is 0", "1 new connections/s",
           "tcp_tw_reuse=1 (");
    findings.n = 0;
    facts.kernel.has_timestamps = false;
    find();
    expect("time_wait", DOCTOR_WARN, "tcp_timestamps 0", "",
           "tcp_tw_reuse=1 net.ipv4.tcp_timestamps=1");
}

static void test_what_is_not_here(void **state)
{
    struct addr source;

    (void)state;
    assert_int_equal(addr_parse("10.0.0.9", &source), 0);
    facts.missing_source = &source;
    facts.lost_interface = "eth7";
    find();
    expect("source", DOCTOR_BAD, "`source` 10.0.0.9 is not here", "other sources are taken",
           "ip address add 10.0.0.9/32 dev lo");
    expect("interface", DOCTOR_BAD, "interface eth7 is not here, or was made anew", "no client",
           "lb4ctl reload");
    assert_int_equal(addr_parse("2001:db8::9", &source), 0);
    findings.n = 0;
    find();
    expect("source", DOCTOR_BAD, "`source` 2001:db8::9 is not here", "other sources",
           "ip address add 2001:db8::9/128 dev lo");
}

static void test_who_waits(void **state)
{
    (void)state;
    facts.kernel.somaxconn = 128;
    facts.kernel.has_syncookies = false;
    facts.kernel.migrates = false;
    find();
    expect("backlog", DOCTOR_WARN, "somaxconn is 128", "try again", "net.core.somaxconn=4096");
    expect("syn", DOCTOR_WARN, "tcp_syncookies is 0", "1024 forged", "tcp_syncookies=1");
    expect("migration", DOCTOR_NOTE, "tcp_migrate_req is 0", "handshake", "tcp_migrate_req=1");
    findings.n = 0;
    facts.n_workers = 1;
    find();
    assert_null(finding_of("migration"));
    expect("backlog", DOCTOR_WARN, "one for each of 1 worker", "try again", "somaxconn=4096");
    assert_null(strstr(finding_of("backlog")->found, "workers"));
}

static void test_udp(void **state)
{
    (void)state;
    facts.has_udp = true;
    find();
    expect("udp_buffers", DOCTOR_OK, "rmem_max is 4194304", NULL, NULL);
    expect("udp_sessions", DOCTOR_OK, "0 datagrams of new clients", NULL, NULL);
    findings.n = 0;
    facts.kernel.rmem_max = 212992;
    find();
    expect("udp_buffers", DOCTOR_NOTE, "rmem_max is 212992", "burst", "net.core.rmem_max=2097152");
    findings.n = 0;
    facts.n_dropped_kernel = 3;
    facts.n_dropped_limit = 4;
    find();
    expect("udp_buffers", DOCTOR_WARN, "has dropped 3 datagrams", "", "rmem_max");
    expect("udp_sessions", DOCTOR_WARN, "4 datagrams of new clients", "", "timeout udp");
}

static void test_tables_and_memory(void **state)
{
    (void)state;
    facts.kernel.conntrack_most = 4096;
    facts.kernel.tcp_mem_pages = 1000;
    find();
    assert_null(finding_of("conntrack"));
    expect("tcp_memory", DOCTOR_NOTE, "3 MiB", "throughput", "maxconn");
    findings.n = 0;
    facts.kernel.conntrack_count = 17;
    find();
    expect("conntrack", DOCTOR_NOTE, "nf_conntrack_max is 4096, 17 are in use", "2048 connections",
           "nf_conntrack_max=39144");
    facts.kernel.conntrack_count = 3500; /* it fills up */
    findings.n = 0;
    doctor_find_network(&facts, &findings);
    expect("conntrack", DOCTOR_WARN, "3500 are in use", "2048 connections",
           "nf_conntrack_max=39144");
    facts.kernel.conntrack_count = 17;
    findings.n = 0;
    facts.kernel.conntrack_most = 262144;
    find();
    expect("conntrack", DOCTOR_OK, "262144", NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_FACTS(test_rate),
        ON_FACTS(test_usual),
        ON_FACTS(test_the_poorest_service),
        ON_FACTS(test_few_ports),
        ON_FACTS(test_what_is_not_here),
        ON_FACTS(test_who_waits),
        ON_FACTS(test_udp),
        ON_FACTS(test_tables_and_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
