#include "lb4/control/line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../seed.h"

static struct line_reader reader;
static char line[LINE_MAX_BYTES + 1];

/* As much of it as there is room for. */
static size_t feed(const char *bytes, size_t n_bytes)
{
    size_t room;
    char *to = line_room(&reader, &room);

    if (n_bytes > room)
        n_bytes = room;
    memcpy(to, bytes, n_bytes);
    line_came(&reader, n_bytes);
    return n_bytes;
}

static void feed_text(const char *text)
{
    assert_int_equal(feed(text, strlen(text)), strlen(text));
}

static void expect(const char *text)
{
    assert_int_equal(line_take(&reader, line), LINE_READY);
    assert_string_equal(line, text);
}

static void test_lines(void **state)
{
    (void)state;
    line_reader_init(&reader);
    assert_int_equal(line_take(&reader, line), LINE_NONE);
    feed_text("show info\nshow\tx\r\n\nrest");
    expect("show info");
    expect("show\tx");
    expect("");
    assert_int_equal(line_take(&reader, line), LINE_NONE);
    feed_text(" and more\n");
    expect("rest and more");
    assert_int_equal(line_take_rest(&reader, line), LINE_NONE);
}

static void test_rest_is_a_line(void **state)
{
    (void)state;
    line_reader_init(&reader);
    feed_text("help");
    assert_int_equal(line_take(&reader, line), LINE_NONE);
    assert_int_equal(line_take_rest(&reader, line), LINE_READY);
    assert_string_equal(line, "help");
    assert_int_equal(line_take_rest(&reader, line), LINE_NONE);
    feed_text("help\r");
    assert_int_equal(line_take_rest(&reader, line), LINE_READY);
    assert_string_equal(line, "help");
}

static void check_length(size_t n, const char *end, enum line_result expected)
{
    static char bytes[LINE_MAX_BYTES + 10];

    line_reader_init(&reader);
    memset(bytes, 'x', n);
    strcpy(bytes + n, end);
    feed(bytes, n + strlen(end));
    assert_int_equal(line_take(&reader, line), expected);
    if (expected == LINE_READY)
        assert_int_equal(strlen(line), n);
    if (expected == LINE_NONE) {
        size_t room;

        line_room(&reader, &room);
        assert_true(room > 0);
    }
}

static void test_longest_line(void **state)
{
    (void)state;
    check_length(LINE_MAX_BYTES, "", LINE_NONE);
    check_length(LINE_MAX_BYTES, "\r", LINE_NONE);
    check_length(LINE_MAX_BYTES, "\n", LINE_READY);
    check_length(LINE_MAX_BYTES, "\r\n", LINE_READY);
    check_length(LINE_MAX_BYTES + 1, "", LINE_TOO_LONG);
    check_length(LINE_MAX_BYTES + 1, "\n", LINE_TOO_LONG);
    check_length(LINE_MAX_BYTES + 2, "", LINE_TOO_LONG);
}

/* Told at once, not only at the end of the line. */
static void test_bad_bytes(void **state)
{
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        char bad = (char)byte;
        int is_good = (byte >= 0x20 && byte < 0x7f) || byte == '\t';

        if (byte == '\n' || byte == '\r')
            continue;
        line_reader_init(&reader);
        feed(&bad, 1);
        assert_int_equal(line_take(&reader, line), is_good ? LINE_NONE : LINE_BAD_BYTE);
        feed("\n", 1);
        assert_int_equal(line_take(&reader, line), is_good ? LINE_READY : LINE_BAD_BYTE);
    }
    line_reader_init(&reader);
    feed_text("a\rb\n");
    assert_int_equal(line_take(&reader, line), LINE_BAD_BYTE);
}

/* Whatever the pieces in which it comes, the lines are the same. */
static void test_any_pieces(void **state)
{
    static const char text[] = "one\ntwo words\r\n\nthe fourth one is longer\n";
    static const char *const lines[] = {"one", "two words", "", "the fourth one is longer"};
    struct seed seed = seed_new();

    (void)state;
    for (int round = 0; round < 1000; round++) {
        size_t at = 0;
        size_t n_lines = 0;

        line_reader_init(&reader);
        while (at < sizeof(text) - 1) {
            size_t n = 1 + seed_next(&seed, 9);

            at += feed(text + at, n < sizeof(text) - 1 - at ? n : sizeof(text) - 1 - at);
            while (line_take(&reader, line) == LINE_READY)
                assert_string_equal(line, lines[n_lines++]);
        }
        assert_int_equal(n_lines, 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),        cmocka_unit_test(test_rest_is_a_line),
        cmocka_unit_test(test_longest_line), cmocka_unit_test(test_bad_bytes),
        cmocka_unit_test(test_any_pieces),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
