#include "lb4/control/http_answer.h"

#include "command_rig.h"

static char head[4096];
static char body[RIG_REPLY_MAX];

/* Apart, after a look at what holds for every answer. */
static void take(void)
{
    struct reply *reply = &rig.reply;
    const char *end;
    const char *length;
    size_t n_head;

    end = memmem(reply->bytes, reply->n_bytes, "\r\n\r\n", 4);
    assert_non_null(end);
    n_head = (size_t)(end - reply->bytes) + 2;
    memcpy(head, reply->bytes, n_head);
    head[n_head] = '\0';
    memcpy(body, end + 4, reply->n_bytes - n_head - 2);
    body[reply->n_bytes - n_head - 2] = '\0';
    length = strstr(head, "\r\nContent-Length:");
    assert_non_null(length);
    assert_int_equal(strncmp(head, "HTTP/1.1 ", 9), 0);
    assert_non_null(strstr(head, "\r\nConnection: close\r\n"));
    assert_non_null(strstr(head, "\r\nCache-Control: no-store\r\n"));
    assert_non_null(strstr(head, "\r\nX-Content-Type-Options: nosniff\r\n"));
    assert_true(strlen(body) == 0 || strtoull(strchr(length, ':') + 1, NULL, 10) == strlen(body));
    reply_clear(reply);
}

static unsigned answer(const char *path, bool is_head)
{
    const struct http_request request = {.status = 200, .is_head = is_head, .path = path};

    http_answer(&rig.from, &request, &rig.reply);
    take();
    return (unsigned)strtoul(head + 9, NULL, 10);
}

static unsigned get(const char *path)
{
    return answer(path, false);
}

static void test_pages(void **state)
{
    (void)state;
    assert_int_equal(get("/metrics"), 200);
    assert_non_null(strstr(head, "\r\nContent-Type: text/plain; version=0.0.4;"));
    assert_int_equal(strncmp(body, "# HELP lb4_", 11), 0);
    assert_null(strstr(head, "Content-Security-Policy"));
    assert_int_equal(get("/status.json"), 200);
    assert_non_null(strstr(head, "\r\nContent-Type: application/json\r\n"));
    assert_int_equal(body[0], '{');
    assert_int_equal(get("/"), 200);
    assert_non_null(strstr(head, "\r\nContent-Type: text/html; charset=utf-8\r\n"));
    assert_non_null(strstr(head, "\r\nContent-Security-Policy: default-src 'none';"));
    assert_int_equal(strncasecmp(body, "<!DOCTYPE html>", 15), 0);
}

static void test_unknown(void **state)
{
    (void)state;
    assert_int_equal(get("/metrics/"), 404);
    assert_int_equal(get("/Metrics"), 404);
    assert_int_equal(get("/readyness"), 404);
    assert_int_equal(get("//"), 404);
}

static void test_head(void **state)
{
    size_t n_bytes;

    (void)state;
    get("/ready");
    n_bytes = strlen(body);
    assert_int_equal(answer("/ready", true), 200);
    assert_int_equal(strlen(body), 0);
    assert_int_equal(strtoull(strstr(head, "Content-Length:") + 15, NULL, 10), n_bytes);
}

static void test_ready(void **state)
{
    (void)state;
    assert_int_equal(get("/ready"), 200);
    assert_string_equal(body, "ready\n");
    assert_int_equal(get("/ready/db"), 200);
    assert_int_equal(get("/ready/nobody"), 404);
    assert_int_equal(get("/ready/"), 404);
    backend_set(rig_server(0, 0), PICK_DOWN);
    assert_int_equal(get("/ready/db"), 200);
    backend_set(rig_server(0, 1), PICK_DRAIN);
    assert_int_equal(get("/ready/db"), 503);
    assert_int_equal(get("/ready/one"), 200);
    assert_int_equal(get("/ready"), 200);
    rig.from.state = "draining";
    rig.from.is_ready = false;
    assert_int_equal(get("/ready"), 503);
    assert_string_equal(body, "draining\n");
    assert_int_equal(get("/ready/one"), 503);
}

static void test_refused(void **state)
{
    static const unsigned statuses[] = {400, 405, 408, 413, 414, 431, 500, 503, 505};

    (void)state;
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        const struct http_request request = {.status = statuses[i], .path = ""};

        http_answer(&rig.from, &request, &rig.reply);
        take();
        assert_int_equal(strtoul(head + 9, NULL, 10), statuses[i]);
        assert_true(strlen(body) > 2);
        assert_int_equal(strstr(head, "\r\nAllow: GET, HEAD\r\n") != NULL, statuses[i] == 405);
    }
}

/* No half of an answer. */
static void test_too_long(void **state)
{
    (void)state;
    reply_fini(&rig.reply);
    reply_init(&rig.reply, 2000);
    assert_int_equal(get("/metrics"), 500);
}

/* HEAD has no body, whatever the answer is. */
static void test_head_refused(void **state)
{
    const struct http_request request = {.status = 400, .is_head = true, .path = ""};

    (void)state;
    http_answer(&rig.from, &request, &rig.reply);
    take();
    assert_int_equal(strncmp(head + 9, "400 ", 4), 0);
    assert_string_equal(body, "");
    assert_int_equal(answer("/nothing", true), 404);
    assert_string_equal(body, "");
    reply_fini(&rig.reply);
    reply_init(&rig.reply, 2000);
    assert_int_equal(answer("/metrics", true), 500);
    assert_string_equal(body, "");
}

/* Not even for a status. */
static void test_no_memory(void **state)
{
    (void)state;
    reply_fini(&rig.reply);
    reply_init(&rig.reply, 100);
    http_answer_status(503, &rig.reply);
    assert_int_equal(rig.reply.n_bytes, 0);
    assert_false(rig.reply.is_over);
    http_answer(&rig.from, &(struct http_request){.status = 200, .path = "/metrics"}, &rig.reply);
    assert_int_equal(rig.reply.n_bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIGGED(test_pages),     RIGGED(test_unknown),      RIGGED(test_head),
        RIGGED(test_ready),     RIGGED(test_refused),      RIGGED(test_too_long),
        RIGGED(test_no_memory), RIGGED(test_head_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
