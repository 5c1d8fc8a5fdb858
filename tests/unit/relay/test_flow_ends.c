/* relay/flow where one of the two sockets ends, resets, or takes no more. */
#include "lb4/relay/flow.h"

#include <signal.h>

#include "flow_line.h"

static struct desk desk;
static struct line line;

/* --- ends ----------------------------------------------------------------------------------- */

static void test_end_of_nothing(void **state)
{
    (void)state;
    desk_open(&desk, 1);
    line_open(&line, &desk, 0);
    assert_int_equal(line_pump(&line), FLOW_IDLE);
    line_finish(&line);
    assert_int_equal(line.from.error, 0);
    line_close(&line);
    desk_close(&desk);
}

/* The end is read long before the last byte is delivered. */
static void end_behind_stalled_reader(uint32_t max_pipes)
{
    desk_open(&desk, max_pipes);
    line_open(&line, &desk, STALL_BUFFER);
    line_write(&line, 50000);
    shutdown(line.writer_fd, SHUT_WR);
    line_wait_queued(&line.from, 50000);
    sockets_wait(line.from.source.fd, POLLRDHUP);
    line_pump_until(&line, FLOW_BLOCKED);
    while (line.n_read < 20000) {
        line_read(&line, 1000);
        assert_int_equal(line_pump(&line), FLOW_BLOCKED);
    }
    assert_true(line.flow.n_held > 0);
    line_finish(&line);
    line_close(&line);
    desk_close(&desk);
}

static void test_end_waits_for_the_last_byte(void **state)
{
    (void)state;
    end_behind_stalled_reader(0);
    end_behind_stalled_reader(1);
}

static void reset_after(size_t n, uint32_t max_pipes)
{
    struct patience patience = patience_new();

    desk_open(&desk, max_pipes);
    line_open(&line, &desk, 0);
    line_write(&line, n);
    line_wait_queued(&line.from, n);
    sock_reset(line.writer_fd);
    line.writer_fd = -1;
    sockets_wait(line.from.source.fd, POLLRDHUP);
    line_pump_until(&line, FLOW_ENDED);
    assert_int_equal(line.from.error, ECONNRESET);
    assert_int_equal(line.flow.n_sent, n);
    while (line.n_read < n && patience_holds(&patience))
        line_read(&line, 65536);
    line_close(&line);
    desk_close(&desk);
}

static void test_reset_comes_after_the_data(void **state)
{
    (void)state;
    for (uint32_t max_pipes = 0; max_pipes < 2; max_pipes++) {
        reset_after(0, max_pipes);
        reset_after(3, max_pipes);
        reset_after(50000, max_pipes);
    }
}

/* The reset is found by the read itself, before epoll told of it. */
static void test_reset_found_by_read(void **state)
{
    (void)state;
    desk_open(&desk, 0);
    line_open(&line, &desk, 0);
    desk_note(&desk);
    sock_reset(line.writer_fd);
    line.writer_fd = -1;
    sockets_wait(line.from.source.fd, POLLRDHUP);
    line.from.is_readable = true;
    assert_int_equal(flow_pump(&line.flow, &line.from, &line.to, &desk.context), FLOW_ENDED);
    assert_int_equal(line.from.error, ECONNRESET);
    line_close(&line);
    desk_close(&desk);
}

/* --- a reader who has gone -------------------------------------------------------------------- */

static const char LAST_WORDS[] = "too many connections";

/* The reader says its last words, then resets. */
static void reader_leaves(void)
{
    assert_int_equal(send(line.reader_fd, LAST_WORDS, sizeof(LAST_WORDS), 0), sizeof(LAST_WORDS));
    line_wait_queued(&line.to, sizeof(LAST_WORDS));
    sock_reset(line.reader_fd);
    line.reader_fd = -1;
    sockets_wait(line.to.source.fd, POLLRDHUP);
}

/* They still come through, the other way. */
static void check_last_words(void)
{
    struct flow back;
    char words[64];

    flow_init(&back);
    assert_true(line.to.is_readable);
    assert_true(line.to.has_hangup);
    assert_int_equal(flow_pump(&back, &line.to, &line.from, &desk.context), FLOW_ENDED);
    sockets_wait(line.writer_fd, POLLIN);
    assert_int_equal(recv(line.writer_fd, words, sizeof(words), 0), sizeof(LAST_WORDS));
    assert_memory_equal(words, LAST_WORDS, sizeof(LAST_WORDS));
    flow_fini(&back, &desk.context);
}

static void test_broken_sink_found_by_send(void **state)
{
    (void)state;
    desk_open(&desk, 0);
    line_open(&line, &desk, 0);
    line_write(&line, 5000);
    line_wait_queued(&line.from, 5000);
    desk_note(&desk);
    reader_leaves();
    assert_int_equal(flow_pump(&line.flow, &line.from, &line.to, &desk.context), FLOW_BROKEN);
    assert_true(sock_error_is_reset(line.to.error));
    assert_int_equal(stats_read(&desk.stats.worker.dropped_bytes), 5000);
    check_last_words();
    line_close(&line);
    desk_close(&desk);
}

static void test_broken_sink_told_by_epoll(void **state)
{
    (void)state;
    desk_open(&desk, 0);
    line_open(&line, &desk, 0);
    line_write(&line, 5000);
    line_wait_queued(&line.from, 5000);
    reader_leaves();
    assert_int_equal(line_pump(&line), FLOW_BROKEN);
    assert_int_equal(line.to.error, ECONNRESET);
    assert_int_equal(line.flow.n_received, 0);
    check_last_words();
    line_close(&line);
    desk_close(&desk);
}

static void break_while_held(uint32_t max_pipes)
{
    uint32_t n_held;

    line_stall(&line, &desk, max_pipes);
    n_held = line.flow.n_held;
    assert_int_equal(line.flow.pipe != NULL, max_pipes > 1);
    reader_leaves();
    assert_int_equal(line_pump(&line), FLOW_BROKEN);
    assert_int_equal(line.flow.n_held, 0);
    assert_null(line.flow.pipe);
    assert_null(line.flow.rest);
    assert_int_equal(stats_read(&desk.stats.worker.dropped_bytes), n_held);
    /* A pipe with bytes inside is never lent again. */
    if (max_pipes > 1)
        assert_int_equal(desk.context.pipes.n_idle, 0);
    check_last_words();
    line_close(&line);
    desk_close(&desk);
}

static void test_broken_sink_drops_what_is_held(void **state)
{
    (void)state;
    break_while_held(0);
    break_while_held(1);
    break_while_held(4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_end_of_nothing),
        cmocka_unit_test(test_end_waits_for_the_last_byte),
        cmocka_unit_test(test_reset_comes_after_the_data),
        cmocka_unit_test(test_reset_found_by_read),
        cmocka_unit_test(test_broken_sink_found_by_send),
        cmocka_unit_test(test_broken_sink_told_by_epoll),
        cmocka_unit_test(test_broken_sink_drops_what_is_held),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
