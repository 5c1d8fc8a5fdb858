#include "lb4/lb4ctl/top_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct top_table table_of(enum top_part part, const char *text, const char *only)
{
    struct top_table table;
    struct sheet rows;

    assert_int_equal(sheet_init(&rows, strdup(text)), 0);
    assert_int_equal(top_table_init(&table, part, &rows, only), 0);
    assert_null(rows.text);
    return table;
}

static const char *cell(const struct top_table *table, size_t row, const char *title)
{
    static char text[TOP_CELL_MAX];

    for (size_t i = 0; i < table->n_columns; i++)
        if (strcmp(table->columns[i].title, title) == 0)
            return top_cell_text(table->columns[i].kind, &table->sorted[row]->cells[i], text);
    return "no such column";
}

static const char SERVERS[] =
    "service\tserver\tstate\tsince\twhy\tweight\tactive\ttotal\tconnect_failures\n"
    "web\ta\tup\t70\tprobe: connected\t1\t5\t100\t0\n"
    "web\tb\tdown\t3\tprobe: refused\t2\t0\t7\t12\n"
    "db\tc\tdrain\t3700\tuid 0\t256\t9\t50\t1\n"
    "db\td\tup\t9\t-\t1\t9\t50\t0\n";

static void check_order(struct top_table *table, const char *title, bool is_reversed,
                        const char *expected)
{
    char found[100] = "";

    top_table_sort(table, top_find_column(TOP_SERVERS, title), is_reversed);
    for (size_t i = 0; i < table->n_rows; i++)
        strcat(found, strrchr(table->sorted[i]->name, '/') + 1);
    assert_string_equal(found, expected);
}

static void test_servers(void **state)
{
    struct top_table table = table_of(TOP_SERVERS, SERVERS, "");

    (void)state;
    assert_string_equal(cell(&table, 0, "SERVER"), "web/a");
    assert_string_equal(cell(&table, 0, "SINCE"), "1m10s");
    assert_string_equal(cell(&table, 1, "STATE"), "down");
    assert_string_equal(cell(&table, 1, "FAILS"), "12");
    assert_string_equal(cell(&table, 1, "WHY"), "probe: refused");
    assert_string_equal(cell(&table, 2, "WT"), "256");
    assert_string_equal(cell(&table, 2, "NEW/S"), "-");
    top_table_fini(&table);
}

/* Equals stand as lb4 sent them, in either direction. */
static void test_order(void **state)
{
    struct top_table table = table_of(TOP_SERVERS, SERVERS, "");

    (void)state;
    check_order(&table, "STATE", false, "bcad");
    check_order(&table, "STATE", true, "adcb");
    check_order(&table, "active", false, "cdab");
    check_order(&table, "ACTIVE", true, "bacd");
    check_order(&table, "SERVER", false, "cdab");
    check_order(&table, "SERVER", true, "badc");
    check_order(&table, "nosuch", false, "abcd");
    check_order(&table, "nosuch", true, "dcba");
    top_table_fini(&table);
    top_table_fini(&table);
}

/* A server without an address is not as well as a new one. */
static void test_unresolved_is_bad(void **state)
{
    struct top_table table = table_of(TOP_SERVERS,
                                      "service\tserver\tstate\n"
                                      "db\ta\tnew\ndb\tb\tunresolved\ndb\tc\tsuspect\n"
                                      "db\td\tdown\ndb\te\tup\n",
                                      "");

    (void)state;
    check_order(&table, "STATE", false, "dbcae");
    top_table_fini(&table);
}

static void test_of_one_service(void **state)
{
    struct top_table table = table_of(TOP_SERVERS, SERVERS, "db");

    (void)state;
    assert_int_equal(table.n_rows, 2);
    assert_string_equal(cell(&table, 0, "SERVER"), "db/c");
    top_table_fini(&table);
}

static const char SERVICES[] =
    "service\tservers_up\tservers\tactive\ttotal\tbytes_in\tbytes_out\tudp_active\tudp_total\t"
    "waiting\n"
    "web\t2\t3\t5\t100\t1000\t9000\t0\t0\t3\n"
    "dns\t0\t0\t0\t0\t50\t60\t7\t20\t0\n";

static void test_rates(void **state)
{
    struct top_table before = table_of(TOP_SERVICES, SERVICES, "");
    struct top_table after = table_of(
        TOP_SERVICES,
        "service\tservers_up\tservers\tactive\ttotal\tbytes_in\tbytes_out\tudp_active\tudp_total\t"
        "waiting\n"
        "dns\t1\t1\t0\t0\t40\t70\t7\t21\t0\n"
        "web\t2\t3\t5\t130\t3000\t9000\t0\t0\t0\n"
        "new\t1\t1\t0\t5\t5\t5\t0\t0\t0\n",
        "");

    (void)state;
    assert_string_equal(cell(&before, 0, "UP"), "2/3");
    assert_string_equal(cell(&before, 0, "WAIT"), "3");
    assert_string_equal(cell(&before, 1, "UDP"), "7");
    after.read_ns = 9000000000;
    top_table_rate(&after, &before); /* that was never read */
    assert_string_equal(cell(&after, 1, "NEW/S"), "-");
    before.read_ns = 7000000000;
    top_table_rate(&after, &before);
    assert_string_equal(cell(&after, 1, "NEW/S"), "15");
    assert_string_equal(cell(&after, 1, "IN/S"), "1.00k");
    assert_string_equal(cell(&after, 1, "OUT/S"), "0");
    assert_string_equal(cell(&after, 0, "NEW/S"), "0.5");
    assert_string_equal(cell(&after, 0, "IN/S"), "-"); /* less than before: another one */
    assert_string_equal(cell(&after, 2, "IN/S"), "-");
    top_table_fini(&before);
    top_table_fini(&after);
}

static void test_connections(void **state)
{
    struct top_table table = table_of(
        TOP_CONNECTIONS,
        "client\tservice\tserver\ttransport\tstate\tage\tidle\tbytes_in\tbytes_out\tin_per_s\t"
        "out_per_s\tclient_rtt_us\tclient_retransmits\tserver_rtt_us\tserver_retransmits\tmore\n"
        "192.0.2.1:5\tdb\ta\ttcp\topen\t65\t2\t1000\t2000\t12345\t9\t150\t0\t20123\t4\tx\n"
        "192.0.2.1:53\tdns\t-\tudp\tanswered\t1\t0\t0\t0\t0\t0\t-\t-\t-\t-\tx\n",
        "");

    (void)state;
    assert_string_equal(cell(&table, 0, "CLIENT"), "192.0.2.1:5");
    assert_string_equal(cell(&table, 0, "SERVER"), "db/a");
    assert_string_equal(cell(&table, 0, "AGE"), "1m");
    assert_string_equal(cell(&table, 0, "TOTAL"), "3.00k");
    assert_string_equal(cell(&table, 0, "IN/S"), "12.3k");
    assert_string_equal(cell(&table, 0, "C-RTT"), "150us");
    assert_string_equal(cell(&table, 0, "S-RTT"), "20ms");
    assert_string_equal(cell(&table, 0, "S-RX"), "4");
    assert_string_equal(cell(&table, 1, "S-RTT"), "-");
    assert_string_equal(cell(&table, 1, "C-RX"), "-");
    top_table_sort(&table, top_find_column(TOP_CONNECTIONS, "s-rtt"), true);
    assert_string_equal(cell(&table, 0, "CLIENT"), "192.0.2.1:53"); /* what is not known is least */
    top_table_fini(&table);
}

/* Something that is no table of ours. */
static void test_odd(void **state)
{
    struct top_table table = table_of(TOP_SERVERS, "x\n\ny\tz\n", "");

    (void)state;
    assert_int_equal(table.n_rows, 1);
    assert_string_equal(cell(&table, 0, "STATE"), "-");
    assert_string_equal(cell(&table, 0, "ACTIVE"), "-");
    top_table_fini(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_servers),           cmocka_unit_test(test_order),
        cmocka_unit_test(test_of_one_service),    cmocka_unit_test(test_rates),
        cmocka_unit_test(test_connections),       cmocka_unit_test(test_odd),
        cmocka_unit_test(test_unresolved_is_bad),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
