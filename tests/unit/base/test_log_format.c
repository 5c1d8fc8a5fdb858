#include "lb4/base/log_format.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "lb4/base/log_event.h"

enum { N_RANDOM = 10000 };

static const uint64_t NOON_NS = 1795370400123ull * 1000000; /* 2026-11-22T18:00:00.123Z */

static const struct log_style text_style = {.front = LOG_FRONT_NONE};
static const struct log_style json_style = {.front = LOG_FRONT_NONE, .is_json = true};
static const struct log_style journal_style = {.front = LOG_FRONT_JOURNAL};
static const struct log_style syslog_style = {.front = LOG_FRONT_SYSLOG, .facility = 3, .pid = 123};

static const struct log_key keys[] = {
    {"client", LOG_ADDR}, {"name", LOG_TEXT}, {"took_ms", LOG_MS}, {"in", LOG_NUMBER}};
static const struct log_form form = {"access", keys, 4};

static struct log_text line;

static const char *format_bytes(const struct log_style *style, enum log_level level,
                                const char *bytes, size_t n)
{
    const struct log_record record = {
        .time_ns = NOON_NS, .n_bytes = (uint16_t)n, .level = (uint8_t)level};

    log_format(&line, style, &record, "worker 1", bytes);
    line.bytes[line.used] = '\0';
    return line.bytes;
}

static const char *format_text(const struct log_style *style, enum log_level level,
                               const char *text)
{
    return format_bytes(style, level, text, strlen(text));
}

static const char *format_event(const struct log_style *style, const union log_value *values,
                                const char *sentence)
{
    char packed[LOG_EVENT_PACKED_MAX + LOG_LINE_MAX];
    size_t n = log_event_pack(&form, values, packed);
    struct log_record record = {.time_ns = NOON_NS,
                                .n_bytes = (uint16_t)(n + strlen(sentence)),
                                .level = LOG_LEVEL_INFO,
                                .is_event = true};

    memcpy(packed + n, sentence, strlen(sentence));
    log_format(&line, style, &record, "worker 1", packed);
    line.bytes[line.used] = '\0';
    return line.bytes;
}

static void test_fronts(void **state)
{
    (void)state;
    assert_string_equal(format_text(&text_style, LOG_LEVEL_WARN, "a \"b\" c=\\d"),
                        "2026-11-22T18:00:00.123Z WARN worker 1: a \"b\" c=\\d\n");
    assert_string_equal(format_text(&journal_style, LOG_LEVEL_ERROR, "x"),
                        "<3>ERROR worker 1: x\n");
    assert_string_equal(format_text(&journal_style, LOG_LEVEL_WARN, "x"), "<4>WARN worker 1: x\n");
    assert_string_equal(format_text(&journal_style, LOG_LEVEL_INFO, "x"), "<6>INFO worker 1: x\n");
    assert_string_equal(format_text(&journal_style, LOG_LEVEL_DEBUG, "x"),
                        "<7>DEBUG worker 1: x\n");
    assert_string_equal(format_text(&syslog_style, LOG_LEVEL_WARN, "x"),
                        "<28>Nov 22 18:00:00 lb4[123]: WARN worker 1: x");
    assert_string_equal(format_text(&json_style, LOG_LEVEL_WARN, "a \"b\" \\"),
                        "{\"time\":\"2026-11-22T18:00:00.123Z\",\"level\":\"WARN\","
                        "\"thread\":\"worker 1\",\"message\":\"a \\\"b\\\" \\\\\"}\n");
}

/* A day of one digit has a blank before it, as RFC 3164 4.1.2 wants. */
static void test_syslog_date(void **state)
{
    const struct log_record record = {.time_ns = 1767225600ull * 1000000000, .n_bytes = 1};

    (void)state;
    log_format(&line, &syslog_style, &record, "t", "x");
    assert_memory_equal(line.bytes, "<27>Jan  1 00:00:00 lb4[123]: ERROR t: x", line.used);
}

static void test_event(void **state)
{
    struct addr client;
    union log_value values[] = {
        {.addr = &client}, {.text = "db1"}, {.number = 400000}, {.number = 7}};

    (void)state;
    addr_parse("10.0.0.9", &client);
    addr_set_port(&client, 51234);
    assert_string_equal(format_event(&text_style, values, ""),
                        "2026-11-22T18:00:00.123Z INFO worker 1: access client=10.0.0.9:51234 "
                        "name=db1 took_ms=0.4 in=7\n");
    assert_string_equal(format_event(&text_style, values, "it is said"),
                        "2026-11-22T18:00:00.123Z INFO worker 1: it is said\n");
    assert_string_equal(
        format_event(&json_style, values, "it \"is\" said"),
        "{\"time\":\"2026-11-22T18:00:00.123Z\",\"level\":\"INFO\",\"thread\":\"worker 1\","
        "\"event\":\"access\",\"client\":\"10.0.0.9:51234\",\"name\":\"db1\",\"took_ms\":0.4,"
        "\"in\":7,\"message\":\"it \\\"is\\\" said\"}\n");
    values[0].addr = NULL;
    values[1].text = NULL;
    assert_non_null(strstr(format_event(&text_style, values, ""), "access client=- name=- took"));
    assert_non_null(strstr(format_event(&json_style, values, ""),
                           "\"client\":null,\"name\":null,\"took_ms\":0.4,\"in\":7}\n"));
    values[1].text = "";
    assert_non_null(strstr(format_event(&text_style, values, ""), "name=- took"));
    assert_non_null(strstr(format_event(&json_style, values, ""), "\"name\":\"\","));
}

static void check_ms(uint64_t ns, const char *wanted)
{
    const union log_value values[] = {
        {.addr = NULL}, {.text = NULL}, {.number = ns}, {.number = 0}};
    char text[64];

    snprintf(text, sizeof(text), "took_ms=%s in=", wanted);
    if (!strstr(format_event(&text_style, values, ""), text))
        fail_msg("%s is not in %s", text, line.bytes);
}

static void test_milliseconds(void **state)
{
    (void)state;
    check_ms(0, "0");
    check_ms(49999, "0");
    check_ms(50000, "0.1");
    check_ms(949999, "0.9");
    check_ms(950000, "1");
    check_ms(12340000, "12.3");
    check_ms(99949999, "99.9");
    check_ms(99950000, "100");
    check_ms(532400000, "532");
    check_ms(532500000, "533");
    check_ms(3600000000000ull, "3600000");
}

/* What could end a value, or begin another, is escaped: whatever the bytes, a reader finds the same
 * keys. */
static void test_values_cannot_forge(void **state)
{
    const union log_value values[] = {{.addr = NULL},
                                      {.text = "a client=1.2.3.4:5 \"\\\n\x1b\xff"},
                                      {.number = 0},
                                      {.number = 0}};

    (void)state;
    assert_non_null(strstr(format_event(&text_style, values, ""),
                           "name=a\\x20client\\x3d1.2.3.4:5\\x20\\x22\\x5c\\x0a\\x1b\\xff took"));
    assert_non_null(strstr(format_event(&json_style, values, ""),
                           "\"name\":\"a client=1.2.3.4:5 \\\"\\\\\\\\x0a\\\\x1b\\\\xff\","));
}

static void test_lengths(void **state)
{
    char text[2 * LOG_LINE_MAX];

    (void)state;
    memset(text, '\n', sizeof(text));
    format_bytes(&text_style, LOG_LEVEL_INFO, text, sizeof(text));
    assert_in_range(line.used, LOG_LINE_MAX - 4, LOG_LINE_MAX);
    assert_memory_equal(line.bytes + line.used - 8, "\\x0a...\n", 8);
    format_bytes(&json_style, LOG_LEVEL_INFO, text, sizeof(text));
    assert_in_range(line.used, LOG_EVENT_LINE_MAX - 5, LOG_EVENT_LINE_MAX);
    assert_memory_equal(line.bytes + line.used - 11, "\\\\x0a...\"}\n", 11);
    format_bytes(&syslog_style, LOG_LEVEL_INFO, text, sizeof(text));
    assert_in_range(line.used, LOG_LINE_MAX - 4, LOG_LINE_MAX + 64);
}

static const char parser[] =
    "python3 -I -c 'import json, sys\n"
    "n = 0\n"
    "for raw in sys.stdin.buffer:\n"
    "    assert len(raw) <= 1024 and all(32 <= b < 127 for b in raw[:-1]), raw\n"
    "    entry = json.loads(raw)\n"
    "    assert list(entry)[:3] == [\"time\", \"level\", \"thread\"], raw\n"
    "    assert all(32 <= ord(c) < 127 for v in entry.values() for c in str(v)), raw\n"
    "    if \"event\" in entry:\n"
    "        assert set(entry) >= {\"client\", \"name\", \"took_ms\", \"in\"}, raw\n"
    "    n += 1\n"
    "sys.exit(n != %d)'";

static void random_bytes(char *bytes, size_t n, bool is_text)
{
    static const char nasty[] = "\"\\\n\r\t\x1b\x7f{}[],:' =x";

    for (size_t i = 0; i < n; i++) {
        int draw = rand();

        bytes[i] = draw % 3 ? nasty[(size_t)(draw / 3) % (sizeof(nasty) - 1)] : (char)(draw / 3);
        if (is_text && bytes[i] == '\0')
            bytes[i] = 'x';
    }
}

/* Every line of JSON is JSON, by a parser that is not ours, whatever the bytes and wherever it is
 * cut. */
static void test_json_is_json(void **state)
{
    char command[sizeof(parser) + 16];
    FILE *python;

    (void)state;
    srand(7);
    snprintf(command, sizeof(command), parser, N_RANDOM);
    python = popen(command, "w");
    assert_non_null(python);
    for (int i = 0; i < N_RANDOM; i++) {
        char bytes[LOG_LINE_MAX];
        char name[200];
        size_t n = (size_t)rand() % sizeof(bytes);
        union log_value values[] = {
            {.addr = NULL}, {.text = name}, {.number = (uint64_t)rand() << 20}, {.number = 1}};

        random_bytes(bytes, n, i % 2);
        random_bytes(name, sizeof(name), true);
        name[(size_t)rand() % sizeof(name)] = '\0';
        if (i % 2) {
            bytes[n ? n - 1 : 0] = '\0';
            format_event(&json_style, values, bytes);
        } else {
            format_bytes(&json_style, LOG_LEVEL_INFO, bytes, n);
        }
        fwrite(line.bytes, 1, line.used, python);
    }
    assert_int_equal(pclose(python), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fronts),
        cmocka_unit_test(test_syslog_date),
        cmocka_unit_test(test_event),
        cmocka_unit_test(test_milliseconds),
        cmocka_unit_test(test_values_cannot_forge),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_json_is_json),
    };

    setenv("TZ", "UTC", 1);
    tzset();
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
