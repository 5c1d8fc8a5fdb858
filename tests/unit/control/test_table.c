#include "lb4/control/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const char *const columns[] = {"name", "n", "flag", NULL};

static void fill(struct reply *reply, size_t n_rows)
{
    struct table table;

    table_begin(&table, reply, columns);
    for (size_t i = 0; i < n_rows; i++) {
        table_row(&table);
        table_text(&table, i ? "a\tb\"c\n" : "");
        table_number(&table, UINT64_MAX);
        table_flag(&table, i == 0);
        if (table_json_field(&table, "more"))
            reply_text(reply, "[1]");
    }
    table_end(&table);
    assert_int_equal(table.n_rows, n_rows);
}

static void fill_record(struct reply *reply)
{
    struct record record;

    record_begin(&record, reply);
    record_text(&record, "text", "x\ty");
    record_number(&record, "number", 5);
    record_flag(&record, "flag", false);
    record_text(&record, "none", "");
    record_end(&record);
}

static void expect(struct reply *reply, const char *text)
{
    assert_int_equal(reply->n_bytes, strlen(text));
    assert_memory_equal(reply->bytes, text, reply->n_bytes);
    reply_fini(reply);
}

static void check_table(bool is_json, size_t n_rows, const char *text)
{
    struct reply reply;

    reply_init(&reply, 10000);
    reply.is_json = is_json;
    fill(&reply, n_rows);
    expect(&reply, text);
}

static void test_tables(void **state)
{
    (void)state;
    check_table(false, 0, "name\tn\tflag\n");
    check_table(false, 2,
                "name\tn\tflag\n-\t18446744073709551615\tyes\na b\"c \t18446744073709551615\tno\n");
    check_table(true, 0, "[]\n");
    check_table(true, 2,
                "[{\"name\":\"\",\"n\":18446744073709551615,\"flag\":true,\"more\":[1]},"
                "{\"name\":\"a\\tb\\\"c\\n\",\"n\":18446744073709551615,\"flag\":false,"
                "\"more\":[1]}]\n");
}

static void test_records(void **state)
{
    struct reply reply;

    (void)state;
    reply_init(&reply, 1000);
    fill_record(&reply);
    expect(&reply, "name\tvalue\ntext\tx y\nnumber\t5\nflag\tno\nnone\t-\n");
    reply_init(&reply, 1000);
    reply.is_json = true;
    fill_record(&reply);
    expect(&reply, "{\"text\":\"x\\ty\",\"number\":5,\"flag\":false,\"none\":\"\"}\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_records),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
