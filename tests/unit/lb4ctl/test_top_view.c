#include "lb4/lb4ctl/top_view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lb4/lb4ctl/keys.h"

static struct top_view view;
static struct screen screen;

static void take(enum top_part part, const char *text, uint64_t read_ns)
{
    struct top_table table;
    struct sheet rows;

    assert_int_equal(sheet_init(&rows, strdup(text)), 0);
    assert_int_equal(top_table_init(&table, part, &rows, ""), 0);
    table.read_ns = read_ns;
    top_view_take(&view, part, &table);
}

static void take_servers(size_t n)
{
    char text[5000] = "service\tserver\tstate\tactive\n";

    for (size_t i = 0; i < n; i++)
        sprintf(text + strlen(text), "web\ts%zu\t%s\t%zu\n", i, i == 3 ? "down" : "up", i);
    take(TOP_SERVERS, text, 1);
}

static int prepare(void **state)
{
    (void)state;
    top_view_init(&view);
    screen = (struct screen){0};
    strcpy(view.head, "the head");
    take(TOP_SERVICES, "service\tservers_up\tservers\tactive\nweb\t1\t2\t5\n", 1);
    take_servers(30);
    take(TOP_CONNECTIONS, "client\tservice\tserver\nc1\tweb\ts1\nc2\tweb\ts2\n", 1);
    return 0;
}

static int finish(void **state)
{
    (void)state;
    top_view_fini(&view);
    screen_fini(&screen);
    return 0;
}

/* The frame as text. */
static const char *frame(size_t width, size_t height)
{
    static char text[20000];
    FILE *stream = fmemopen(text, sizeof(text), "w");

    assert_int_equal(screen_begin(&screen, width, height), 0);
    top_view_draw(&view, &screen);
    screen_print(&screen, stream);
    fclose(stream);
    return text;
}

static size_t count(const char *text, const char *what)
{
    size_t n = 0;

    for (; (text = strstr(text, what)); text += strlen(what))
        n++;
    return n;
}

static void check_share(size_t n_lines, const size_t n_rows[TOP_PARTS],
                        const size_t expected[TOP_PARTS])
{
    size_t lines[TOP_PARTS];

    top_view_share(n_rows, n_lines, lines);
    assert_memory_equal(lines, expected, sizeof(lines));
    assert_int_equal(lines[0] + lines[1] + lines[2], n_lines);
}

static void test_share(void **state)
{
    (void)state;
    check_share(22, (const size_t[]){1, 3, 100}, (const size_t[]){2, 4, 16});
    check_share(22, (const size_t[]){50, 50, 50}, (const size_t[]){6, 8, 8});
    check_share(22, (const size_t[]){2, 50, 3}, (const size_t[]){3, 15, 4});
    check_share(22, (const size_t[]){50, 2, 3}, (const size_t[]){15, 3, 4});
    check_share(22, (const size_t[]){0, 0, 0}, (const size_t[]){1, 1, 20});
    check_share(9, (const size_t[]){9, 9, 9}, (const size_t[]){3, 3, 3});
}

static void test_frame(void **state)
{
    const char *text = frame(80, 24);

    (void)state;
    assert_int_equal(count(text, "\n"), 24);
    assert_int_equal(strncmp(text, "the head\nSERVICE", 16), 0);
    assert_int_equal(count(text, "web/s3"), 1);
    assert_true(strstr(text, "web/s3") < strstr(text, "web/s0")); /* the worst first */
    assert_non_null(strstr(text, "SERVER +14"));
    assert_non_null(strstr(text, "c1"));
    assert_non_null(strstr(text, "q quit"));
    strcpy(view.message, "something is wrong");
    assert_non_null(strstr(frame(80, 24), "something is wrong\n"));
}

static void test_small_frames(void **state)
{
    (void)state;
    for (size_t width = 1; width < 100; width++)
        for (size_t height = 1; height < 30; height++) {
            size_t n;

            free(screen_update(&screen, &n));
            assert_int_equal(count(frame(width, height), "\n"), height);
            for (size_t i = 0; i < height; i++)
                assert_in_range(screen.lines[i].n_columns, 0, width);
        }
}

static void test_parts(void **state)
{
    (void)state;
    assert_int_equal(view.focus, TOP_CONNECTIONS);
    assert_true(top_view_key(&view, KEY_TAB));
    assert_int_equal(view.focus, TOP_SERVICES);
    top_view_key(&view, KEY_BACK_TAB);
    assert_int_equal(view.focus, TOP_CONNECTIONS);
    top_view_key(&view, '2');
    assert_false(view.is_expanded);
    top_view_key(&view, '2');
    assert_true(view.is_expanded);
    assert_null(strstr(frame(80, 24), "CLIENT"));
    assert_int_equal(count(frame(80, 24), "web/s"), 21);
    top_view_key(&view, KEY_ENTER);
    assert_non_null(strstr(frame(80, 24), "CLIENT"));
    assert_false(top_view_key(&view, 'x'));
}

static void test_scroll(void **state)
{
    (void)state;
    top_view_key(&view, '2');
    top_view_key(&view, '2');
    top_view_key(&view, KEY_DOWN);
    assert_null(strstr(frame(80, 24), "web/s3 "));
    top_view_key(&view, KEY_END);
    assert_non_null(strstr(frame(80, 24), "web/s29"));
    assert_int_equal(view.scrolled[TOP_SERVERS], 9);
    top_view_key(&view, KEY_PAGE_UP);
    assert_int_equal(view.scrolled[TOP_SERVERS], 0);
    top_view_key(&view, KEY_PAGE_DOWN);
    top_view_key(&view, KEY_UP);
    assert_int_equal(view.scrolled[TOP_SERVERS], 9);
    take_servers(2); /* fewer now */
    frame(80, 24);
    assert_int_equal(view.scrolled[TOP_SERVERS], 0);
    top_view_key(&view, KEY_HOME);
}

static void test_sort_keys(void **state)
{
    int n = (int)view.tables[TOP_SERVERS].n_columns + 1;
    int first = view.sorts[TOP_SERVERS].column;

    (void)state;
    screen.is_styled = true;
    top_view_key(&view, '2');
    assert_non_null(strstr(frame(80, 24), "STATEv"));
    top_view_key(&view, 'r');
    assert_non_null(strstr(frame(80, 24), "STATE^"));
    top_view_key(&view, '<');
    assert_non_null(strstr(frame(80, 24), "SERVER^"));
    assert_int_equal(view.sorts[TOP_SERVERS].column, 0);
    top_view_key(&view, KEY_LEFT);
    assert_int_equal(view.sorts[TOP_SERVERS].column, TOP_UNSORTED);
    for (int i = 0; i < first + 1 + n; i++)
        top_view_key(&view, i % 2 ? 's' : KEY_RIGHT);
    assert_int_equal(view.sorts[TOP_SERVERS].column, first);
}

static void test_sort_by_name(void **state)
{
    (void)state;
    assert_true(top_view_sort_by(&view, "active"));
    assert_int_equal(view.sorts[TOP_SERVERS].column, top_find_column(TOP_SERVERS, "ACTIVE"));
    assert_int_equal(view.sorts[TOP_SERVICES].column, top_find_column(TOP_SERVICES, "ACTIVE"));
    assert_int_equal(view.sorts[TOP_CONNECTIONS].column, TOP_UNSORTED);
    assert_true(top_view_sort_by(&view, "age"));
    assert_true(top_view_sort_by(&view, "rate"));
    assert_int_equal(view.sorts[TOP_CONNECTIONS].column, TOP_UNSORTED);
    assert_false(top_view_sort_by(&view, "nosuch"));
}

static void test_help(void **state)
{
    (void)state;
    top_view_key(&view, '?');
    assert_non_null(strstr(frame(80, 24), "Ctrl-Z"));
    assert_null(strstr(frame(80, 24), "CLIENT"));
    top_view_key(&view, 'x');
    assert_non_null(strstr(frame(80, 24), "CLIENT"));
    view.is_paused = true;
    assert_int_equal(strncmp(frame(80, 24), "PAUSED the head\n", 16), 0);
}

/* Everything, whole, and no marks of a screen. */
static void test_list(void **state)
{
    static char text[20000];
    FILE *stream = fmemopen(text, sizeof(text), "w");
    size_t width;
    size_t height;

    (void)state;
    top_view_measure(&view, &screen, &width, &height);
    assert_int_equal(screen_begin(&screen, width, height), 0);
    top_view_list(&view, &screen);
    screen_print(&screen, stream);
    fclose(stream);
    assert_int_equal(count(text, "web/s"), 32);
    assert_int_equal(strncmp(text, "the head\n\nSERVICE ", 18), 0);
    assert_int_equal(count(text, "\n\n"), 3);
    assert_null(strstr(text, "STATEv"));
    assert_null(strstr(text, "2:"));
    assert_null(strstr(text, "+"));
    assert_non_null(strstr(text, "c2"));
}

#define STAGED(test) cmocka_unit_test_setup_teardown(test, prepare, finish)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(test_share),        STAGED(test_frame),  STAGED(test_small_frames),
        STAGED(test_parts),        STAGED(test_scroll), STAGED(test_sort_keys),
        STAGED(test_sort_by_name), STAGED(test_help),   STAGED(test_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
