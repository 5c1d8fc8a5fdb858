#include "lb4/base/log_event.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct log_key keys[] = {
    {"text", LOG_TEXT}, {"number", LOG_NUMBER}, {"ms", LOG_MS}, {"addr", LOG_ADDR}};
static const struct log_form form = {"all", keys, 4};

static struct log_event event;
static struct log_cell cell;
static char packed[LOG_EVENT_PACKED_MAX + 16];

static void pack(const union log_value *values, const char *sentence)
{
    size_t n = log_event_pack(&form, values, packed);

    memcpy(packed + n, sentence, strlen(sentence));
    log_event_begin(&event, packed, n + strlen(sentence));
    assert_ptr_equal(event.form, &form);
}

static struct addr addr_of(const char *host, uint16_t port)
{
    struct addr addr;

    assert_int_equal(addr_parse(host, &addr), 0);
    addr_set_port(&addr, port);
    return addr;
}

static void check_addr(const char *host, uint16_t port)
{
    struct addr addr = addr_of(host, port);
    union log_value values[] = {
        {.text = "a b"}, {.number = 300}, {.number = 1ull << 63}, {.addr = &addr}};

    pack(values, "the rest");
    assert_true(log_event_next(&event, &cell));
    assert_string_equal(cell.key->name, "text");
    assert_int_equal(cell.n_text, 3);
    assert_memory_equal(cell.text, "a b", 3);
    assert_true(log_event_next(&event, &cell));
    assert_int_equal(cell.number, 300);
    assert_true(log_event_next(&event, &cell));
    assert_int_equal(cell.number, 1ull << 63);
    assert_true(log_event_next(&event, &cell));
    assert_false(cell.is_none);
    assert_true(addr_equal(&cell.addr, &addr));
    assert_false(log_event_next(&event, &cell));
    assert_int_equal(event.n_left, 8);
    assert_memory_equal(event.at, "the rest", 8);
}

static void test_values_come_back(void **state)
{
    (void)state;
    check_addr("10.0.0.9", 65535);
    check_addr("255.255.255.255", 1);
    check_addr("2001:db8::1", 443);
    check_addr("fe80::1%1", 0);
}

static void test_numbers(void **state)
{
    (void)state;
    for (unsigned bit = 0; bit < 64; bit++) {
        for (int delta = -1; delta <= 1; delta++) {
            uint64_t number = (1ull << bit) + (uint64_t)delta;
            union log_value values[] = {
                {.text = ""}, {.number = number}, {.number = ~number}, {.addr = NULL}};

            pack(values, "");
            log_event_next(&event, &cell);
            log_event_next(&event, &cell);
            assert_int_equal(cell.number, number);
            log_event_next(&event, &cell);
            assert_int_equal(cell.number, ~number);
        }
    }
}

static void test_none(void **state)
{
    union log_value values[4] = {{.text = NULL}, {.number = 0}, {.number = 0}, {.addr = NULL}};

    (void)state;
    pack(values, "");
    assert_true(log_event_next(&event, &cell));
    assert_true(cell.is_none);
    log_event_next(&event, &cell);
    log_event_next(&event, &cell);
    assert_false(cell.is_none);
    assert_true(log_event_next(&event, &cell));
    assert_true(cell.is_none);
    assert_int_equal(event.n_left, 0);
    values[0].text = "";
    pack(values, "");
    log_event_next(&event, &cell);
    assert_false(cell.is_none);
    assert_int_equal(cell.n_text, 0);
}

/* Sixteen of the longest values fit, and each is cut to what it may have. */
static void test_the_longest(void **state)
{
    struct log_key many[LOG_KEYS_MAX];
    const struct log_form long_form = {"long", many, LOG_KEYS_MAX};
    union log_value values[LOG_KEYS_MAX];
    char *exact = malloc(LOG_EVENT_PACKED_MAX);
    char text[300];

    (void)state;
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    for (size_t i = 0; i < LOG_KEYS_MAX; i++) {
        many[i] = (struct log_key){"key", LOG_TEXT};
        values[i].text = text;
    }
    assert_non_null(exact); /* its end is watched by the sanitizer */
    assert_true(log_event_pack(&long_form, values, exact) <= LOG_EVENT_PACKED_MAX);
    log_event_begin(&event, exact, LOG_EVENT_PACKED_MAX);
    for (size_t i = 0; i < LOG_KEYS_MAX; i++) {
        assert_true(log_event_next(&event, &cell));
        assert_int_equal(cell.n_text, LOG_VALUE_MAX);
    }
    assert_false(log_event_next(&event, &cell));
    free(exact);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_come_back),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_the_longest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
