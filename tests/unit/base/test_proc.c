#include "lb4/base/proc.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../netns.h"

static char path[] = "/tmp/lb4-test-proc-XXXXXX";

static int make_file(void **state)
{
    int fd = mkstemp(path);

    (void)state;
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static void put(const char *file, const char *text)
{
    FILE *stream = fopen(file, "w");

    assert_non_null(stream);
    fputs(text, stream);
    assert_int_equal(fclose(stream), 0);
}

static void test_numbers(void **state)
{
    uint64_t found[3] = {0};

    (void)state;
    put(path, "287898\t383867  575796\n9\n");
    assert_int_equal(proc_numbers(path, found, 3), 3);
    assert_int_equal(found[0], 287898);
    assert_int_equal(found[1], 383867);
    assert_int_equal(found[2], 575796);
    assert_int_equal(proc_numbers(path, found, 2), 2);
    assert_int_equal(proc_number(path, 7), 287898);
    put(path, "12 x 13\n");
    assert_int_equal(proc_numbers(path, found, 3), 1);
    put(path, "yes\n");
    assert_int_equal(proc_number(path, 7), 7);
    put(path, "");
    assert_int_equal(proc_number(path, 7), 7);
    assert_int_equal(proc_number("/proc/sys/no/such/file", 7), 7);
}

static void test_listed_ports(void **state)
{
    (void)state;
    assert_int_equal(proc_ports_listed("", 1000, 2000), 0);
    assert_int_equal(proc_ports_listed("999,1000,2000,2001", 1000, 2000), 2);
    assert_int_equal(proc_ports_listed("1-1009", 1000, 2000), 10);
    assert_int_equal(proc_ports_listed("1991-65535,1500", 1000, 2000), 11);
    assert_int_equal(proc_ports_listed("1-65535", 1000, 2000), 1001);
    assert_int_equal(proc_ports_listed("1500,what,1600", 1000, 2000), 1);
    assert_int_equal(proc_ports_listed("1500-1400,1600", 1000, 2000), 0);
}

static void test_ports_of_the_kernel(void **state)
{
    struct proc_ports ports;

    (void)state;
    if (!netns_enter() || access("/proc/sys/net/ipv4/ip_local_port_range", W_OK) < 0)
        skip();
    put("/proc/sys/net/ipv4/ip_local_port_range", "40000 40099");
    put("/proc/sys/net/ipv4/ip_local_reserved_ports", "39990-40009,40050");
    proc_ports_read(&ports);
    assert_int_equal(ports.first, 40000);
    assert_int_equal(ports.last, 40099);
    assert_int_equal(ports.n_reserved, 11);
    assert_int_equal(proc_ports_count(&ports), 89);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_numbers, make_file, remove_file),
        cmocka_unit_test(test_listed_ports),
        cmocka_unit_test(test_ports_of_the_kernel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
