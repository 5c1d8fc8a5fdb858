#include "lb4/control/http_request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct http_reader reader;
static struct http_request request;

/* In pieces; false: it is not complete. */
static bool feed(const char *bytes, size_t n_bytes, size_t piece)
{
    http_reader_init(&reader);
    while (n_bytes > 0) {
        size_t room;
        char *to = http_room(&reader, &room);
        size_t n = n_bytes < piece ? n_bytes : piece;

        n = n < room ? n : room;
        assert_true(n > 0);
        memcpy(to, bytes, n);
        bytes += n;
        n_bytes -= n;
        if (http_came(&reader, n, &request))
            return true;
    }
    return false;
}

static void expect(const char *text, unsigned status, const char *path)
{
    static const size_t pieces[] = {SIZE_MAX, 1, 7};

    for (size_t i = 0; i < 3; i++) {
        assert_true(feed(text, strlen(text), pieces[i]));
        assert_int_equal(request.status, status);
        assert_string_equal(request.path, path);
    }
}

static void test_answered(void **state)
{
    (void)state;
    expect("GET / HTTP/1.0\r\n\r\n", 200, "/");
    assert_false(request.is_head);
    expect("HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 200, "/metrics");
    assert_true(request.is_head);
    expect("GET /a?b=c HTTP/1.1\nhost:\n\n", 200, "/a");
    expect("\r\n\r\nGET /ready/web HTTP/1.1\r\nHOST:a\r\nX: \t\xff y\t \r\n\r\n", 200,
           "/ready/web");
    expect("GET http://a:9404/x?y HTTP/1.1\r\nHost: a\r\n\r\n", 200, "/x");
    expect("GET HTTP://a HTTP/1.1\r\nHost: a\r\n\r\n", 200, "/");
    expect("GET http://a?b HTTP/1.1\r\nHost: a\r\n\r\n", 200, "/");
    expect("GET / HTTP/1.0\r\nContent-Length: 0 \r\n\r\nGET /x", 200, "/");
}

static void test_host(void **state)
{
    static const struct {
        const char *host;
        bool is_by_name;
    } cases[] = {
        {"", false},
        {"a", false},
        {"localhost:9404", false},
        {"127.0.0.1", false},
        {"10.0.0.1:80", false},
        {"[::1]:9404", false},
        {"[::ffff:1.2.3.4]", false},
        {"a.example", true},
        {" evil.example:9404\t", true},
        {"1.2.3.4.example", true},
        {"1.example:80", true},
        {"localhost.", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[100];

        sprintf(text, "GET / HTTP/1.1\r\nHost:%s\r\n\r\n", cases[i].host);
        expect(text, 200, "/");
        assert_int_equal(request.is_by_name, cases[i].is_by_name);
    }
}

static void test_refused(void **state)
{
    static const struct {
        const char *text;
        unsigned status;
    } cases[] = {
        {"GET /\r\n\r\n", 400},
        {"GET  / HTTP/1.0\r\n\r\n", 400},
        {"GET / HTTP/1.0 \r\n\r\n", 400},
        {"GET x HTTP/1.0\r\n\r\n", 400},
        {"GET  HTTP/1.0\r\n\r\n", 400},
        {"GET /\x01 HTTP/1.0\r\n\r\n", 400},
        {"GET /\xc3\xa4 HTTP/1.0\r\n\r\n", 400},
        {"G{T / HTTP/1.0\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n\r\n", 400}, /* no Host */
        {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400},
        {"GET / HTTP/1.0\r\nno colon\r\n\r\n", 400},
        {"GET / HTTP/1.0\r\nA : b\r\n\r\n", 400},
        {"GET / HTTP/1.0\r\n: b\r\n\r\n", 400},
        {"GET / HTTP/1.0\r\nA: b\r\n folded\r\n\r\n", 400},
        {"GET / HTTP/1.0\r\nA: b\rc\r\n\r\n", 400},
        {"GET / HTTP/1.0\r\nContent-Length: -1\r\n\r\n", 400},
        {"GET / HTTP/1.0\r\nContent-Length: 1, 1\r\n\r\n", 400},
        {"GET / http/1.0\r\n\r\n", 400},
        {"GET / HTTP/10\r\n\r\n", 400},
        {"\x16\x03\x01\x02", 400}, /* TLS */
        {"POST / HTTP/1.0\r\n\r\n", 405},
        {"POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello", 405},
        {"get / HTTP/1.0\r\n\r\n", 405},
        {"OPTIONS * HTTP/1.0\r\n\r\n", 405},
        {"GET / HTTP/1.0\r\nContent-Length: 5\r\n\r\n", 413},
        {"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 413},
        {"GET / HTTP/2.0\r\n\r\n", 505},
        {"GET / HTTP/1.2\r\n\r\n", 505},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect(cases[i].text, cases[i].status, "");
}

static void test_nul(void **state)
{
    static const char in_line[] = "GET /\0 HTTP/1.0\r\n\r\n";
    static const char in_field[] = "GET / HTTP/1.0\r\nA: \0\r\n\r\n";

    (void)state;
    assert_true(feed(in_line, sizeof(in_line) - 1, SIZE_MAX));
    assert_int_equal(request.status, 400);
    assert_true(feed(in_field, sizeof(in_field) - 1, SIZE_MAX));
    assert_int_equal(request.status, 400);
}

static void test_waits(void **state)
{
    static const char *const parts[] = {"\r\n", "G", "GET / HTTP/1.1\r\nHost: a\r\n",
                                        "GET / HTTP/1.1\r\nHost: a\r\n\r"};

    (void)state;
    for (size_t i = 0; i < 4; i++)
        assert_false(feed(parts[i], strlen(parts[i]), SIZE_MAX));
}

/* A line, then a head of so many bytes in all. */
static const char *long_request(size_t n_line, size_t n_head)
{
    static char text[2 * HTTP_HEAD_MAX];
    size_t n = (size_t)sprintf(text, "GET /");

    memset(text + n, 'x', sizeof(text) - n);
    n = n_line - strlen(" HTTP/1.0");
    n += (size_t)sprintf(text + n, " HTTP/1.0\r\n");
    if (n_head > n + 2) {
        text[n] = 'A';
        text[n + 1] = ':';
        for (n += 2; n < n_head - 4; n++)
            text[n] = 'x';
        n += (size_t)sprintf(text + n, "\r\n");
    }
    strcpy(text + n, "\r\n");
    return text;
}

static void test_bounds(void **state)
{
    (void)state;
    assert_true(feed(long_request(HTTP_LINE_MAX, 0), HTTP_LINE_MAX + 4, SIZE_MAX));
    assert_int_equal(request.status, 200);
    assert_int_equal(strlen(request.path), HTTP_LINE_MAX - strlen("GET  HTTP/1.0"));
    expect(long_request(HTTP_LINE_MAX + 1, 0), 414, "");
    expect(long_request(HTTP_HEAD_MAX + 100, 0), 414, "");
    assert_int_equal(strlen(long_request(100, HTTP_HEAD_MAX)), HTTP_HEAD_MAX);
    assert_true(feed(long_request(100, HTTP_HEAD_MAX), HTTP_HEAD_MAX, SIZE_MAX));
    assert_int_equal(request.status, 200);
    expect(long_request(100, HTTP_HEAD_MAX + 1), 431, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answered), cmocka_unit_test(test_host),
        cmocka_unit_test(test_refused),  cmocka_unit_test(test_nul),
        cmocka_unit_test(test_waits),    cmocka_unit_test(test_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
